//! Gives rows of a block the form that they have in memory: parents by their ids.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, Int32Array, RecordBatch, cast::AsArray, types::Int32Type};
use arrow_buffer::{MutableBuffer, NullBuffer};

use super::Why;
use crate::schema::core;

/// The ids of a column that cannot be null.
pub fn ids<const N: usize>(batch: &RecordBatch, column: usize) -> Result<&[[u8; N]], Why> {
    let wrong = || Why::Columns(format!("column {column} has no ids of {N} bytes"));
    let ids = batch.columns().get(column).and_then(|ids| ids.as_fixed_size_binary_opt()).ok_or_else(wrong)?;
    if ids.value_length() as usize != N || ids.null_count() > 0 {
        return Err(wrong());
    }
    Ok(ids.value_data().as_chunks().0)
}

/// Puts `parent_span_id` in the place of `parent_row`. `span_of` gives the id of the span at a position among the rows of
/// the trace of a row of the batch.
pub fn memory_form(
    batch: &RecordBatch,
    mut span_of: impl FnMut(usize, usize) -> Option<[u8; 8]>,
) -> Result<RecordBatch, Why> {
    let wrong = || Why::Columns("it does not have the columns of a block".to_owned());
    let rows = batch.columns().get(core::PARENT_ROW).and_then(|rows| rows.as_primitive_opt::<Int32Type>());
    let (rows, kept) = (rows.ok_or_else(wrong)?, parents(batch).ok_or_else(wrong)?);
    let mut values = MutableBuffer::with_capacity(8 * batch.num_rows());
    let mut valid = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let id = if rows.is_valid(row) {
            let position = usize::try_from(rows.value(row)).ok().and_then(|position| span_of(row, position));
            Some(position.ok_or_else(|| Why::Columns(format!("the parent of row {row} is not in its trace")))?)
        } else if kept.is_valid(row) {
            kept.value(row).try_into().ok()
        } else {
            None
        };
        valid.push(id.is_some());
        values.extend_from_slice(&id.unwrap_or_default());
    }
    let parents = FixedSizeBinaryArray::try_new(8, values.into(), Some(NullBuffer::from(valid)))
        .map_err(|error| Why::Columns(error.to_string()))?;
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    columns[core::PARENT_SPAN_ID] = Arc::new(parents);
    columns[core::PARENT_ROW] = Arc::new(Int32Array::new_null(batch.num_rows()));
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| Why::Columns(error.to_string()))
}

fn parents(batch: &RecordBatch) -> Option<&FixedSizeBinaryArray> {
    let parents = batch.columns().get(core::PARENT_SPAN_ID)?.as_fixed_size_binary_opt()?;
    (parents.value_length() == 8).then_some(parents)
}
