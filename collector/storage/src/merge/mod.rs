//! Rows of several batches in one order, each once.
//!
//! `order` sorts, `same` tells which rows are exact duplicates, `counts` which attributes are common enough for columns.

mod counts;
mod order;
mod same;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::described;

use arrow_array::RecordBatch;

pub use counts::{Attribute, Counts, MAX_COLUMNS};
pub use order::{Order, OrderError, order};
pub use same::describe;

/// Where the rows of each batch begin in the concatenation of all.
pub(crate) fn starts(batches: &[RecordBatch]) -> Vec<usize> {
    let starts = batches.iter().scan(0, |next, batch| {
        let start = *next;
        *next += batch.num_rows();
        Some(start)
    });
    starts.collect()
}

/// The batch of a row, and the row in it. There must be such a row.
pub(crate) fn locate(starts: &[usize], row: u32) -> (usize, usize) {
    let row = row as usize;
    let batch = starts.partition_point(|start| *start <= row) - 1;
    (batch, row - starts[batch])
}
