//! A store in memory that fails as it is told to. Each process has its own handle; what is stored is shared.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::{Listed, Sink, Source, Store, StoreError};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Well,
    /// It fails, and nothing happened.
    Fails,
    /// It is carried out, and its answer is lost.
    AnswerLost,
    /// The process dies before it,
    DiesBefore,
    /// or after it.
    DiesAfter,
}

/// What is stored.
#[derive(Clone, Default)]
pub struct Files(pub Arc<Mutex<BTreeMap<String, Bytes>>>);

/// Tells the fate of a request: its number, what it does, the path.
pub type Fates = Box<dyn Fn(usize, &str, &str) -> Fate + Send + Sync>;

/// A process's handle.
pub struct Faulty {
    pub files: Files,
    fates: Mutex<Fates>,
    requests: Mutex<usize>,
    dead: Mutex<bool>,
    /// Not listed though there.
    pub hidden: Mutex<BTreeSet<String>>,
    /// Puts take so long, of real time.
    pub takes: std::time::Duration,
}

impl Faulty {
    pub fn well(files: &Files) -> Arc<Self> {
        Self::with(files, |_, _, _| Fate::Well)
    }

    pub fn with(files: &Files, fates: impl Fn(usize, &str, &str) -> Fate + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            files: files.clone(),
            fates: Mutex::new(Box::new(fates)),
            requests: Mutex::new(0),
            dead: Mutex::new(false),
            hidden: Mutex::default(),
            takes: std::time::Duration::ZERO,
        })
    }

    /// From now on.
    pub fn now(&self, fates: impl Fn(usize, &str, &str) -> Fate + Send + Sync + 'static) {
        *self.fates.lock() = Box::new(fates);
    }

    pub fn requests(&self) -> usize {
        *self.requests.lock()
    }

    pub fn is_dead(&self) -> bool {
        *self.dead.lock()
    }

    fn request<T>(
        &self,
        doing: &'static str,
        path: &str,
        work: impl FnOnce(&mut BTreeMap<String, Bytes>) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let failed = |error| StoreError { doing, path: path.to_owned(), error };
        let away = || failed(io::Error::new(io::ErrorKind::TimedOut, "away"));
        if self.is_dead() {
            return Err(away());
        }
        let number = {
            let mut requests = self.requests.lock();
            *requests += 1;
            *requests - 1
        };
        let fate = (self.fates.lock())(number, doing, path);
        if matches!(fate, Fate::DiesBefore | Fate::DiesAfter) {
            *self.dead.lock() = true;
        }
        if matches!(fate, Fate::Fails | Fate::DiesBefore) {
            return Err(away());
        }
        let done = work(&mut self.files.0.lock()).map_err(failed);
        if fate == Fate::Well { done } else { Err(away()) }
    }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

impl Store for Faulty {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        std::thread::sleep(self.takes);
        self.request("put", path, |files| {
            files.insert(path.to_owned(), bytes);
            Ok(())
        })
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError> {
        self.request("create", path, |_| Err(missing()))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError> {
        self.request("open", path, |_| Err(missing()))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.request("read", path, |files| {
            let bytes = files.get(path).ok_or_else(missing)?;
            let fits = range.end <= bytes.len() as u64;
            if !fits {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "short"));
            }
            Ok(bytes.slice(range.start as usize..range.end as usize))
        })
    }

    fn size(&self, path: &str) -> Result<u64, StoreError> {
        self.request("size", path, |files| files.get(path).map(|bytes| bytes.len() as u64).ok_or_else(missing))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let hidden = self.hidden.lock().clone();
        self.request("list", prefix, |files| {
            let below = files.iter().filter(|(path, _)| path.starts_with(&format!("{prefix}/")));
            let shown = below.filter(|(path, _)| !hidden.contains(*path));
            Ok(shown.map(|(path, bytes)| Listed { path: path.clone(), bytes: bytes.len() as u64 }).collect())
        })
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.request("delete", path, |files| {
            files.remove(path);
            Ok(())
        })
    }
}
