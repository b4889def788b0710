//! Keeps what was read of blocks, within a budget of memory: what was not used for the longest time goes.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use parquet::errors::Result as ParquetResult;
use uuid::Uuid;

use super::{BlockError, cut::Dictionary, file::SpansFile};
use crate::{
    columns::Resource,
    stats::{Counts, Event},
};

/// What was read of blocks, shared by all of them.
pub struct Cache {
    max_bytes: usize,
    kept: Mutex<Kept>,
    /// Goes on at each use.
    clock: AtomicU64,
    /// For damage that reading comes upon.
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    files: HashMap<Uuid, Entry<SpansFile>>,
    resources: HashMap<Uuid, Entry<HashMap<u64, Resource>>>,
    /// By block and place in its spans file.
    dictionaries: HashMap<(Uuid, u64), Entry<Dictionary>>,
    /// The same, of pages that were read from far away, as they are in the file.
    pages: HashMap<(Uuid, u64), Entry<Bytes>>,
}

struct Entry<T> {
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

/// What keeping a dictionary or a page takes besides it.
const ENTRY_BYTES: usize = 200;

impl Cache {
    /// Keeps up to `max_bytes`, about.
    pub fn new(max_bytes: usize) -> Self {
        Self::counting(max_bytes, Arc::default())
    }

    /// The same, for blocks whose damage is counted.
    pub fn counting(max_bytes: usize, counts: Arc<Counts>) -> Self {
        Self { max_bytes, kept: Mutex::default(), clock: AtomicU64::new(0), counts }
    }

    /// Takes note of what came of reading a block's file.
    pub(super) fn noted<T>(&self, read: Result<T, BlockError>) -> Result<T, BlockError> {
        if let Err(error) = &read
            && !error.is_unavailable()
            && !error.is_stopped()
        {
            self.counts.add(Event::Damage, error.path.rsplit('/').next().unwrap_or_default(), 1);
        }
        read
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

    /// A dictionary of a block's spans file, which starts at `start`, read if it is not kept.
    pub(super) fn dictionary(
        &self,
        block: Uuid,
        start: u64,
        read: impl FnOnce() -> ParquetResult<Dictionary>,
    ) -> ParquetResult<Arc<Dictionary>> {
        self.get(
            (block, start),
            |kept| &mut kept.dictionaries,
            || {
                read().map(|dictionary| {
                    let bytes = dictionary.size() + ENTRY_BYTES;
                    (dictionary, bytes)
                })
            },
        )
    }

    /// Whether a dictionary is kept.
    pub(super) fn has_dictionary(&self, block: Uuid, start: u64) -> bool {
        self.kept.lock().dictionaries.contains_key(&(block, start))
    }

    /// A page of a block's spans file, which starts at `start`, if it is kept.
    pub(super) fn page(&self, block: Uuid, start: u64) -> Option<Bytes> {
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock();
        let entry = kept.pages.get_mut(&(block, start))?;
        entry.used = used;
        Some(Bytes::clone(&entry.value))
    }

    /// Keeps a page.
    pub(super) fn keep_page(&self, block: Uuid, start: u64, page: Bytes) {
        let bytes = page.len() + ENTRY_BYTES;
        let read = || Ok::<_, std::convert::Infallible>((page, bytes));
        // It cannot fail.
        let _ = self.get((block, start), |kept| &mut kept.pages, read);
    }

    fn get<K: Hash + Eq, T, E>(
        &self,
        key: K,
        of: impl Fn(&mut Kept) -> &mut HashMap<K, Entry<T>>,
        read: impl FnOnce() -> Result<(T, usize), E>,
    ) -> Result<Arc<T>, E> {
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = of(&mut self.kept.lock()).get_mut(&key) {
            entry.used = used;
            return Ok(entry.value.clone());
        }
        // Read without the lock: two who come at once both read, and one of them is kept.
        let (value, bytes) = read()?;
        let value = Arc::new(value);
        let mut kept = self.kept.lock();
        if let Some(before) = of(&mut kept).insert(key, Entry { value: value.clone(), bytes, used }) {
            kept.bytes -= before.bytes;
        }
        kept.bytes += bytes;
        if kept.bytes > self.max_bytes {
            kept.shrink(self.max_bytes / 8 * 7);
        }
        Ok(value)
    }
}

impl Kept {
    /// Forgets what was not used for the longest time.
    fn shrink(&mut self, max_bytes: usize) {
        let files = self.files.values().map(|entry| (entry.used, entry.bytes));
        let resources = self.resources.values().map(|entry| (entry.used, entry.bytes));
        let dictionaries = self.dictionaries.values().map(|entry| (entry.used, entry.bytes));
        let pages = self.pages.values().map(|entry| (entry.used, entry.bytes));
        let mut all: Vec<_> = files.chain(resources).chain(dictionaries).chain(pages).collect();
        all.sort_unstable();
        let (mut left, mut oldest) = (self.bytes, 0);
        for (used, bytes) in all {
            if left <= max_bytes {
                break;
            }
            left -= bytes;
            oldest = used + 1;
        }
        self.bytes = left;
        self.files.retain(|_, entry| entry.used >= oldest);
        self.resources.retain(|_, entry| entry.used >= oldest);
        self.dictionaries.retain(|_, entry| entry.used >= oldest);
        self.pages.retain(|_, entry| entry.used >= oldest);
    }
}
