//! One consistent instant of what is stored, for a query.

use std::{ops::Range, sync::Arc};

use arrow_array::RecordBatch;
use bytes::Bytes;
use clew_common::{ids::TraceId, log::Work};

use crate::{
    block::{Block, BlockError, GoOn, trace_in},
    columns::{Resource, write_otlp},
    contents::Instant,
    memtable::{Table, open_all},
    stats::{Counts, Event},
};

/// What was stored for one tenant at one instant. What comes later is not seen. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) instant: Instant,
    /// For [`SnapshotError::Lost`].
    pub(crate) counts: Arc<Counts>,
    /// Whether threads may be started.
    pub(crate) work: Work,
}

/// Why a part of a snapshot cannot be read. The rest can: answers are then partial.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A block is damaged.
    #[error("a block cannot be read: {0}")]
    Block(#[from] Arc<BlockError>),
    /// The WAL was damaged when the collector started. The next start no longer knows it, once what is left is in blocks.
    #[error("about {0} records of the write-ahead log were damaged when the collector started: what they held is lost")]
    Lost(u64),
}

impl Snapshot {
    /// The spans of a trace: parts of OTLP TracesData, which may hold the same span twice. Blocking: may read the disk.
    pub fn trace(&self, trace: &TraceId) -> Vec<Result<Bytes, SnapshotError>> {
        self.trace_while(trace, &|_| true)
    }

    /// The same for as long as `go_on`, which is told of the bytes that are read, says yes. After a no parts are missing.
    pub fn trace_while(&self, trace: &TraceId, go_on: GoOn<'_>) -> Vec<Result<Bytes, SnapshotError>> {
        let Instant { tables, blocks } = &self.instant;
        let memory = tables.iter().take_while(|_| go_on(0));
        let memory = memory.filter_map(|(table, places)| Some(Ok(in_memory(table, places, trace, go_on)?)));
        let holding: Vec<&Block> =
            blocks.whole.iter().rev().map(|block| &**block).filter(|block| block.may_hold(trace)).collect();
        let stored = trace_in(&holding, trace, self.work, go_on).into_iter();
        stored
            .map(|found| found.map_err(|error| Arc::new(error).into()))
            .chain(memory)
            .chain(self.damaged().map(Err))
            .collect()
    }

    /// The blocks that can be read, oldest first.
    pub fn blocks(&self) -> &[Arc<Block>] {
        &self.instant.blocks.whole
    }

    /// Why spans may be missing: the blocks that cannot be read, and what was lost before it was in one. To be asked after
    /// [`Self::memory`]: reading that may come upon something.
    pub fn damaged(&self) -> impl Iterator<Item = SnapshotError> + '_ {
        let blocks = self.instant.blocks.damaged.iter().map(|(_, error)| error.clone().into());
        let lost = || Some(self.counts.all(Event::LeftOutRecord)).filter(|lost| *lost > 0).map(SnapshotError::Lost);
        blocks.chain(std::iter::once_with(lost).flatten())
    }

    /// What is in memory, oldest first.
    pub fn memory(&self) -> impl Iterator<Item = Memory> + '_ {
        self.instant.tables.iter().map(|(table, places)| Memory {
            table: table.clone(),
            places: places.clone(),
            work: self.work,
        })
    }
}

/// Spans in memory that will become a block together. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    table: Arc<Table>,
    /// The batches that count.
    places: Range<usize>,
    work: Work,
}

impl Memory {
    /// The batches, in memory form, in the order in which they came. Soon after a start it takes as long as making columns of them, for as
    /// long as `go_on` says yes; after a no some have no spans.
    pub fn batches(&self, go_on: &(dyn Fn() -> bool + Sync)) -> Vec<RecordBatch> {
        open_all(&self.table.batches(&self.places), self.work, go_on)
    }

    /// The places of the batches that hold spans of a trace.
    pub fn find(&self, trace: &TraceId) -> Vec<usize> {
        self.table.find_places(trace, &self.places).iter().map(|place| place - self.places.start).collect()
    }

    /// A resource of one of the batches whose columns were given.
    pub fn resource(&self, id: u64) -> Option<Resource> {
        self.table.resource(id)
    }

    /// All resources of the batches whose columns were given.
    pub fn resources(&self) -> Vec<Resource> {
        self.table.resources()
    }

    /// Whether another collector may hold some of the spans too.
    pub fn may_duplicate(&self) -> bool {
        self.table.may_duplicate()
    }
}

fn in_memory(table: &Table, places: &Range<usize>, trace: &TraceId, go_on: GoOn<'_>) -> Option<Bytes> {
    let mut out = Vec::new();
    for batch in table.find(trace, places) {
        let before = out.len();
        // It cannot fail: the rows are the batch's.
        if let Err(error) = write_otlp(batch.columns(), &batch.rows_of(trace), |id| table.resource(id), &mut out) {
            tracing::error!(%error, "a batch in memory cannot be read");
        }
        if !go_on(out.len() - before) {
            break;
        }
    }
    (!out.is_empty()).then(|| out.into())
}
