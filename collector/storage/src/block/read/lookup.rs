//! Finds a trace: by the bounds of pages, then in the few pages that can hold it.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, LazyLock},
};

use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::Schema;
use bytes::Bytes;
use clew_common::ids::TraceId;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowGroups},
        parquet_to_arrow_field_levels,
    },
    errors::ParquetError,
};
use uuid::Uuid;

use super::{
    Cache, GoOn, Why,
    file::SpansFile,
    flat,
    memory::{ids, memory_form},
    pages::{Group, Window},
};
use crate::{
    block::shapes::{Place, numbers_of},
    columns::{Resource, write_otlp},
    schema::{CORE, core},
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
    for (number, near) in file.directory.near(trace.as_bytes()) {
        let mut group = Group::new(file, number, block, cache);
        let mut rows = group.rows_of(trace.as_bytes(), near)?;
        while !rows.is_empty() {
            let end = rows.end.min(rows.start + MAX_BATCH_ROWS);
            let part = rows.start..end;
            let mut columns = columns(file, &group.window(part.clone(), Some(core::TRACE_ID), go_on)?)?;
            let ids = trace.as_bytes().repeat(part.len());
            columns.insert(core::TRACE_ID, Arc::new(FixedSizeBinaryArray::new(16, ids.into(), None)));
            parts.push(complete(file, part.len(), columns)?);
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
    // It may be kept: no more than it has.
    Ok((!out.is_empty()).then(|| out.into_boxed_slice().into()))
}

/// Some rows of a row group, complete.
pub fn rows(
    file: &SpansFile,
    (block, cache): (Uuid, &Cache),
    number: usize,
    rows: Range<usize>,
) -> Result<RecordBatch, Why> {
    let window = Group::new(file, number, block, cache).window(rows.clone(), None, &|_| true)?;
    complete(file, rows.len(), columns(file, &window)?)
}

/// The columns of some rows, by their places in the file.
fn columns(file: &SpansFile, window: &Window) -> Result<BTreeMap<usize, ArrayRef>, Why> {
    let (schema, fields) = (file.metadata.parquet_schema(), file.metadata.schema().fields());
    let mut columns = BTreeMap::new();
    let (flat, lists): (Vec<_>, Vec<_>) =
        window.columns.iter().partition(|(leaf, _)| schema.column(**leaf).max_rep_level() == 0);
    for (leaf, pieces) in flat {
        let column = schema.get_column_root_idx(*leaf);
        let field = fields.get(column).ok_or_else(|| Why::Columns("it has more columns than it says".to_owned()))?;
        columns.insert(column, flat::array(field, &schema.column(*leaf), pieces)?);
    }
    if lists.is_empty() {
        return Ok(columns);
    }
    let mask = ProjectionMask::leaves(schema, lists.iter().map(|(leaf, _)| **leaf));
    let levels = parquet_to_arrow_field_levels(schema, mask, Some(fields))?;
    let mut reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, window, window.num_rows(), None)?;
    let batch = reader.next().ok_or_else(|| Why::Columns("it has fewer rows than it says".to_owned()))?;
    let batch = batch.map_err(ParquetError::from)?;
    let mut places: Vec<usize> = lists.iter().map(|(leaf, _)| schema.get_column_root_idx(**leaf)).collect();
    places.dedup();
    if batch.num_rows() != window.num_rows() || batch.num_columns() != places.len() {
        return Err(Why::Columns("it has fewer rows than it says".to_owned()));
    }
    columns.extend(places.into_iter().zip(batch.columns().iter().cloned()));
    Ok(columns)
}

/// A trace's rows are read so many at a time.
const MAX_BATCH_ROWS: usize = 8192;

/// A core column without values. Those of lists take long to make, so that all of few rows are parts of one.
fn nulls(at: usize, rows: usize) -> ArrayRef {
    static NULLS: LazyLock<Vec<ArrayRef>> =
        LazyLock::new(|| CORE.iter().map(|field| new_null_array(field.data_type(), MAX_BATCH_ROWS)).collect());
    match rows <= MAX_BATCH_ROWS {
        true => NULLS[at].slice(0, rows),
        false => new_null_array(CORE[at].data_type(), rows),
    }
}

/// Puts columns in that the rows have by their shapes, and core columns that were not read because they have no values.
fn complete(file: &SpansFile, rows: usize, mut columns: BTreeMap<usize, ArrayRef>) -> Result<RecordBatch, Why> {
    let numbers = match &file.columns.shapes {
        Some((column, _)) => {
            let numbers = columns.get(column).ok_or_else(|| Why::Columns("its spans have no shapes".to_owned()))?;
            numbers_of(numbers)?.clone()
        }
        None => UInt32Array::new_null(0),
    };
    let mut different = numbers.values().to_vec();
    different.sort_unstable();
    different.dedup();
    let (mut fields, mut complete) = (Vec::new(), Vec::<ArrayRef>::new());
    for (at, (field, place)) in file.columns.schema.fields().iter().zip(&file.columns.places).enumerate() {
        let column = match (place, &file.columns.shapes) {
            (Place::Shapes(at), Some((_, shapes))) if shapes.any_has(&different, *at) => {
                Some(shapes.column(&numbers, *at)?)
            }
            (Place::Spans(at), _) => columns.remove(at),
            _ => None,
        };
        let column = column.filter(|column| at < core::COUNT || column.null_count() < column.len());
        if column.is_some() || at < core::COUNT {
            fields.push(field.clone());
            complete.push(column.unwrap_or_else(|| nulls(at, rows)));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), complete).map_err(|error| Why::Columns(error.to_string()))
}
