//! Goes through all spans of a block in order.

use arrow_array::RecordBatch;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReader},
    errors::ParquetError,
};

use super::{
    Why,
    chunks::reader,
    file::SpansFile,
    memory::{ids, memory_form},
};
use crate::schema::core;

/// All spans of a block, in memory form.
pub struct Scan {
    rows: Groups,
    traces: Traces,
}

impl Scan {
    /// Begins at the first.
    pub fn start(file: &std::sync::Arc<SpansFile>, rows: usize) -> Result<Self, Why> {
        let all = ProjectionMask::all();
        let schema = file.metadata.parquet_schema();
        let only_ids = ProjectionMask::leaves(schema, [core::TRACE_ID, core::SPAN_ID]);
        Ok(Self {
            rows: Groups::new(file, all, rows),
            traces: Traces {
                groups: Groups::new(file, only_ids, ID_ROWS),
                batch: None,
                row: 0,
                trace: None,
                spans: Vec::new(),
            },
        })
    }
}

/// Ids that are read ahead of the rows, to find parents.
const ID_ROWS: usize = 8192;

impl Iterator for Scan {
    type Item = Result<RecordBatch, Why>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { rows, traces } = self;
        let batch = match rows.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        Some(rows.file.columns.complete(&batch).and_then(|batch| with_parents(&batch, traces)))
    }
}

fn with_parents(batch: &RecordBatch, traces: &mut Traces) -> Result<RecordBatch, Why> {
    let of_rows: &[[u8; 16]] = ids(batch, core::TRACE_ID)?;
    let mut failed = None;
    let batch = memory_form(batch, |row, position| match traces.spans_of(&of_rows[row]) {
        Ok(spans) => spans.get(position).copied(),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    failed.map_or(batch, Err)
}

/// The row groups of a file one after the other.
struct Groups {
    file: std::sync::Arc<SpansFile>,
    columns: ProjectionMask,
    rows: usize,
    next: usize,
    reader: Option<ParquetRecordBatchReader>,
}

impl Groups {
    fn new(file: &std::sync::Arc<SpansFile>, columns: ProjectionMask, rows: usize) -> Self {
        Self { file: file.clone(), columns, rows: rows.max(1), next: 0, reader: None }
    }

    fn open(&mut self) -> Result<ParquetRecordBatchReader, Why> {
        let fields = self.file.metadata.schema().fields();
        let reader = reader(&self.file, self.next, self.columns.clone(), fields, self.rows)?;
        self.next += 1;
        Ok(reader)
    }
}

impl Iterator for Groups {
    type Item = Result<RecordBatch, Why>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                return Some(batch.map_err(|error| ParquetError::from(error).into()));
            }
            if self.next == self.file.metadata.metadata().num_row_groups() {
                return None;
            }
            match self.open() {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => {
                    self.next = self.file.metadata.metadata().num_row_groups();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The spans of one trace after the other.
struct Traces {
    groups: Groups,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    row: usize,
    trace: Option<[u8; 16]>,
    spans: Vec<[u8; 8]>,
}

impl Traces {
    /// The spans of a trace, which is the same as before or a later one.
    fn spans_of(&mut self, trace: &[u8; 16]) -> Result<&[[u8; 8]], Why> {
        if self.trace.as_ref() != Some(trace) {
            self.trace = Some(*trace);
            self.spans.clear();
            self.read(trace)?;
        }
        Ok(&self.spans)
    }

    fn read(&mut self, trace: &[u8; 16]) -> Result<(), Why> {
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
            self.batch = self.groups.next().transpose()?;
            if self.batch.is_none() {
                return Ok(());
            }
        }
    }
}
