//! Reads single columns of a block, a row group at a time, for those who go through many spans and look at little of each.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, Fields};
use parquet::{arrow::ProjectionMask, errors::ParquetError, file::metadata::ColumnChunkMetaData};

use super::{Why, chunks::reader, file::SpansFile};
use crate::block::shapes::{Place, numbers_of};

/// Rows of a group.
pub fn rows(file: &SpansFile, group: usize) -> usize {
    usize::try_from(file.metadata.metadata().row_group(group).num_rows()).unwrap_or(0)
}

/// Whether any row of a row group has a value in a column, as its statistics say; of a column of shapes, whether any of the
/// block has.
pub fn has_values(file: &SpansFile, group: usize, column: usize) -> bool {
    match (file.columns.places.get(column), &file.columns.shapes) {
        (Some(Place::Shapes(at)), Some((_, shapes))) => shapes.has_values(*at),
        (Some(Place::Spans(at)), _) => has_values_itself(file, group, *at),
        _ => false,
    }
}

/// The same of a column of the file itself.
pub fn has_values_itself(file: &SpansFile, group: usize, column: usize) -> bool {
    let chunks = chunks(file, group, column);
    let empty = |chunk: &&ColumnChunkMetaData| {
        chunk.statistics().and_then(|statistics| statistics.null_count_opt()) == Some(chunk.num_values() as u64)
    };
    chunks.is_empty() || !chunks.iter().all(empty)
}

/// The leaves of a column.
fn chunks(file: &SpansFile, group: usize, column: usize) -> Vec<&ColumnChunkMetaData> {
    let metadata = file.metadata.metadata();
    file.leaves.get(column).cloned().unwrap_or_default().map(|leaf| metadata.row_group(group).column(leaf)).collect()
}

/// A column of a row group, as a block has it (parents are rows); None when no row has a value. `numbers` are the shapes of the
/// rows, for those that `is_of_shapes`.
pub fn read(
    file: &SpansFile,
    group: usize,
    column: usize,
    numbers: Option<&ArrayRef>,
) -> Result<Option<ArrayRef>, Why> {
    match (file.columns.places.get(column), &file.columns.shapes) {
        (Some(Place::Shapes(at)), Some((_, shapes))) if shapes.has_values(*at) => {
            let numbers = numbers.ok_or_else(|| Why::Columns("its spans have no shapes".to_owned()))?;
            let column = shapes.column(numbers_of(numbers)?, *at)?;
            Ok((column.null_count() < column.len()).then_some(column))
        }
        (Some(Place::Spans(at)), _) => read_itself(file, group, *at),
        _ => Ok(None),
    }
}

/// Whether rows have a column by their shapes.
pub fn is_of_shapes(file: &SpansFile, column: usize) -> bool {
    matches!(file.columns.places.get(column), Some(Place::Shapes(_)))
}

/// The shapes of a row group's rows; None when the block has none.
pub fn read_shapes(file: &SpansFile, group: usize) -> Result<Option<ArrayRef>, Why> {
    let Some((column, shapes)) = &file.columns.shapes else { return Ok(None) };
    let array = read_itself(file, group, *column)?;
    if let Some(array) = &array {
        shapes.check(numbers_of(array)?)?;
    }
    Ok(array)
}

/// A column of the file itself.
fn read_itself(file: &SpansFile, group: usize, column: usize) -> Result<Option<ArrayRef>, Why> {
    if !has_values_itself(file, group, column) {
        return Ok(None);
    }
    let chunks = chunks(file, group, column);
    let mask = ProjectionMask::roots(file.metadata.metadata().file_metadata().schema_descr(), [column]);
    let dictionaries = chunks.iter().all(|chunk| chunk.dictionary_page_offset().is_some());
    let fields = if dictionaries { file.metadata.schema().fields() } else { &without_dictionaries(file, column) };
    let reader = reader(file, group, mask, fields, rows(file, group).max(1))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(ParquetError::from)?;
    match &batches[..] {
        [batch] if batch.num_columns() == 1 && batch.num_rows() == rows(file, group) => {
            Ok(Some(batch.column(0).clone()))
        }
        _ => Err(Why::Columns("it has fewer rows than it says".to_owned())),
    }
}

/// Strings that are no dictionary in the file become none in memory: that would cost a hash a row.
fn without_dictionaries(file: &SpansFile, column: usize) -> Fields {
    let schema = file.metadata.schema();
    let plain = |(at, field): (usize, &Arc<Field>)| match field.data_type() {
        DataType::Dictionary(_, _) if at == column => {
            Arc::new(Field::new(field.name(), DataType::Utf8View, field.is_nullable()))
        }
        _ => field.clone(),
    };
    schema.fields().iter().enumerate().map(plain).collect()
}
