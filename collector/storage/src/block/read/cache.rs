//! Keeps what was read of blocks, within a budget of memory: what was not used for the longest time goes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{BlockError, file::SpansFile};
use crate::columns::Resource;

/// What was read of blocks, shared by all of them.
pub struct Cache {
    max_bytes: usize,
    kept: Mutex<Kept>,
    /// Goes on at each use.
    clock: AtomicU64,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    files: HashMap<Uuid, Entry<SpansFile>>,
    resources: HashMap<Uuid, Entry<HashMap<u64, Resource>>>,
}

struct Entry<T> {
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

impl Cache {
    /// Keeps up to `max_bytes`, about.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, kept: Mutex::default(), clock: AtomicU64::new(0) }
    }

    /// Bytes that are kept, about.
    pub fn bytes(&self) -> usize {
        self.kept.lock().bytes
    }

    /// A block's spans file, opened if it is not kept.
    pub(super) fn spans(
        &self,
        block: Uuid,
        open: impl FnOnce() -> Result<SpansFile, BlockError>,
    ) -> Result<Arc<SpansFile>, BlockError> {
        self.get(
            block,
            |kept| &mut kept.files,
            || {
                open().map(|file| {
                    let bytes = file.bytes();
                    (file, bytes)
                })
            },
        )
    }

    /// A block's resources, read if they are not kept.
    pub(super) fn resources(
        &self,
        block: Uuid,
        read: impl FnOnce() -> Result<(HashMap<u64, Resource>, usize), BlockError>,
    ) -> Result<Arc<HashMap<u64, Resource>>, BlockError> {
        self.get(block, |kept| &mut kept.resources, read)
    }

    fn get<T>(
        &self,
        block: Uuid,
        of: impl Fn(&mut Kept) -> &mut HashMap<Uuid, Entry<T>>,
        read: impl FnOnce() -> Result<(T, usize), BlockError>,
    ) -> Result<Arc<T>, BlockError> {
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = of(&mut self.kept.lock()).get_mut(&block) {
            entry.used = used;
            return Ok(entry.value.clone());
        }
        // Read without the lock: two who come at once both read, and one of them is kept.
        let (value, bytes) = read()?;
        let value = Arc::new(value);
        let mut kept = self.kept.lock();
        if let Some(before) = of(&mut kept).insert(block, Entry { value: value.clone(), bytes, used }) {
            kept.bytes -= before.bytes;
        }
        kept.bytes += bytes;
        kept.shrink(self.max_bytes);
        Ok(value)
    }
}

impl Kept {
    fn shrink(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes {
            let file = self.files.iter().map(|(block, entry)| (entry.used, *block)).min();
            let resources = self.resources.iter().map(|(block, entry)| (entry.used, *block)).min();
            let gone = match (file, resources) {
                (Some(file), resources) if resources.is_none_or(|resources| file < resources) => {
                    self.files.remove(&file.1).map(|entry| entry.bytes)
                }
                (_, Some((_, block))) => self.resources.remove(&block).map(|entry| entry.bytes),
                (_, None) => None,
            };
            let Some(bytes) = gone else { return };
            self.bytes -= bytes;
        }
    }
}
