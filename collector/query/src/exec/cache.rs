//! Keeps columns of blocks that queries have read, within a budget of memory: what was not used for the longest time goes. A query
//! that looks at more than there is room for keeps what came first, and finds that again the next time.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arrow_array::{Array, ArrayRef};
use clew_storage::block::BlockError;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{budget::Budget, codes::Codes, names::TagScope, roots::InBlock, traces::TraceRows};
use crate::traceql::{ast::Field, value::Value as FieldValue};

/// What was read of blocks, for all queries. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
    /// Who asks.
    query: Option<Query>,
}

/// A query that reads.
#[derive(Clone)]
struct Query {
    /// Its number, by the clock.
    number: u64,
    budget: Budget,
    /// Bytes of what is kept that it has used.
    used: Arc<AtomicUsize>,
}

struct Shared {
    max_bytes: usize,
    kept: Mutex<Kept>,
    /// Goes on at each use.
    clock: AtomicU64,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    entries: HashMap<Key, Entry>,
}

/// A block, and what of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A column of a row group.
    Column(Uuid, u32, u32),
    /// Which shape each row of a group has.
    Shapes(Uuid, u32),
    /// Which resource each row of a group has.
    Resources(Uuid, u32),
    /// The traces of the block.
    Traces(Uuid),
    /// The roots of those.
    Roots(Uuid),
    /// What the attributes of a row group are called, in a scope.
    Names(Uuid, u32, TagScope),
    /// The same of those attributes of its spans that have no column of their own.
    Listed(Uuid, u32),
    /// The values that a field has in a row group.
    Values(Uuid, u32, Field),
}

#[derive(Clone)]
enum Value {
    Column(Option<ArrayRef>),
    Codes(Arc<Codes>),
    Traces(Arc<TraceRows>),
    Roots(Arc<Vec<InBlock>>),
    Names(Arc<HashSet<String>>),
    Values(Arc<Vec<FieldValue>>),
}

struct Entry {
    value: Value,
    bytes: usize,
    used: u64,
    /// The number of the query that used it last.
    by: u64,
}

/// What keeping anything takes besides it.
const ENTRY_BYTES: usize = 200;

