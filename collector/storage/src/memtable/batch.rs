//! A batch of spans in memory, as columns or as it came.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use arrow_array::{FixedSizeBinaryArray, RecordBatch, cast::AsArray};
use clew_common::{ids::TraceId, log::Work};
use parking_lot::Mutex;

use crate::{
    columns::Spans,
    schema::{self, core},
    side_by_side::side_by_side,
};

/// What comes into memory.
pub enum Arrival {
    /// Columns.
    Open(Spans),
    /// What becomes columns when somebody looks at it.
    Packed(Packed),
}

/// Spans that were checked and are not columns yet: that takes several times as long, and a start has to have them found.
pub struct Packed {
    /// The traces of the spans, in their order; not the same one twice in a row.
    pub traces: Vec<[u8; 16]>,
    /// What they take as columns, about.
    pub bytes: usize,
    /// Makes columns of them. None when that cannot be done, which whoever made this has told.
    pub open: Box<dyn Fn() -> Option<Spans> + Send>,
}

/// A batch of spans. What it says never changes. Cheap to clone.
#[derive(Clone)]
pub struct Batch(Arc<Inner>);

struct Inner {
    columns: OnceLock<RecordBatch>,
    /// Makes them, until they are there.
    open: Mutex<Option<Open>>,
    seq: u64,
}

/// Makes the columns of a batch.
pub(super) type Open = Box<dyn Fn() -> Option<RecordBatch> + Send>;

impl Batch {
    /// With these columns, from the WAL record `seq`.
    pub(super) fn new(columns: RecordBatch, seq: u64) -> Self {
        Self(Arc::new(Inner { columns: OnceLock::from(columns), open: Mutex::new(None), seq }))
    }

    /// With the columns that `open` will make.
    pub(super) fn packed(open: Open, seq: u64) -> Self {
        Self(Arc::new(Inner { columns: OnceLock::new(), open: Mutex::new(Some(open)), seq }))
    }

    /// Its columns, in memory form. May take long the first time.
    pub fn columns(&self) -> &RecordBatch {
        self.0.columns.get_or_init(|| {
            let mut open = self.0.open.lock();
            let columns = open.as_ref().and_then(|open| open()).unwrap_or_else(none);
            // Not if it panics: then the next one tries again, and no block is written without these spans.
            *open = None;
            columns
        })
    }

    /// Whether its columns are there.
    pub fn is_open(&self) -> bool {
        self.0.columns.get().is_some()
    }

    /// The number of the WAL record that it came from.
    pub fn seq(&self) -> u64 {
        self.0.seq
    }

    /// The rows of a trace.
    pub fn rows_of(&self, trace: &TraceId) -> Vec<usize> {
        let rows = ids(self.columns()).iter().enumerate().filter(|(_, id)| *id == trace.as_bytes());
        rows.map(|(row, _)| row).collect()
    }
}

/// Columns of no spans.
fn none() -> RecordBatch {
    RecordBatch::new_empty(schema::with_attributes([]))
}

/// The trace ids of a batch.
pub(super) fn ids(columns: &RecordBatch) -> &[[u8; 16]] {
    let ids: Option<&FixedSizeBinaryArray> = columns.column(core::TRACE_ID).as_fixed_size_binary_opt();
    ids.map_or(&[], |ids| ids.value_data().as_chunks().0)
}

/// The columns of batches, in their order. Those that are not there yet are made, on all processors, for as long as `go_on` says yes; after
/// a no some have no spans.
pub fn open_all(batches: &[Batch], work: Work, go_on: &(dyn Fn() -> bool + Sync)) -> Vec<RecordBatch> {
    let packed: Vec<&Batch> = batches.iter().filter(|batch| !batch.is_open()).collect();
    let threads = if work == Work::Threads { packed.len() } else { 1 };
    let next = AtomicUsize::new(0);
    side_by_side(threads, "open", || {
        while let Some(batch) = packed.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| go_on()) {
            batch.columns();
        }
    });
    batches.iter().map(|batch| batch.0.columns.get().cloned().unwrap_or_else(none)).collect()
}
