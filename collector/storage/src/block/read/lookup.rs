//! Finds a trace: by the bounds of pages, then in the few pages that can hold it.

use std::{collections::HashMap, ops::Range};

use arrow_array::RecordBatch;
use bytes::Bytes;
use clew_common::ids::TraceId;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector},
    },
    errors::ParquetError,
    file::page_index::column_index::ColumnIndexMetaData,
};

use super::{
    Why,
    file::SpansFile,
    memory::{ids, memory_form},
};
use crate::{
    columns::{Resource, write_otlp},
    schema::core,
};

/// The spans of a trace as OTLP; None when there are none.
pub fn trace(file: &SpansFile, trace: &TraceId, resources: &HashMap<u64, Resource>) -> Result<Option<Bytes>, Why> {
    let mut parts = Vec::new();
    for group in 0..file.metadata.metadata().num_row_groups() {
        let near = candidates(file, group, trace.as_bytes())?;
        if near.is_empty() {
            continue;
        }
        let rows = rows_of(file, group, near, trace.as_bytes())?;
        if !rows.is_empty() {
            parts.extend(read(file, group, rows, ProjectionMask::all())?);
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
fn rows_of(file: &SpansFile, group: usize, near: Range<usize>, trace: &[u8; 16]) -> Result<Range<usize>, Why> {
    let only_traces = ProjectionMask::leaves(file.metadata.parquet_schema(), [core::TRACE_ID]);
    let (mut row, mut found) = (near.start, None::<Range<usize>>);
    for batch in read(file, group, near, only_traces)? {
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

fn read(file: &SpansFile, group: usize, rows: Range<usize>, columns: ProjectionMask) -> Result<Vec<RecordBatch>, Why> {
    let selection = RowSelection::from(vec![RowSelector::skip(rows.start), RowSelector::select(rows.len())]);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.pages(), file.metadata.clone())
        .with_row_groups(vec![group])
        .with_projection(columns)
        .with_row_selection(selection)
        .with_batch_size(rows.len().clamp(1, 8192))
        .build()?;
    reader.map(|batch| batch.map_err(|error| ParquetError::from(error).into())).collect()
}
