//! One consistent instant of what is stored, for a query.

use std::sync::Arc;

use bytes::Bytes;
use clew_common::{
    ids::TraceId,
    log::{ReadError, Reader},
    otlp::{filter, record::Head},
};

use crate::{
    decode::{DecodeError, decode},
    memtable::{Batch, Place, Table},
};

/// What was stored for one tenant at one instant. What comes later is not seen.
pub struct Snapshot {
    /// None when the tenant had nothing.
    pub(crate) memtable: Option<(Arc<Table>, usize)>,
    pub(crate) wal: Reader,
}

/// Why a part of a snapshot cannot be read. The rest can: answers are then partial.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The WAL cannot be read there.
    #[error("a part of the WAL cannot be read: {0}")]
    Wal(#[from] ReadError),
    /// A record of the WAL is not what it was.
    #[error("a record of the WAL cannot be understood: {0}")]
    Record(String),
}

impl From<DecodeError> for SnapshotError {
    fn from(error: DecodeError) -> Self {
        Self::Record(error.to_string())
    }
}

impl Snapshot {
    /// The spans of a trace: parts of OTLP TracesData, which may hold the same span twice. Blocking: may read the disk.
    pub fn trace(&self, trace: &TraceId) -> Vec<Result<Bytes, SnapshotError>> {
        let Some((table, upto)) = &self.memtable else { return Vec::new() };
        // Parts of a batch follow one another: it is read from the WAL once.
        let mut last: Option<(Arc<Batch>, Bytes)> = None;
        let parts = table.find(trace, *upto).into_iter().map(|Place { batch, range }| {
            let raw = match &last {
                Some((read, raw)) if Arc::ptr_eq(read, &batch) => raw.clone(),
                _ => match batch.raw() {
                    Some(raw) => raw,
                    None => self.load(batch.position)?,
                },
            };
            last = Some((batch, raw.clone()));
            let part = raw.get(range).ok_or_else(|| SnapshotError::Record("it is shorter than it was".to_owned()))?;
            Ok(Bytes::from(filter::of_trace(part, trace.as_bytes())))
        });
        parts.collect()
    }

    fn load(&self, position: clew_common::log::Position) -> Result<Bytes, SnapshotError> {
        let entry = self.wal.load(position)?;
        let (head, spans_at) =
            Head::decode(&entry.payload).map_err(|error| SnapshotError::Record(error.to_string()))?;
        Ok(decode(head.codec, entry.payload.slice(spans_at..), head.raw_bytes, head.spans)?.raw)
    }
}
