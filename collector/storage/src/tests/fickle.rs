//! A store that fails as it is told to.

use std::{
    io::{self, Write},
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
    Fails(io::ErrorKind),
    /// It is carried out, and its answer is lost.
    AnswerLost,
}

type Fates = Box<dyn FnMut(&str, &str) -> Fate + Send>;

/// Another store, with faults. What is done to an open file is a request too: "read", and "finish" for one that is written.
pub struct Fickle {
    store: Arc<dyn Store>,
    asked: Asked,
    is_remote: bool,
}

/// Tells the fates of requests.
#[derive(Clone)]
struct Asked(Arc<Mutex<Fates>>);

impl Asked {
    fn request<T>(
        &self,
        doing: &'static str,
        path: &str,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = |kind| Err(StoreError { doing, path: path.to_owned(), error: io::Error::new(kind, "as told") });
        let fate = (self.0.lock())(doing, path);
        match fate {
            Fate::Well => work(),
            Fate::Fails(kind) => failed(kind),
            Fate::AnswerLost => {
                work()?;
                failed(io::ErrorKind::TimedOut)
            }
        }
    }
}

impl Fickle {
    /// `fates` tells the fate of a request: what it does, and the path.
    pub fn new(store: Arc<dyn Store>, fates: impl FnMut(&str, &str) -> Fate + Send + 'static) -> Arc<Self> {
        Arc::new(Self { store, asked: Asked(Arc::new(Mutex::new(Box::new(fates)))), is_remote: true })
    }

    /// As if on a disk of its own.
    pub fn local(store: Arc<dyn Store>, fates: impl FnMut(&str, &str) -> Fate + Send + 'static) -> Arc<Self> {
        Arc::new(Self { store, asked: Asked(Arc::new(Mutex::new(Box::new(fates)))), is_remote: false })
    }

    /// From now on.
    pub fn now(&self, fates: impl FnMut(&str, &str) -> Fate + Send + 'static) {
        *self.asked.0.lock() = Box::new(fates);
    }

    fn request<T>(
        &self,
        doing: &'static str,
        path: &str,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.asked.request(doing, path, work)
    }
}

impl Store for Fickle {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.request("put", path, || self.store.put(path, bytes))
    }

    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError> {
        let sink = self.request("create", path, || self.store.create(path))?;
        Ok(Box::new(FickleSink { sink, asked: self.asked.clone(), path: path.to_owned() }))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.request("read", path, || self.store.read(path, range))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError> {
        let source = self.request("open", path, || self.store.open(path))?;
        let (asked, path) = (self.asked.clone(), path.to_owned());
        Ok(Arc::new(FickleSource { source, asked, path, is_remote: self.is_remote }))
    }

    fn size(&self, path: &str) -> Result<u64, StoreError> {
        self.request("size", path, || self.store.size(path))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.request("list", prefix, || self.store.list(prefix))
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.request("delete", path, || self.store.delete(path))
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.store.free_bytes()
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }
}

struct FickleSink {
    sink: Box<dyn Sink>,
    asked: Asked,
    path: String,
}

impl Write for FickleSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Sink for FickleSink {
    fn finish(self: Box<Self>) -> Result<u64, StoreError> {
        let Self { sink, asked, path } = *self;
        asked.request("finish", &path, || sink.finish())
    }
}

struct FickleSource {
    source: Arc<dyn Source>,
    asked: Asked,
    path: String,
    is_remote: bool,
}

impl Source for FickleSource {
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.asked.request("read", &self.path, || self.source.read(range))
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }
}
