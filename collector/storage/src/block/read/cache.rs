//! Keeps what was read of blocks, within a budget of memory: what was not used for the longest time goes.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use clew_common::ids::TraceId;
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
    /// Of [`Kept`].
    max_bytes: usize,
    kept: Mutex<Kept>,
    /// Traces that were looked up: who looks at one looks at it again. They have a share of their own, since those that nobody asks
    /// for again would push out what every lookup needs.
    max_trace_bytes: usize,
    traces: Mutex<Traces>,
    /// Goes on at each use.
    clock: AtomicU64,
    /// For damage that reading comes upon.
    counts: Arc<Counts>,
    /// The files of which the log has said that they are damaged.
    told: Mutex<HashSet<String>>,
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

#[derive(Default)]
struct Traces {
    bytes: usize,
    /// By block: OTLP TracesData, or that it has none of the trace's spans.
    found: HashMap<(Uuid, TraceId), Entry<Option<Bytes>>>,
}

struct Entry<T> {
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

/// What keeping a dictionary, a page or a trace takes besides it.
const ENTRY_BYTES: usize = 200;

/// Damaged files that the log names, each once.
const MAX_TOLD: usize = 1_000;

/// The part of the budget that traces have, and the part of that which one may have.
const TRACES_SHARE: usize = 8;
const TRACE_SHARE: usize = 8;

impl Cache {
    /// Keeps up to `max_bytes`, about.
    pub fn new(max_bytes: usize) -> Self {
        Self::counting(max_bytes, Arc::default())
    }

    /// The same, for blocks whose damage is counted.
    pub fn counting(max_bytes: usize, counts: Arc<Counts>) -> Self {
        let max_trace_bytes = max_bytes / TRACES_SHARE;
        Self {
            max_bytes: max_bytes - max_trace_bytes,
            kept: Mutex::default(),
            max_trace_bytes,
            traces: Mutex::default(),
            clock: AtomicU64::new(0),
            counts,
            told: Mutex::default(),
        }
    }

    /// Takes note of what came of reading a block's file.
    pub(super) fn noted<T>(&self, read: Result<T, BlockError>) -> Result<T, BlockError> {
        if let Err(error) = &read
            && !error.is_unavailable()
            && !error.is_stopped()
        {
            self.counts.add(Event::Damage, error.path.rsplit('/').next().unwrap_or_default(), 1);
            let mut told = self.told.lock();
            if told.len() < MAX_TOLD && told.insert(error.path.clone()) {
                tracing::error!(path = error.path, %error, "a block is damaged: what it holds is missing from answers");
            }
        }
        read
    }

    /// Bytes that are kept, about.
    pub fn bytes(&self) -> usize {
        self.kept.lock().bytes + self.traces.lock().bytes
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

    /// Whether it is known what a block has of a trace.
    pub(super) fn has_trace(&self, block: Uuid, trace: TraceId) -> bool {
        self.traces.lock().found.contains_key(&(block, trace))
    }

    /// The spans of a trace in a block, looked up if they are not kept. A block does not change.
    pub(super) fn trace<E>(
        &self,
        block: Uuid,
        trace: TraceId,
        look_up: impl FnOnce() -> Result<Option<Bytes>, E>,
    ) -> Result<Option<Bytes>, E> {
        let (key, used) = ((block, trace), self.clock.fetch_add(1, Ordering::Relaxed));
        if let Some(entry) = self.traces.lock().found.get_mut(&key) {
            entry.used = used;
            return Ok(Option::clone(&entry.value));
        }
        let value = look_up()?;
        let bytes = value.as_ref().map_or(0, Bytes::len) + ENTRY_BYTES;
        if bytes <= self.max_trace_bytes / TRACE_SHARE {
            let mut traces = self.traces.lock();
            if traces.bytes + bytes > self.max_trace_bytes {
                traces.shrink(self.max_trace_bytes / 8 * 7 - bytes);
            }
            traces.bytes += bytes;
            if let Some(before) = traces.found.insert(key, Entry { value: Arc::new(value.clone()), bytes, used }) {
                traces.bytes -= before.bytes;
            }
        }
        Ok(value)
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
        let all = files.chain(resources).chain(dictionaries).chain(pages).collect();
        let (oldest, left) = oldest(all, self.bytes, max_bytes);
        self.bytes = left;
        self.files.retain(|_, entry| entry.used >= oldest);
        self.resources.retain(|_, entry| entry.used >= oldest);
        self.dictionaries.retain(|_, entry| entry.used >= oldest);
        self.pages.retain(|_, entry| entry.used >= oldest);
    }
}

impl Traces {
    /// The same.
    fn shrink(&mut self, max_bytes: usize) {
        let all = self.found.values().map(|entry| (entry.used, entry.bytes)).collect();
        let (oldest, left) = oldest(all, self.bytes, max_bytes);
        self.bytes = left;
        self.found.retain(|_, entry| entry.used >= oldest);
    }
}

/// From which use on entries stay, each with its last use and its bytes, so that no more than `max_bytes` are left; and how many are.
fn oldest(mut entries: Vec<(u64, usize)>, bytes: usize, max_bytes: usize) -> (u64, usize) {
    entries.sort_unstable();
    let (mut left, mut oldest) = (bytes, 0);
    for (used, bytes) in entries {
        if left <= max_bytes {
            break;
        }
        left -= bytes;
        oldest = used + 1;
    }
    (oldest, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_looked_up_once_while_there_is_room_and_take_no_more_than_their_share() {
        let (cache, block) = (Cache::new(800_000), Uuid::from_u128(1));
        let look_up = |number: u128, bytes: usize| {
            let mut looked = false;
            let trace = TraceId::new(number.to_be_bytes()).unwrap();
            let found = cache.trace(block, trace, || {
                looked = true;
                Ok::<_, std::convert::Infallible>((bytes > 0).then(|| vec![7; bytes].into()))
            });
            assert_eq!(found.unwrap().map_or(0, |found| found.len()), bytes);
            looked
        };
        assert!(look_up(1, 1_000) && !look_up(1, 1_000));
        // That there is nothing is known too.
        assert!(look_up(2, 0) && !look_up(2, 0));
        // One that would take much of the room has none.
        assert!(look_up(3, 20_000) && look_up(3, 20_000));
        for number in 10..1_000 {
            assert!(look_up(number, 1_000));
            assert!(!look_up(2, 0), "what is used stays");
        }
        assert!(!look_up(999, 1_000) && look_up(1, 1_000));
        assert!((50_000..=100_000).contains(&cache.bytes()), "{}", cache.bytes());
    }
}