impl Cache {
    /// Keeps up to `max_bytes`, about.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let shared = Shared { max_bytes, kept: Mutex::default(), clock: AtomicU64::new(1) };
        Self { shared: Arc::new(shared), query: None }
    }

    /// The same for a query, on whose budget goes what is read for it.
    #[must_use]
    pub(super) fn within(&self, budget: &Budget) -> Self {
        let query = Query { number: self.shared.tick(), budget: budget.clone(), used: Arc::default() };
        Self { shared: self.shared.clone(), query: Some(query) }
    }

    /// What the query may take that it is read for.
    pub(super) fn budget(&self) -> Option<&Budget> {
        self.query.as_ref().map(|query| &query.budget)
    }

    /// Bytes that are kept, about.
    pub fn bytes(&self) -> usize {
        self.shared.kept.lock().bytes
    }

    /// Whether something is kept.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.shared.kept.lock().entries.contains_key(key)
    }

    /// A column, if it is kept.
    pub(super) fn kept_column(&self, key: &Key) -> Option<Option<ArrayRef>> {
        match &self.shared.kept.lock().entries.get(key)?.value {
            Value::Column(column) => Some(column.clone()),
            _ => None,
        }
    }

    pub(super) fn column(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<Option<ArrayRef>, BlockError>,
    ) -> Result<Option<ArrayRef>, BlockError> {
        let bytes = |column: &Option<ArrayRef>| column.as_ref().map_or(0, |column| column.get_array_memory_size());
        match self.get(key, || read().map(|column| (bytes(&column), Value::Column(column))))? {
            Value::Column(column) => Ok(column),
            _ => unreachable!("a key names one kind of value"),
        }
    }

    pub(super) fn codes(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<Codes, BlockError>,
    ) -> Result<Arc<Codes>, BlockError> {
        match self.get(key, || read().map(|codes| (codes.bytes(), Value::Codes(Arc::new(codes)))))? {
            Value::Codes(codes) => Ok(codes),
            _ => unreachable!("a key names one kind of value"),
        }
    }

    pub(super) fn traces(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<TraceRows, BlockError>,
    ) -> Result<Arc<TraceRows>, BlockError> {
        match self.get(key, || read().map(|traces| (traces.bytes(), Value::Traces(Arc::new(traces)))))? {
            Value::Traces(traces) => Ok(traces),
            _ => unreachable!("a key names one kind of value"),
        }
    }

    pub(super) fn roots(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<Vec<InBlock>, BlockError>,
    ) -> Result<Arc<Vec<InBlock>>, BlockError> {
        match self.get(key, || read().map(|roots| (size_of_val(&*roots), Value::Roots(Arc::new(roots)))))? {
            Value::Roots(roots) => Ok(roots),
            _ => unreachable!("a key names one kind of value"),
        }
    }

    pub(super) fn names(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<HashSet<String>, BlockError>,
    ) -> Result<Arc<HashSet<String>>, BlockError> {
        let bytes = |names: &HashSet<String>| names.iter().map(|name| name.len() + 48).sum();
        match self.get(key, || read().map(|names| (bytes(&names), Value::Names(Arc::new(names)))))? {
            Value::Names(names) => Ok(names),
            _ => unreachable!("a key names one kind of value"),
        }
    }

    pub(super) fn values(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<Vec<FieldValue>, BlockError>,
    ) -> Result<Arc<Vec<FieldValue>>, BlockError> {
        let text = |value: &FieldValue| if let FieldValue::String(text) = value { text.len() } else { 0 };
        let bytes = |values: &[FieldValue]| values.iter().map(|value| size_of::<FieldValue>() + text(value)).sum();
        match self.get(key, || read().map(|values| (bytes(&values), Value::Values(Arc::new(values)))))? {
            Value::Values(values) => Ok(values),
            _ => unreachable!("a key names one kind of value"),
        }
    }

    fn get(&self, key: Key, read: impl FnOnce() -> Result<(usize, Value), BlockError>) -> Result<Value, BlockError> {
        let Shared { max_bytes, kept, .. } = &*self.shared;
        let (used, by) = (self.shared.tick(), self.query.as_ref().map_or(0, |query| query.number));
        if let Some(entry) = kept.lock().entries.get_mut(&key) {
            if entry.by != by {
                self.uses(entry.bytes);
            }
            (entry.used, entry.by) = (used, by);
            return Ok(entry.value.clone());
        }
        // Read without the lock: two who come at once both read, and one of them is kept.
        let (bytes, value) = read()?;
        let bytes = bytes + ENTRY_BYTES;
        if let Some(query) = &self.query {
            query.budget.read(bytes);
        }
        let mut kept = kept.lock();
        if kept.bytes + bytes > *max_bytes {
            // What would go for it is what this query has used itself, and wants the next time. What was worked out of columns is
            // small and took longer than it takes to read one.
            let is_column = matches!(value, Value::Column(_) | Value::Codes(_));
            if is_column && self.used() + bytes > max_bytes / 4 * 3 {
                return Ok(value);
            }
            kept.shrink((max_bytes / 8 * 7).saturating_sub(bytes));
        }
        self.uses(bytes);
        kept.bytes += bytes;
        if let Some(before) = kept.entries.insert(key, Entry { value: value.clone(), bytes, used, by }) {
            kept.bytes -= before.bytes;
        }
        Ok(value)
    }

    /// Bytes of what is kept that the query has used.
    fn used(&self) -> usize {
        self.query.as_ref().map_or(0, |query| query.used.load(Ordering::Relaxed))
    }

    /// Takes note of what the query has used.
    fn uses(&self, bytes: usize) {
        if let Some(query) = &self.query {
            query.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl Kept {
    /// Forgets what was not used for the longest time.
    fn shrink(&mut self, max_bytes: usize) {
        let mut all: Vec<_> = self.entries.values().map(|entry| (entry.used, entry.bytes)).collect();
        all.sort_unstable();
        let mut oldest = 0;
        for (used, bytes) in all {
            if self.bytes <= max_bytes {
                break;
            }
            self.bytes -= bytes;
            oldest = used + 1;
        }
        self.entries.retain(|_, entry| entry.used >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::UInt8Array;

    use super::*;

    /// Asks for columns of 1 kB: how many of them had to be read.
    fn read(cache: &Cache, block: Uuid, columns: std::ops::Range<u32>) -> usize {
        let (budget, _client) = Budget::new(Duration::from_secs(60));
        let (cache, mut read) = (cache.within(&budget), 0);
        for column in columns {
            let array = || {
                read += 1;
                Ok(Some(Arc::new(UInt8Array::from(vec![0; 1000])) as ArrayRef))
            };
            cache.column(Key::Column(block, 0, column), array).unwrap();
        }
        read
    }

    #[test]
    fn a_query_finds_again_what_there_was_room_for_and_another_gets_its_share() {
        let cache = Cache::new(150_000);
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(read(&cache, a, 0..200), 200);
        let again = read(&cache, a, 0..200);
        assert!((80..120).contains(&again), "{again} of 200 were read again");
        assert_eq!(read(&cache, a, 0..200), again, "what is kept stays");
        // What another query looks at takes the place of what was not used for the longest time.
        read(&cache, b, 0..50);
        assert_eq!(read(&cache, b, 0..50), 0);
        assert!(cache.bytes() <= 150_000);
    }
}
