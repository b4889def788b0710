//! The order of spans in blocks: by trace, start, span.

use std::ops::Range;

use arrow_array::{Array, RecordBatch, TimestampNanosecondArray, cast::AsArray};

use super::{Inputs, same, starts};
use crate::{
    block::WriteError,
    schema::{self, core},
};

/// Rows of some inputs, sorted.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Rows, counted through all inputs.
    pub rows: Vec<u32>,
    /// How many rows were left out because they are exact duplicates.
    pub duplicates: usize,
}

/// Rows cannot be put in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A column is missing or of another type.
    #[error("column {0} of the spans is missing or not of its type")]
    Column(String),
    /// Columns have not the same rows.
    #[error("the columns of the spans are not of the same length")]
    Uneven,
    /// Rows are counted in 32 bits.
    #[error("more than 4 billion spans at once")]
    TooMany,
}

/// Puts the rows of inputs in the order of (trace_id, start_time, span_id). Of rows that are equal in all
/// columns (an attribute counts the same with a column of its own and in the list) the first stays; the others are
/// dropped. Rows with the same ids and other content all stay, in the order of the inputs.
///
/// # Errors
/// When an input has not the core columns, or cannot be read.
pub fn order(inputs: &mut dyn Inputs) -> Result<Order, WriteError> {
    let keys = Keys::of(inputs)?;
    // Sorting by the first eight bytes alone settles nearly everything, and moves 16 bytes a row.
    let mut sorted: Vec<(u64, u32)> = keys.traces.iter().zip(0..).map(|(trace, row)| (high(trace), row)).collect();
    sorted.sort_by_key(|(high, _)| *high);
    let mut rows: Vec<u32> = Vec::with_capacity(sorted.len());
    // Places in `rows`.
    let mut alike: Vec<Range<usize>> = Vec::new();
    let mut ties: Vec<(Key, u32)> = Vec::new();
    for run in sorted.chunk_by(|a, b| a.0 == b.0) {
        if let [(_, row)] = run {
            rows.push(*row);
            continue;
        }
        ties.clear();
        ties.extend(run.iter().map(|(_, row)| (keys.key(*row), *row)));
        ties.sort_unstable();
        for same_key in ties.chunk_by(|a, b| a.0 == b.0) {
            if same_key.len() > 1 {
                alike.push(rows.len()..rows.len() + same_key.len());
            }
            rows.extend(same_key.iter().map(|(_, row)| *row));
        }
    }
    drop((keys, sorted));
    if alike.is_empty() {
        return Ok(Order { rows, duplicates: 0 });
    }
    let mut looked_at: Vec<u32> = alike.iter().flat_map(|places| &rows[places.clone()]).copied().collect();
    looked_at.sort_unstable();
    let picked = inputs.pick(&looked_at)?;
    let starts = starts(picked.iter().map(RecordBatch::num_rows));
    let place = |row: &u32| looked_at.partition_point(|other| other < row) as u32;
    let mut kept = Vec::with_capacity(rows.len());
    let mut next = 0;
    for places in alike {
        kept.extend_from_slice(&rows[next..places.start]);
        next = places.end;
        let same_key = rows[places].iter().map(|row| (*row, place(row)));
        same::push_distinct(&picked, &starts, same_key, &mut kept);
    }
    kept.extend_from_slice(&rows[next..]);
    Ok(Order { duplicates: rows.len() - kept.len(), rows: kept })
}

/// The second half of a trace id, start, span id: numbers that sort as bytes do.
type Key = (u64, i64, u64);

struct Keys {
    traces: Vec<[u8; 16]>,
    starts: Vec<i64>,
    spans: Vec<[u8; 8]>,
}

impl Keys {
    fn of(inputs: &mut dyn Inputs) -> Result<Self, WriteError> {
        let count = inputs.all_rows();
        if count >= u32::MAX as usize {
            return Err(OrderError::TooMany.into());
        }
        let mut keys = Self {
            traces: Vec::with_capacity(count),
            starts: Vec::with_capacity(count),
            spans: Vec::with_capacity(count),
        };
        for traces in inputs.core(core::TRACE_ID)? {
            keys.traces.extend_from_slice(ids(&traces, core::TRACE_ID)?);
        }
        for spans in inputs.core(core::SPAN_ID)? {
            keys.spans.extend_from_slice(ids(&spans, core::SPAN_ID)?);
        }
        for starts in inputs.core(core::START_TIME)? {
            let starts: Option<&TimestampNanosecondArray> = starts.as_primitive_opt();
            keys.starts.extend_from_slice(starts.ok_or_else(|| wrong(core::START_TIME))?.values());
        }
        if [keys.traces.len(), keys.spans.len(), keys.starts.len()] != [count; 3] {
            return Err(OrderError::Uneven.into());
        }
        Ok(keys)
    }

    fn key(&self, row: u32) -> Key {
        let row = row as usize;
        let low = self.traces[row].as_chunks().0[1];
        (u64::from_be_bytes(low), self.starts[row], u64::from_be_bytes(self.spans[row]))
    }
}

fn high(trace: &[u8; 16]) -> u64 {
    u64::from_be_bytes(trace.as_chunks().0[0])
}

fn ids<const N: usize>(array: &dyn Array, at: usize) -> Result<&[[u8; N]], OrderError> {
    let array = array.as_fixed_size_binary_opt().filter(|array| array.value_length() as usize == N);
    Ok(array.ok_or_else(|| wrong(at))?.value_data().as_chunks().0)
}

fn wrong(at: usize) -> OrderError {
    OrderError::Column(schema::CORE[at].name().clone())
}
