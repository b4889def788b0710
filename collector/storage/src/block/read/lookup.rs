//! Finds a trace: by the bounds of pages, then in the few pages that can hold it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::Schema;
use bytes::Bytes;
use clew_common::ids::TraceId;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReader, parquet_to_arrow_field_levels},
    errors::ParquetError,
    file::page_index::column_index::ColumnIndexMetaData,
};
use uuid::Uuid;

use super::{
    Cache, GoOn, Why,
    file::SpansFile,
    memory::{ids, memory_form},
    pages::Group,
};
use crate::{
    block::shapes::{Place, SHAPE_ID, numbers_of},
    columns::{Resource, write_otlp},
    schema::core,
};

/// The spans of a trace as OTLP; None when there are none.
pub fn trace(
    file: &SpansFile,
    (block, cache): (Uuid, &Cache),
    trace: &TraceId,
    resources: &HashMap<u64, Resource>,
    go_on: GoOn<'_>,
) -> Result<Option<Bytes>, Why> {
    let mut parts = Vec::new();
    for number in 0..file.metadata.metadata().num_row_groups() {
        let near = candidates(file, number, trace.as_bytes())?;
        if near.is_empty() {
            continue;
        }
        let mut group = Group::new(file, number, block, cache);
        let mut rows = group.rows_of(trace.as_bytes(), near)?;
        while !rows.is_empty() {
            let end = rows.end.min(rows.start + MAX_BATCH_ROWS);
            parts.push(complete(file, &read(file, &mut group, rows.start..end, go_on)?)?);
            rows.start = end;
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
        let (rows, before): (Vec<usize>, _) = ((0..part.num_rows()).collect(), out.len());
        write_otlp(&part, &rows, |id| resources.get(&id).cloned(), &mut out)?;
        if !go_on(out.len() - before) {
            return Err(Why::Stopped);
        }
    }
    Ok((!out.is_empty()).then(|| out.into()))
}

/// Some rows of a row group, complete.
pub fn rows(
    file: &SpansFile,
    (block, cache): (Uuid, &Cache),
    number: usize,
    rows: Range<usize>,
) -> Result<RecordBatch, Why> {
    complete(file, &read(file, &mut Group::new(file, number, block, cache), rows, &|_| true)?)
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
    let begins = |page: usize| bounds.min_value(page).is_none_or(|min| min <= &trace[..]);
    let ends = |page: usize| bounds.max_value(page).is_none_or(|max| max >= &trace[..]);
    // Pages are in order: of most row groups no more has to be looked at.
    if pages.is_empty() || !begins(0) || !ends(pages.len() - 1) {
        return Ok(0..0);
    }
    let holds = |page: &usize| begins(*page) && ends(*page);
    let mut holding = (0..pages.len()).filter(holds);
    let Some(first) = holding.next() else { return Ok(0..0) };
    let last = holding.next_back().unwrap_or(first);
    let row = |page: usize| pages.get(page).map_or(rows, |page| usize::try_from(page.first_row_index).unwrap_or(rows));
    Ok(row(first)..row(last + 1))
}

/// Some rows, with the columns that have values there.
fn read(file: &SpansFile, group: &mut Group<'_>, rows: Range<usize>, go_on: GoOn<'_>) -> Result<RecordBatch, Why> {
    let window = group.window(rows.clone(), go_on)?;
    let mask = ProjectionMask::leaves(file.metadata.parquet_schema(), window.leaves());
    let fields = Some(file.metadata.schema().fields());
    let levels = parquet_to_arrow_field_levels(file.metadata.parquet_schema(), mask, fields)?;
    let mut reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, &window, rows.len(), None)?;
    let batch = reader.next().ok_or_else(|| Why::Columns("it has fewer rows than it says".to_owned()))?;
    let batch = batch.map_err(ParquetError::from)?;
    if batch.num_rows() != rows.len() {
        return Err(Why::Columns("it has fewer rows than it says".to_owned()));
    }
    Ok(batch)
}

/// A trace's rows are read so many at a time.
const MAX_BATCH_ROWS: usize = 8192;

/// Puts columns in that the rows have by their shapes, and core columns that were not read because they have no values.
fn complete(file: &SpansFile, batch: &RecordBatch) -> Result<RecordBatch, Why> {
    let shapes = match &file.columns.shapes {
        Some((_, shapes)) => {
            let numbers =
                batch.column_by_name(SHAPE_ID).ok_or_else(|| Why::Columns(format!("it has no {SHAPE_ID}")))?;
            Some((numbers_of(numbers)?, shapes))
        }
        None => None,
    };
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (at, (field, place)) in file.columns.schema.fields().iter().zip(&file.columns.places).enumerate() {
        let column = match (place, &shapes) {
            (Place::Shapes(at), Some((numbers, shapes))) => Some(shapes.column(numbers, *at)?),
            _ => batch.column_by_name(field.name()).cloned(),
        };
        let column = column.filter(|column| at < core::COUNT || column.null_count() < column.len());
        if column.is_some() || at < core::COUNT {
            fields.push(field.clone());
            columns.push(column.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Why::Columns(error.to_string()))
}
