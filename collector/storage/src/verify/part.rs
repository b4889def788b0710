//! Some spans that were read, with what they share.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow_array::{RecordBatch, UInt32Array, cast::AsArray, types::TimestampNanosecondType};
use arrow_schema::ArrowError;
use arrow_select::take::take_record_batch;
use clew_common::otlp::walk::Malformed;

use crate::{
    block::{Block, BlockError},
    columns::{Builder, Resource, Spans, ViewError, write_otlp},
    schema::core,
};

/// Spans in memory form, with their resources.
#[derive(Clone)]
pub struct Part {
    /// A row each.
    pub batch: RecordBatch,
    /// By id; may have others too.
    pub resources: Arc<HashMap<u64, Resource>>,
}

/// Spans cannot be taken apart or put together.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// They are no OTLP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There are too many.
    #[error(transparent)]
    Columns(#[from] ArrowError),
    /// They do not have the columns that they should have.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Part {
    /// The spans of a request that has passed the check of requests.
    ///
    /// # Errors
    /// When it has not, or is too large.
    pub fn of_otlp(request: &[u8]) -> Result<Self, PartError> {
        let mut builder = Builder::new();
        builder.add(request)?;
        Ok(builder.finish()?.into())
    }

    /// All spans of a block, in order, about `rows` of them at a time.
    ///
    /// # Errors
    /// When the block's resources cannot be read; afterwards each part may fail by itself.
    pub fn all_of(
        block: &Block,
        rows: usize,
    ) -> Result<impl Iterator<Item = Result<Self, BlockError>> + use<>, BlockError> {
        let resources = block.resources()?;
        let batches = block.batches(rows);
        Ok(batches.map(move |batch| batch.map(|batch| Self { batch, resources: resources.clone() })))
    }

    /// How many spans.
    pub fn spans(&self) -> usize {
        self.batch.num_rows()
    }

    /// Only the spans that are wanted, by their trace and their start in nanoseconds since 1970.
    ///
    /// # Errors
    /// When they do not have the columns that they should have.
    pub fn only(self, mut wanted: impl FnMut(&[u8; 16], u64) -> bool) -> Result<Self, PartError> {
        let wrong = |at: usize| ViewError::Column(crate::schema::CORE[at].name().clone());
        let columns = self.batch.columns();
        let ids = columns.get(core::TRACE_ID).and_then(|ids| ids.as_fixed_size_binary_opt());
        let ids = ids.filter(|ids| ids.value_length() == 16).ok_or_else(|| wrong(core::TRACE_ID))?;
        let starts = columns.get(core::START_TIME).and_then(|array| array.as_primitive_opt());
        let starts: &arrow_array::PrimitiveArray<TimestampNanosecondType> =
            starts.ok_or_else(|| wrong(core::START_TIME))?;
        let (ids, _) = ids.value_data().as_chunks::<16>();
        let rows = ids.iter().zip(starts.values()).zip(0u32..);
        let rows = rows.filter(|((id, start), _)| wanted(id, **start as u64)).map(|(_, row)| row);
        let rows: UInt32Array = rows.collect();
        if rows.len() == self.batch.num_rows() {
            return Ok(self);
        }
        Ok(Self { batch: take_record_batch(&self.batch, &rows)?, resources: self.resources })
    }

    /// The spans as OTLP TracesData, in messages of up to `max_bytes` unless a single span has more. Each fails when the
    /// spans do not have the columns that they should have.
    pub fn messages(&self, max_bytes: usize) -> impl Iterator<Item = Result<Vec<u8>, PartError>> {
        let mut left: Vec<Range<usize>> = std::iter::once(0..self.spans()).collect();
        std::iter::from_fn(move || {
            while let Some(rows) = left.pop().filter(|rows| !rows.is_empty()) {
                match self.otlp(rows.clone()) {
                    Ok(message) if message.len() > max_bytes && rows.len() > 1 => {
                        let middle = rows.start + rows.len() / 2;
                        left.extend([middle..rows.end, rows.start..middle]);
                    }
                    message => return Some(message),
                }
            }
            None
        })
    }

    /// Some of the spans as OTLP TracesData.
    ///
    /// # Errors
    /// When they do not have the columns that they should have, or there are not so many.
    pub fn otlp(&self, rows: Range<usize>) -> Result<Vec<u8>, PartError> {
        let mut out = Vec::new();
        let rows: Vec<usize> = rows.collect();
        write_otlp(&self.batch, &rows, |id| self.resources.get(&id).cloned(), &mut out)?;
        Ok(out)
    }
}

impl From<Spans> for Part {
    fn from(Spans { batch, resources }: Spans) -> Self {
        let resources = resources.into_iter().map(|resource| (resource.id, resource)).collect();
        Self { batch, resources: Arc::new(resources) }
    }
}
