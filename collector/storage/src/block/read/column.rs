//! Reads single columns of a block, a row group at a time, for those who go through many spans and look at little of each.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, Schema};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    errors::ParquetError,
};

use super::{Why, file::SpansFile};

/// Rows of a group.
pub fn rows(file: &SpansFile, group: usize) -> usize {
    usize::try_from(file.metadata.metadata().row_group(group).num_rows()).unwrap_or(0)
}

/// A column of a row group, as a block has it (parents are rows); None when no row has a value.
pub fn read(file: &SpansFile, group: usize, column: usize) -> Result<Option<ArrayRef>, Why> {
    let metadata = file.metadata.metadata();
    let roots = metadata.file_metadata().schema_descr();
    let leaves: Vec<usize> =
        (0..roots.num_columns()).filter(|leaf| roots.get_column_root_idx(*leaf) == column).collect();
    let chunks: Vec<_> = leaves.iter().map(|leaf| metadata.row_group(group).column(*leaf)).collect();
    let empty = |chunk: &&parquet::file::metadata::ColumnChunkMetaData| {
        chunk.statistics().and_then(|statistics| statistics.null_count_opt()) == Some(chunk.num_values() as u64)
    };
    if !chunks.is_empty() && chunks.iter().all(empty) {
        return Ok(None);
    }
    let mask = ProjectionMask::roots(roots, [column]);
    let dictionaries = chunks.iter().all(|chunk| chunk.dictionary_page_offset().is_some());
    let read = if dictionaries { file.metadata.clone() } else { without_dictionaries(file, column)? };
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.pages(), read)
        .with_row_groups(vec![group])
        .with_projection(mask)
        .with_batch_size(rows(file, group).max(1))
        .build()?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(ParquetError::from)?;
    match &batches[..] {
        [batch] if batch.num_columns() == 1 && batch.num_rows() == rows(file, group) => {
            Ok(Some(batch.column(0).clone()))
        }
        _ => Err(Why::Columns("it has fewer rows than it says".to_owned())),
    }
}

/// Strings that are no dictionary in the file become none in memory: that would cost a hash a row.
fn without_dictionaries(file: &SpansFile, column: usize) -> Result<ArrowReaderMetadata, Why> {
    let schema = file.metadata.schema();
    let plain = |(at, field): (usize, &Arc<Field>)| match field.data_type() {
        DataType::Dictionary(_, _) if at == column => {
            Arc::new(Field::new(field.name(), DataType::Utf8View, field.is_nullable()))
        }
        _ => field.clone(),
    };
    let fields: Vec<_> = schema.fields().iter().enumerate().map(plain).collect();
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    Ok(ArrowReaderMetadata::try_new(file.metadata.metadata().clone(), options)?)
}
