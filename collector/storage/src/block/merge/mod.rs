//! Writes several blocks as one.
//!
//! `streams` puts what says where spans belong into order, window by window. Windows become row groups, of which each column is
//! read, put into order and written before the next: memory holds ids, one column and what is written.

mod streams;
#[cfg(test)]
pub(crate) mod tests;

use arrow_array::{ArrayRef, RecordBatch, cast::AsArray};
use arrow_schema::SchemaRef;

use self::streams::Streams;
use super::{
    BlockError, BlockWriter, SPANS, Why, WriteError,
    read::{Block, HEADS, Ranges},
};
use crate::{merge::Inputs, schema::core};

/// A row group of rows that take more than this in memory gets no further ones.
const MAX_BYTES: u64 = 128 << 20;

/// Writes all spans of some blocks. `window` rows of all of them are put into order at a time, and row groups have no more than
/// `most` rows. `pause` is called before each column is read, and ends it with an error. Blocking.
///
/// # Errors
/// When a block cannot be read or written, and those of `pause`.
pub fn merge<'a, E: From<WriteError>>(
    writer: &mut BlockWriter,
    blocks: impl ExactSizeIterator<Item = &'a Block>,
    (window, most): (usize, usize),
    pause: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let piece = window / blocks.len().max(1);
    let parts =
        blocks.map(|block| Part::open(block, piece)).collect::<Result<Vec<_>, _>>().map_err(WriteError::from)?;
    let mut streams = Streams::open(parts.iter().map(|part| Box::new(part.ranges.heads()) as _));
    let mut parts = Parts { parts, pause, stopped: None };
    loop {
        let next = streams.next().map_err(WriteError::from)?;
        let is_last = next.is_none();
        let added = parts.add(next.unwrap_or_default());
        // The next window may be as large as this one.
        let is_full = parts.all_rows() + added > most || parts.bytes() >= MAX_BYTES;
        if is_full || is_last {
            let later = if is_last { Vec::new() } else { parts.split_last() };
            parts.advance();
            let written = if parts.all_rows() > 0 { writer.write(&mut parts) } else { Ok(()) };
            if let Some(error) = parts.stopped.take() {
                return Err(error);
            }
            written?;
            parts.clear();
            parts.add(later);
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The rows of some blocks that become the next row group.
struct Parts<'a, E, P> {
    parts: Vec<Part<'a>>,
    pause: P,
    stopped: Option<E>,
}

/// Those of one block.
struct Part<'a> {
    block: &'a Block,
    ranges: Ranges<'a>,
    heads: Vec<RecordBatch>,
}

impl<'a> Part<'a> {
    fn open(block: &'a Block, piece: usize) -> Result<Self, BlockError> {
        Ok(Self { block, ranges: Ranges::open(block, piece)?, heads: Vec::new() })
    }

    fn rows(&self) -> usize {
        self.heads.iter().map(RecordBatch::num_rows).sum()
    }
}

impl<E, P> Parts<'_, E, P> {
    /// Adds rows of each block; says how many.
    fn add(&mut self, rows: Vec<Vec<RecordBatch>>) -> usize {
        let added = rows.iter().flatten().map(RecordBatch::num_rows).sum();
        self.parts.iter_mut().zip(rows).for_each(|(part, rows)| part.heads.extend(rows));
        added
    }

    fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| part.heads.clear());
    }

    /// About what they take in memory with all columns.
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.ranges.next_bytes(part.rows())).sum()
    }

    /// Goes on to them in all columns.
    fn advance(&mut self) {
        self.parts.iter_mut().for_each(|part| part.ranges.advance(part.rows()));
    }

    /// Takes those of the last trace away, unless it is the only one: more of it may come, which may have to be among those.
    /// A trace that is a row group by itself is written as it comes.
    fn split_last(&mut self) -> Vec<Vec<RecordBatch>> {
        let last_of = |part: &Part<'_>| trace(part.heads.last()?, part.heads.last()?.num_rows() - 1);
        let first_of = |part: &Part<'_>| trace(part.heads.first()?, 0);
        let last = self.parts.iter().filter_map(last_of).max();
        if self.parts.iter().filter_map(first_of).min() == last {
            return Vec::new();
        }
        let split = |part: &mut Part<'_>| {
            let mut later = Vec::new();
            while let Some(rows) = part.heads.pop() {
                let count = rows.num_rows();
                let mut stays = count;
                while stays > 0 && trace(&rows, stays - 1) == last {
                    stays -= 1;
                }
                if stays < count {
                    later.push(rows.slice(stays, count - stays));
                }
                if stays > 0 {
                    part.heads.push(rows.slice(0, stays));
                    break;
                }
            }
            later.reverse();
            later
        };
        self.parts.iter_mut().map(split).collect()
    }
}

fn trace(rows: &RecordBatch, row: usize) -> Option<[u8; 16]> {
    rows.column(core::TRACE_ID).as_fixed_size_binary_opt()?.value(row).try_into().ok()
}

impl<E, P: FnMut() -> Result<(), E>> Inputs for Parts<'_, E, P> {
    fn count(&self) -> usize {
        self.parts.len()
    }

    fn rows(&self, input: usize) -> usize {
        self.parts[input].rows()
    }

    fn schema(&self, input: usize) -> SchemaRef {
        self.parts[input].ranges.schema()
    }

    fn read(&mut self, input: usize, column: usize, to: &mut Vec<ArrayRef>) -> Result<(), WriteError> {
        let part = &mut self.parts[input];
        if column < HEADS {
            to.extend(part.heads.iter().map(|rows| rows.column(column).clone()));
            return Ok(());
        }
        if let Err(error) = (self.pause)() {
            self.stopped = Some(error);
            return Err(BlockError { path: format!("{}/{SPANS}", part.block.path()), why: Why::Stopped }.into());
        }
        Ok(part.ranges.read(column, to)?)
    }
}
