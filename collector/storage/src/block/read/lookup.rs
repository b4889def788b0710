//! Finds a trace: by the bounds of pages, then in the few pages that can hold it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::Schema;
use bytes::Bytes;
use clew_common::ids::TraceId;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector},
        parquet_to_arrow_field_levels,
    },
    errors::ParquetError,
    file::page_index::column_index::ColumnIndexMetaData,
};
use uuid::Uuid;

use super::{
    Cache, Why,
    file::SpansFile,
    memory::{ids, memory_form},
    pages::Group,
};
use crate::{
    columns::{Resource, write_otlp},
    schema::{ATTRIBUTE_PREFIX, CORE, core},
};

/// The spans of a trace as OTLP; None when there are none.
pub fn trace(
    file: &SpansFile,
    (block, cache): (Uuid, &Arc<Cache>),
    trace: &TraceId,
    resources: &HashMap<u64, Resource>,
) -> Result<Option<Bytes>, Why> {
    let mut parts = Vec::new();
    for number in 0..file.metadata.metadata().num_row_groups() {
        let near = candidates(file, number, trace.as_bytes())?;
        if near.is_empty() {
            continue;
        }
        let mut group = Group::new(file, number, block, cache);
        let rows = rows_of(file, &group, near, trace.as_bytes())?;
        if !rows.is_empty() {
            let leaves = columns_with_values(file, &mut group, &rows)?;
            for batch in read(file, &group, rows, &leaves)? {
                parts.push(with_core(&batch)?);
            }
        }
    }
    // A parent may be in another batch, or row group.
    let mut spans: Vec<[u8; 8]> = Vec::new();
    for part in &parts {
        spans.extend_from_slice(ids(part, core::SPAN_ID)?);
    }
    let mut out = Vec::new();
    for part in &parts {
        let part = memory_form(part, |_, position| spans.get(position).copied())?;
        let rows: Vec<usize> = (0..part.num_rows()).collect();
        write_otlp(&part, &rows, |id| resources.get(&id).cloned(), &mut out)?;
    }
    Ok((!out.is_empty()).then(|| out.into()))
}

/// The rows of a group's pages whose bounds have the trace between them.
fn candidates(file: &SpansFile, group: usize, trace: &[u8; 16]) -> Result<Range<usize>, Why> {
    let metadata = file.metadata.metadata();
    let missing = || Why::Columns("it has no page index of trace ids".to_owned());
    let index = metadata.column_index().and_then(|index| index.get(group)?.get(core::TRACE_ID)).ok_or_else(missing)?;
    let pages = metadata.offset_index().and_then(|index| index.get(group)?.get(core::TRACE_ID)).ok_or_else(missing)?;
    let ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(bounds) = index else { return Err(missing()) };
    let pages = pages.page_locations();
    let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
    let holds = |page: &usize| {
        let below = bounds.min_value(*page).is_none_or(|min| min <= &trace[..]);
        below && bounds.max_value(*page).is_none_or(|max| max >= &trace[..])
    };
    let mut holding = (0..pages.len()).filter(holds);
    let Some(first) = holding.next() else { return Ok(0..0) };
    let last = holding.next_back().unwrap_or(first);
    let row = |page: usize| pages.get(page).map_or(rows, |page| usize::try_from(page.first_row_index).unwrap_or(rows));
    Ok(row(first)..row(last + 1))
}

/// The rows of a trace among those near it.
fn rows_of(file: &SpansFile, group: &Group, near: Range<usize>, trace: &[u8; 16]) -> Result<Range<usize>, Why> {
    let (mut row, mut found) = (near.start, None::<Range<usize>>);
    for batch in read(file, group, near, &[core::TRACE_ID])? {
        let traces: &[[u8; 16]] = ids(&batch, 0)?;
        let (first, end) =
            (traces.partition_point(|other| other < trace), traces.partition_point(|other| other <= trace));
        if first < end {
            found = Some(found.map_or(row + first, |found| found.start)..row + end);
        }
        row += traces.len();
    }
    Ok(found.unwrap_or(0..0))
}

/// The columns that have values in some rows, and those that always have.
fn columns_with_values(file: &SpansFile, group: &mut Group, rows: &Range<usize>) -> Result<Vec<usize>, Why> {
    let schema = file.metadata.parquet_schema();
    let mut leaves = Vec::new();
    let mut root = (usize::MAX, false);
    for leaf in 0..schema.num_columns() {
        // The first leaf of a list tells for all of them.
        if schema.get_column_root_idx(leaf) != root.0 {
            root = (schema.get_column_root_idx(leaf), group.has_values(leaf, rows)?);
        }
        if root.1 {
            leaves.push(leaf);
        }
    }
    Ok(leaves)
}

fn read(file: &SpansFile, group: &Group, rows: Range<usize>, leaves: &[usize]) -> Result<Vec<RecordBatch>, Why> {
    let schema = file.metadata.parquet_schema();
    let mask = ProjectionMask::leaves(schema, leaves.iter().copied());
    let levels = parquet_to_arrow_field_levels(schema, mask, Some(file.metadata.schema().fields()))?;
    let selection = RowSelection::from(vec![RowSelector::skip(rows.start), RowSelector::select(rows.len())]);
    let reader = ParquetRecordBatchReader::try_new_with_row_groups(
        &levels,
        group,
        rows.len().clamp(1, MAX_BATCH_ROWS),
        Some(selection),
    )?;
    reader.map(|batch| batch.map_err(|error| ParquetError::from(error).into())).collect()
}

/// A trace's rows are read so many at a time.
const MAX_BATCH_ROWS: usize = 8192;

/// Puts core columns back that were not read because they have no values.
fn with_core(batch: &RecordBatch) -> Result<RecordBatch, Why> {
    let schema = batch.schema();
    let mut fields = CORE.clone();
    let mut columns: Vec<ArrayRef> = CORE
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        })
        .collect();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.name().starts_with(ATTRIBUTE_PREFIX) {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Why::Columns(error.to_string()))
}
