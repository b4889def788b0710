//! Rows of several batches in one order, each once.
//!
//! `inputs` are where they come from, a column at a time. `order` sorts, `same` tells which rows are exact duplicates, `counts` which
//! attributes are common enough for columns.

mod counts;
mod inputs;
mod order;
mod same;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::described;

pub use counts::{Attribute, Counts, MAX_COLUMNS};
pub use inputs::{Batches, Inputs};
pub(crate) use inputs::{is_null, null};
pub use order::{Order, OrderError, order};
pub use same::describe;

/// Where each of some parts begins in the concatenation of all, by how many rows they have.
pub(crate) fn starts(rows: impl Iterator<Item = usize>) -> Vec<usize> {
    let start = |next: &mut usize, rows: usize| {
        let start = *next;
        *next += rows;
        Some(start)
    };
    rows.scan(0, start).collect()
}

/// The part of a row, and the row in it. There must be such a row.
pub(crate) fn locate(starts: &[usize], row: u32) -> (usize, usize) {
    let row = row as usize;
    let part = starts.partition_point(|start| *start <= row) - 1;
    (part, row - starts[part])
}
