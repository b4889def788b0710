//! The WAL's folder in a store, `wal/<name>`: what lies where, and how it is read.

use std::{fmt::Display, sync::Arc, time::Duration};

use bytes::Bytes;
use clew_common::{backoff::Backoff, log::Work, world::World};
use uuid::Uuid;

use super::object;
use crate::store::{Store, StoreError};

/// Requests at once where there are many to make: on an object store each is waiting.
const AT_ONCE: usize = 16;
/// How often a request of a start is made before it counts as failed.
const TRIES: u32 = 6;
/// What small files may have: checkpoints are the largest.
const MAX_NOTE_BYTES: u64 = 1 << 30;

/// The folder. Cheap to clone.
#[derive(Clone)]
pub struct Place {
    pub store: Arc<dyn Store>,
    pub world: World,
    /// `wal/<name>`.
    root: String,
}

impl Place {
    /// That of the collector with this name.
    pub fn new(store: Arc<dyn Store>, world: World, name: &str) -> Self {
        Self { store, world, root: format!("wal/{name}") }
    }

    /// The folder's path.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A file of the collector.
    pub fn file(&self, name: impl Display) -> String {
        format!("{}/{name}", self.root)
    }

    /// A file of an epoch.
    pub fn of_epoch(&self, epoch: Uuid, name: impl Display) -> String {
        format!("{}/{epoch}/{name}", self.root)
    }

    /// An epoch's object that begins with the record `base`.
    pub fn object(&self, epoch: Uuid, base: u64) -> String {
        self.of_epoch(epoch, object::file_name(base))
    }

    /// Takes `wal/<name>/<epoch>/<file>` apart; None for other paths.
    pub fn parts<'a>(&self, path: &'a str) -> Option<(Uuid, &'a str)> {
        let (epoch, file) = path.strip_prefix(&self.root)?.strip_prefix('/')?.split_once('/')?;
        Some((Uuid::try_parse(epoch).ok()?, file)).filter(|(_, file)| !file.contains('/'))
    }

    /// A small file; None if there is none. Found by its name: no listing is asked.
    ///
    /// # Errors
    /// Those of the store, when they last.
    pub fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let read = self.persist(|| {
            let bytes = self.store.size(path)?;
            self.store.read(path, 0..bytes.min(MAX_NOTE_BYTES))
        });
        match read {
            Err(error) if error.is_not_found() => Ok(None),
            read => read.map(Some),
        }
    }

    /// Tries what may succeed later a few times.
    ///
    /// # Errors
    /// The last one.
    pub fn persist<T>(&self, request: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        for _ in 1..TRIES {
            match request() {
                Err(error) if error.is_retryable() => tracing::warn!(%error, "trying again"),
                done => return done,
            }
            if self.world.work == Work::Threads {
                std::thread::sleep(backoff.next(&self.world.random));
            }
        }
        request()
    }

    /// Does the same for each of many, several at once; results are in the order of `items`.
    pub fn each<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        if self.world.work == Work::Inline || items.len() < 2 {
            return items.iter().map(work).collect();
        }
        let work = &work;
        std::thread::scope(|scope| {
            let share = items.len().div_ceil(AT_ONCE);
            let workers: Vec<_> = items
                .chunks(share)
                .map(|items| scope.spawn(move || items.iter().map(work).collect::<Vec<_>>()))
                .collect();
            let done = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            done.flatten().collect()
        })
    }
}
