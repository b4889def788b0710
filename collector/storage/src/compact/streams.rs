//! Several sorted blocks as one stream of windows: whole traces, in order, in bounded memory.

use std::collections::VecDeque;

use arrow_array::{RecordBatch, cast::AsArray};

use crate::{block::BlockError, schema::core};

/// The batches of a block, in order.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, BlockError>> + Send>;

/// Sorted inputs, of each the rows that have been read and not given out.
pub struct Streams {
    inputs: Vec<Input>,
}

struct Input {
    batches: Batches,
    /// None of them is empty.
    rows: VecDeque<RecordBatch>,
    ended: bool,
}

impl Streams {
    /// Reads the first batch of each.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn open(blocks: impl IntoIterator<Item = Batches>) -> Result<Self, BlockError> {
        let open = |batches| {
            let mut input = Input { batches, rows: VecDeque::new(), ended: false };
            input.read().map(|()| input)
        };
        Ok(Self { inputs: blocks.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    /// The next window: the rows of all inputs up to a trace of which all inputs have been read. None at the end. A trace
    /// that is larger than two batches comes in several windows.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn next(&mut self) -> Result<Option<Vec<RecordBatch>>, BlockError> {
        loop {
            // The last trace that was read of an input may go on in what is to be read of it.
            let open = self.inputs.iter().enumerate().filter(|(_, input)| !input.ended);
            let nearest = open.filter_map(|(at, input)| Some((input.last()?, at))).min();
            let Some((last, at)) = nearest else {
                let rest: Vec<_> = self.inputs.iter_mut().flat_map(|input| input.rows.drain(..)).collect();
                return Ok((!rest.is_empty()).then_some(rest));
            };
            let input = &mut self.inputs[at];
            let huge = input.rows.len() > 1 && input.rows.iter().all(|rows| first(rows) == Some(last));
            let window: Vec<_> = self.inputs.iter_mut().flat_map(|input| input.take(&last, huge)).collect();
            self.inputs[at].read()?;
            if !window.is_empty() {
                return Ok(Some(window));
            }
        }
    }
}

impl Input {
    fn read(&mut self) -> Result<(), BlockError> {
        let next = self.batches.find(|batch| !matches!(batch, Ok(batch) if batch.num_rows() == 0)).transpose()?;
        self.ended = next.is_none();
        self.rows.extend(next);
        Ok(())
    }

    fn last(&self) -> Option<[u8; 16]> {
        ids(self.rows.back()?).last().copied()
    }

    /// Takes the rows of the traces before `end`, and those of it too if `with_end`.
    fn take(&mut self, end: &[u8; 16], with_end: bool) -> Vec<RecordBatch> {
        let mut taken = Vec::new();
        while let Some(rows) = self.rows.pop_front() {
            let count = ids(&rows).partition_point(|id| id < end || with_end && id == end);
            if count > 0 {
                taken.push(rows.slice(0, count));
            }
            if count < rows.num_rows() {
                self.rows.push_front(rows.slice(count, rows.num_rows() - count));
                break;
            }
        }
        taken
    }
}

fn ids(rows: &RecordBatch) -> &[[u8; 16]] {
    rows.column(core::TRACE_ID).as_fixed_size_binary_opt().map_or(&[], |ids| ids.value_data().as_chunks().0)
}

fn first(rows: &RecordBatch) -> Option<[u8; 16]> {
    ids(rows).first().copied()
}
