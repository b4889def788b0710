//! Keeps columns of blocks that queries have read, within a budget of memory: what was not used for the longest time goes.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow_array::{Array, ArrayRef};
use clew_storage::block::BlockError;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{budget::Budget, codes::Codes, names::TagScope, traces::TraceRows};
use crate::traceql::{ast::Field, value::Value as FieldValue};

/// What was read of blocks, for all queries. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
    /// Whose reading is counted.
    budget: Option<Budget>,
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
    /// Where the roots of those are.
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
    Roots(Arc<Vec<u32>>),
    Names(Arc<HashSet<String>>),
    Values(Arc<Vec<FieldValue>>),
}

struct Entry {
    value: Value,
    bytes: usize,
    used: u64,
}

/// What keeping anything takes besides it.
const ENTRY_BYTES: usize = 200;

impl Cache {
    /// Keeps up to `max_bytes`, about.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let shared = Shared { max_bytes, kept: Mutex::default(), clock: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), budget: None }
    }

    /// The same for a query, on whose budget goes what is read for it.
    #[must_use]
    pub fn within(&self, budget: &Budget) -> Self {
        Self { shared: self.shared.clone(), budget: Some(budget.clone()) }
    }

    /// What the query may take that it is read for.
    pub(super) fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Bytes that are kept, about.
    pub fn bytes(&self) -> usize {
        self.shared.kept.lock().bytes
    }

    /// Whether something is kept.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.shared.kept.lock().entries.contains_key(key)
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
        read: impl FnOnce() -> Result<Vec<u32>, BlockError>,
    ) -> Result<Arc<Vec<u32>>, BlockError> {
        match self.get(key, || read().map(|roots| (4 * roots.len(), Value::Roots(Arc::new(roots)))))? {
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
        let used = self.shared.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = self.shared.kept.lock().entries.get_mut(&key) {
            entry.used = used;
            return Ok(entry.value.clone());
        }
        // Read without the lock: two who come at once both read, and one of them is kept.
        let (bytes, value) = read()?;
        let bytes = bytes + ENTRY_BYTES;
        if let Some(budget) = &self.budget {
            budget.read(bytes);
        }
        let mut kept = self.shared.kept.lock();
        if let Some(before) = kept.entries.insert(key, Entry { value: value.clone(), bytes, used }) {
            kept.bytes -= before.bytes;
        }
        kept.bytes += bytes;
        if kept.bytes > self.shared.max_bytes {
            kept.shrink(self.shared.max_bytes / 8 * 7);
        }
        Ok(value)
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
