//! The order of spans in blocks: by trace, start, span.

use arrow_array::{RecordBatch, cast::AsArray, types::TimestampNanosecondType};

use super::{same, starts};
use crate::schema::{self, core};

/// Rows of some batches, sorted.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Places of rows in the concatenation of the batches.
    pub rows: Vec<u32>,
    /// How many rows were left out because they are exact duplicates.
    pub duplicates: usize,
}

/// Batches cannot be put in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A column is missing or of another type.
    #[error("column {0} of the spans is missing or not of its type")]
    Column(String),
    /// Rows are counted in 32 bits.
    #[error("more than 4 billion spans at once")]
    TooMany,
}

/// Puts the rows of batches in memory form in the order of (trace_id, start_time, span_id). Of rows that are equal in all
/// columns (an attribute counts the same with a column of its own and in the list) the first stays; the others are
/// dropped. Rows with the same ids and other content all stay, in the order of the batches.
///
/// # Errors
/// When a batch has not the core columns.
pub fn order(batches: &[RecordBatch]) -> Result<Order, OrderError> {
    let keys = Keys::of(batches)?;
    // Sorting by the first eight bytes alone settles nearly everything, and moves 16 bytes a row.
    let mut rows: Vec<(u64, u32)> = keys.traces.iter().zip(0..).map(|(trace, row)| (high(trace), row)).collect();
    rows.sort_by_key(|(high, _)| *high);
    let mut order = Order { rows: Vec::with_capacity(rows.len()), duplicates: 0 };
    let starts = starts(batches);
    let mut ties: Vec<(Key, u32)> = Vec::new();
    for run in rows.chunk_by(|a, b| a.0 == b.0) {
        if let [(_, row)] = run {
            order.rows.push(*row);
            continue;
        }
        ties.clear();
        ties.extend(run.iter().map(|(_, row)| (keys.key(*row), *row)));
        ties.sort_unstable();
        for same_key in ties.chunk_by(|a, b| a.0 == b.0) {
            if let [(_, row)] = same_key {
                order.rows.push(*row);
            } else {
                let before = order.rows.len();
                same::push_distinct(batches, &starts, same_key.iter().map(|(_, row)| *row), &mut order.rows);
                order.duplicates += same_key.len() - (order.rows.len() - before);
            }
        }
    }
    Ok(order)
}

/// The second half of a trace id, start, span id: numbers that sort as bytes do.
type Key = (u64, i64, u64);

struct Keys {
    traces: Vec<[u8; 16]>,
    starts: Vec<i64>,
    spans: Vec<[u8; 8]>,
}

impl Keys {
    fn of(batches: &[RecordBatch]) -> Result<Self, OrderError> {
        let count = batches.iter().map(RecordBatch::num_rows).sum();
        if count >= u32::MAX as usize {
            return Err(OrderError::TooMany);
        }
        let mut keys = Self {
            traces: Vec::with_capacity(count),
            starts: Vec::with_capacity(count),
            spans: Vec::with_capacity(count),
        };
        for batch in batches {
            keys.traces.extend_from_slice(ids(batch, core::TRACE_ID)?);
            keys.spans.extend_from_slice(ids(batch, core::SPAN_ID)?);
            let starts = batch.columns().get(core::START_TIME).and_then(|array| array.as_primitive_opt());
            let starts = starts.ok_or_else(|| wrong(core::START_TIME))?;
            keys.starts.extend_from_slice(arrow_array::PrimitiveArray::<TimestampNanosecondType>::values(starts));
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

fn ids<const N: usize>(batch: &RecordBatch, at: usize) -> Result<&[[u8; N]], OrderError> {
    let array = batch.columns().get(at).and_then(|array| array.as_fixed_size_binary_opt());
    let array = array.filter(|array| array.value_length() as usize == N).ok_or_else(|| wrong(at))?;
    Ok(array.value_data().as_chunks().0)
}

fn wrong(at: usize) -> OrderError {
    OrderError::Column(schema::CORE[at].name().clone())
}
