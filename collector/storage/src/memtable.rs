//! Batches in memory, findable by trace id.
//!
//! A batch's spans stay in memory as they came while the budget lasts; then the oldest batches keep only their place in
//! the WAL, and a lookup reads them from there.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    log::Position,
};
use parking_lot::{Mutex, RwLock};

use crate::decode::{Decoded, Part};

/// A stored batch.
pub struct Batch {
    /// Where it lies in the WAL.
    pub position: Position,
    /// Its spans; None once the budget is spent.
    raw: Mutex<Option<Bytes>>,
}

impl Batch {
    /// Its spans, if they are in memory.
    pub fn raw(&self) -> Option<Bytes> {
        self.raw.lock().clone()
    }
}

/// The batches of one tenant.
#[derive(Default)]
pub struct Table {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    parts: Vec<Place>,
    /// The parts that hold spans of a trace, by their number in `parts`, in order.
    traces: HashMap<[u8; 16], Places>,
}

/// A part of a batch.
#[derive(Clone)]
pub struct Place {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Where in its spans.
    pub range: Range<usize>,
}

/// One part, mostly; more cost an allocation.
struct Places {
    first: u32,
    more: Vec<u32>,
}

/// What a part and a trace cost in the index, and what each further part of a trace does.
const PART_BYTES: usize = 24;
const TRACE_BYTES: usize = 80;
const PLACE_BYTES: usize = 8;

impl Table {
    /// Adds a batch; returns by how many bytes the index grew.
    fn insert(&self, batch: &Arc<Batch>, parts: Vec<Part>) -> usize {
        let mut inner = self.inner.write();
        let mut grown = 0;
        for Part { range, traces } in parts {
            let number = inner.parts.len() as u32;
            inner.parts.push(Place { batch: batch.clone(), range });
            grown += PART_BYTES;
            for trace in traces {
                match inner.traces.get_mut(&trace) {
                    None => {
                        grown += TRACE_BYTES;
                        inner.traces.insert(trace, Places { first: number, more: Vec::new() });
                    }
                    Some(places) => {
                        if *places.more.last().unwrap_or(&places.first) != number {
                            grown += PLACE_BYTES;
                            places.more.push(number);
                        }
                    }
                }
            }
        }
        grown
    }

    /// How many parts there are now: a reader that looks no further sees one consistent instant.
    pub fn len(&self) -> usize {
        self.inner.read().parts.len()
    }

    /// The parts below `upto` that hold spans of a trace.
    pub fn find(&self, trace: &TraceId, upto: usize) -> Vec<Place> {
        let inner = self.inner.read();
        let Some(places) = inner.traces.get(trace.as_bytes()) else { return Vec::new() };
        let numbers = std::iter::once(places.first).chain(places.more.iter().copied());
        numbers
            .map(|number| number as usize)
            .take_while(|number| *number < upto)
            .map(|number| inner.parts[number].clone())
            .collect()
    }
}

/// The tables of all tenants, and their memory.
pub struct Memtable {
    tables: RwLock<HashMap<Tenant, Arc<Table>>>,
    max_raw_bytes: usize,
    usage: Mutex<Usage>,
}

/// What a memtable takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Batches.
    pub batches: u64,
    /// Bytes of spans in memory.
    pub raw_bytes: usize,
    /// Bytes of the index, about.
    pub index_bytes: usize,
}

#[derive(Default)]
struct Usage {
    memory: Memory,
    /// Batches whose spans are in memory, oldest first.
    warm: std::collections::VecDeque<(Arc<Batch>, usize)>,
}

impl Memtable {
    /// Keeps up to `max_raw_bytes` of spans in memory.
    pub fn new(max_raw_bytes: usize) -> Self {
        Self { tables: RwLock::default(), max_raw_bytes, usage: Mutex::default() }
    }

    /// A tenant's table; None when it has no spans.
    pub fn table(&self, tenant: &Tenant) -> Option<Arc<Table>> {
        self.tables.read().get(tenant).cloned()
    }

    /// What it takes now.
    pub fn memory(&self) -> Memory {
        self.usage.lock().memory
    }

    /// Publishes a batch: from now on it can be found.
    pub fn publish(&self, tenant: &Tenant, position: Position, decoded: Decoded) {
        let Decoded { raw, parts, .. } = decoded;
        let table =
            self.table(tenant).unwrap_or_else(|| self.tables.write().entry(tenant.clone()).or_default().clone());
        let raw_bytes = raw.len();
        let batch = Arc::new(Batch { position, raw: Mutex::new(Some(raw)) });
        let grown = table.insert(&batch, parts);
        let mut usage = self.usage.lock();
        usage.memory.batches += 1;
        usage.memory.index_bytes += grown;
        usage.memory.raw_bytes += raw_bytes;
        usage.warm.push_back((batch, raw_bytes));
        while usage.memory.raw_bytes > self.max_raw_bytes
            && let Some((oldest, bytes)) = usage.warm.pop_front()
        {
            oldest.raw.lock().take();
            usage.memory.raw_bytes -= bytes;
        }
    }
}
