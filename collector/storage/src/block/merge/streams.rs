//! Several sorted blocks as one stream of windows, in order and in bounded memory.

use std::collections::VecDeque;

use arrow_array::{RecordBatch, cast::AsArray, types::TimestampNanosecondType};

use crate::{block::BlockError, schema::core};

/// The batches of a block, in order.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, BlockError>> + Send>;

/// What rows are sorted by: trace, start, span.
type Key = ([u8; 16], i64, [u8; 8]);

/// So many batches of one input are read for a window that cannot be cut between them. Past it their trace is given out as far
/// as it has been read.
const MAX_ALIKE: usize = 8;

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
    /// Opens them all.
    pub fn open(blocks: impl IntoIterator<Item = Batches>) -> Self {
        let open = |batches| Input { batches, rows: VecDeque::new(), ended: false };
        Self { inputs: blocks.into_iter().map(open).collect() }
    }

    /// The next window: the rows of each input before one up to which all inputs have been read. None at the end. Each window
    /// is after the one before it; rows that are equal in trace, start and span are in the same one. A trace may go on in the
    /// next.
    ///
    /// Two things are left to be as they come, because nothing but memory would bound them: more than [`MAX_ALIKE`] batches of
    /// one input that are equal in all three, and traces whose spans an input has in no order, as merges of former versions
    /// wrote large ones. Windows are then in the order of traces.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn next(&mut self) -> Result<Option<Vec<Vec<RecordBatch>>>, BlockError> {
        let has_rows = |window: &[Vec<RecordBatch>]| window.iter().any(|rows| !rows.is_empty());
        loop {
            // An input of which nothing is in memory does not say how far it has been read: any of its rows may be next.
            for input in self.inputs.iter_mut().filter(|input| input.rows.is_empty() && !input.ended) {
                input.read()?;
            }
            let open = self.inputs.iter().enumerate().filter(|(_, input)| !input.ended);
            let Some((end, at)) = open.filter_map(|(at, input)| Some((input.last()?, at))).min() else {
                let rest: Vec<Vec<_>> = self.inputs.iter_mut().map(|input| input.rows.drain(..).collect()).collect();
                return Ok(has_rows(&rest).then_some(rest));
            };
            let mut window = self.take(|key| *key < end);
            if !has_rows(&window) && self.inputs[at].rows.len() > MAX_ALIKE {
                window = self.take(|key| key.0 <= end.0);
            }
            self.inputs[at].read()?;
            if has_rows(&window) {
                return Ok(Some(window));
            }
        }
    }

    fn take(&mut self, goes: impl Fn(&Key) -> bool) -> Vec<Vec<RecordBatch>> {
        self.inputs.iter_mut().map(|input| input.take(&goes)).collect()
    }
}

impl Input {
    fn read(&mut self) -> Result<(), BlockError> {
        let next = self.batches.find(|batch| !matches!(batch, Ok(batch) if batch.num_rows() == 0)).transpose()?;
        self.ended = next.is_none();
        self.rows.extend(next);
        Ok(())
    }

    fn last(&self) -> Option<Key> {
        let rows = self.rows.back()?;
        Some(Keys::of(rows).at(rows.num_rows() - 1))
    }

    /// Takes the rows that go: all before the first one that does not.
    fn take(&mut self, goes: &impl Fn(&Key) -> bool) -> Vec<RecordBatch> {
        let mut taken = Vec::new();
        while let Some(rows) = self.rows.pop_front() {
            let (keys, count) = (Keys::of(&rows), rows.num_rows());
            let (mut first, mut end) = (0, count);
            while first < end {
                let middle = first + (end - first) / 2;
                if goes(&keys.at(middle)) { first = middle + 1 } else { end = middle }
            }
            if first > 0 {
                taken.push(rows.slice(0, first));
            }
            if first < count {
                self.rows.push_front(rows.slice(first, count - first));
                break;
            }
        }
        taken
    }
}

struct Keys<'a> {
    traces: &'a [[u8; 16]],
    starts: &'a [i64],
    spans: &'a [[u8; 8]],
}

impl<'a> Keys<'a> {
    fn of(rows: &'a RecordBatch) -> Self {
        let starts = rows.column(core::START_TIME).as_primitive_opt::<TimestampNanosecondType>();
        Self {
            traces: ids(rows, core::TRACE_ID),
            starts: starts.map_or(&[], |starts| &starts.values()[..]),
            spans: ids(rows, core::SPAN_ID),
        }
    }

    /// Zeros where a column is not what it should be: the writer refuses it.
    fn at(&self, row: usize) -> Key {
        (
            self.traces.get(row).copied().unwrap_or_default(),
            self.starts.get(row).copied().unwrap_or_default(),
            self.spans.get(row).copied().unwrap_or_default(),
        )
    }
}

fn ids<const N: usize>(rows: &RecordBatch, at: usize) -> &[[u8; N]] {
    rows.column(at).as_fixed_size_binary_opt().map_or(&[], |ids| ids.value_data().as_chunks().0)
}
