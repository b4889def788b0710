//! Goes through all spans of a block in order, with all columns or with those that say where a span belongs.

use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReader},
    errors::ParquetError,
};

use super::{
    Why,
    chunks::reader_from,
    file::{Groups, SpansFile},
    memory::{ids, memory_form},
};
use crate::schema::core;

/// All spans of a block, in memory form.
pub struct Scan {
    file: Arc<SpansFile>,
    rows: Rows,
    traces: Traces,
    whole: bool,
}

impl Scan {
    /// Begins at the first, with all columns.
    pub fn whole(file: &Arc<SpansFile>, rows: usize) -> Self {
        Self::start(file, Arc::new(Groups::new(file.clone())), rows, ProjectionMask::all(), true)
    }

    /// Begins at the first, with the first [`HEADS`] core columns, which no shapes have. `groups` are read by others too.
    pub fn heads(file: &Arc<SpansFile>, groups: Arc<Groups>, rows: usize) -> Self {
        Self::start(file, groups, rows, ProjectionMask::leaves(file.metadata.parquet_schema(), 0..HEADS), false)
    }

    fn start(file: &Arc<SpansFile>, groups: Arc<Groups>, rows: usize, columns: ProjectionMask, whole: bool) -> Self {
        let only_ids = ProjectionMask::leaves(file.metadata.parquet_schema(), [core::TRACE_ID, core::SPAN_ID]);
        Self {
            file: file.clone(),
            rows: Rows::new(groups.clone(), columns, rows),
            traces: Traces {
                rows: Rows::new(groups, only_ids, ID_ROWS),
                batch: None,
                row: 0,
                trace: None,
                spans: Vec::new(),
            },
            whole,
        }
    }
}

/// Trace, span, parent, start.
pub const HEADS: usize = core::START_TIME + 1;

/// Ids that are read ahead of the rows, to find parents.
const ID_ROWS: usize = 8192;

impl Iterator for Scan {
    type Item = Result<RecordBatch, Why>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { file, rows, traces, whole } = self;
        if *whole {
            rows.groups.forget_before(rows.group().min(traces.rows.group()));
        }
        let batch = match rows.next(file)? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let complete = if *whole { file.columns.complete(&batch) } else { Ok(batch) };
        Some(complete.and_then(|batch| with_parents(&batch, traces, file)))
    }
}

fn with_parents(batch: &RecordBatch, traces: &mut Traces, file: &SpansFile) -> Result<RecordBatch, Why> {
    let of_rows: &[[u8; 16]] = ids(batch, core::TRACE_ID)?;
    let mut failed = None;
    let batch = memory_form(batch, |row, position| match traces.spans_of(&of_rows[row], file) {
        Ok(spans) => spans.get(position).copied(),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    failed.map_or(batch, Err)
}

/// Some columns of the row groups of a file, one row group after the other.
struct Rows {
    groups: Arc<Groups>,
    columns: ProjectionMask,
    rows: usize,
    next: usize,
    reader: Option<ParquetRecordBatchReader>,
}

impl Rows {
    fn new(groups: Arc<Groups>, columns: ProjectionMask, rows: usize) -> Self {
        Self { groups, columns, rows: rows.max(1), next: 0, reader: None }
    }

    /// The row group that they are in.
    fn group(&self) -> usize {
        self.next.saturating_sub(1)
    }

    fn open(&mut self, file: &SpansFile) -> Result<ParquetRecordBatchReader, Why> {
        let (fields, pages) = (file.metadata.schema().fields(), self.groups.pages(self.next)?);
        let reader = reader_from(file, (self.next, 0), pages, self.columns.clone(), fields, self.rows)?;
        self.next += 1;
        Ok(reader)
    }

    fn next(&mut self, file: &SpansFile) -> Option<Result<RecordBatch, Why>> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                return Some(batch.map_err(|error| ParquetError::from(error).into()));
            }
            if self.next == file.metadata.metadata().num_row_groups() {
                return None;
            }
            match self.open(file) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => {
                    self.next = file.metadata.metadata().num_row_groups();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The spans of one trace after the other.
struct Traces {
    rows: Rows,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    row: usize,
    trace: Option<[u8; 16]>,
    spans: Vec<[u8; 8]>,
}

impl Traces {
    /// The spans of a trace, which is the same as before or a later one.
    fn spans_of(&mut self, trace: &[u8; 16], file: &SpansFile) -> Result<&[[u8; 8]], Why> {
        if self.trace.as_ref() != Some(trace) {
            self.trace = Some(*trace);
            self.spans.clear();
            self.read(trace, file)?;
        }
        Ok(&self.spans)
    }

    fn read(&mut self, trace: &[u8; 16], file: &SpansFile) -> Result<(), Why> {
        loop {
            if let Some(batch) = &self.batch {
                let (traces, spans) = (ids::<16>(batch, 0)?, ids::<8>(batch, 1)?);
                let first = self.row + traces[self.row..].partition_point(|other| other < trace);
                let end = first + traces[first..].partition_point(|other| other <= trace);
                self.spans.extend_from_slice(&spans[first..end]);
                self.row = end;
                if end < traces.len() {
                    return Ok(());
                }
            }
            self.row = 0;
            self.batch = self.rows.next(file).transpose()?;
            if self.batch.is_none() {
                return Ok(());
            }
        }
    }
}
