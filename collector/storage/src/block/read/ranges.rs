//! Reads the columns of a block one by one, some rows after the others: for those who go through all rows, and have one column of them
//! in memory at a time.

use std::{ops::Range, sync::Arc};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReader},
    errors::ParquetError,
};

use super::{
    Block, BlockError, SPANS, Why, at,
    chunks::reader_from,
    column::{has_values_itself, rows},
    file::{Groups, SpansFile},
    scan::Scan,
};
use crate::{
    block::shapes::{Place, numbers_of},
    merge::null,
};

/// The columns of a block.
pub struct Ranges<'a> {
    block: &'a Block,
    file: Arc<SpansFile>,
    /// Where each row group begins, and where the last one ends.
    starts: Vec<usize>,
    /// About what each [`GRANULE`] of rows takes in memory.
    weights: Vec<u64>,
    /// Rows of a piece.
    piece: usize,
    groups: Arc<Groups>,
    /// By the places of columns in the file.
    cursors: Vec<Option<Cursor>>,
    range: Range<usize>,
    /// The shapes of the rows of the range, once they have been asked for.
    numbers: Option<Vec<ArrayRef>>,
}

/// How far a column has been read.
struct Cursor {
    next: usize,
    reader: ParquetRecordBatchReader,
    /// Read and not given yet.
    left: Option<ArrayRef>,
}

/// Rows that are weighed together.
const GRANULE: usize = 1024;
/// A piece of all columns takes no more than about this, unless it is of few rows.
const PIECE_BYTES: u64 = 4 << 20;
const FEW: usize = 8;

impl<'a> Ranges<'a> {
    /// Those of a block, at its first row, in pieces of no more than `piece` rows. Blocking.
    ///
    /// # Errors
    /// When the block cannot be opened.
    pub fn open(block: &'a Block, piece: usize) -> Result<Self, BlockError> {
        let file = block.spans()?;
        let groups = 0..file.metadata.metadata().num_row_groups();
        let mut starts = vec![0];
        groups.for_each(|group| starts.push(starts[group] + rows(&file, group)));
        let weights = weights(&file, &starts);
        let heaviest = weights.iter().copied().max().unwrap_or(0).max(1);
        let light = usize::try_from(PIECE_BYTES * GRANULE as u64 / heaviest).unwrap_or(usize::MAX);
        let columns = file.metadata.schema().fields().len();
        Ok(Self {
            block,
            groups: Arc::new(Groups::new(file.clone())),
            file,
            starts,
            weights,
            piece: piece.min(light).max(FEW),
            cursors: (0..columns).map(|_| None).collect(),
            range: 0..0,
            numbers: None,
        })
    }

    /// All columns.
    pub fn schema(&self) -> SchemaRef {
        self.file.columns.schema.clone()
    }

    /// About what the next so many rows take in memory, in bytes.
    pub fn next_bytes(&self, rows: usize) -> u64 {
        let (start, end) = (self.range.end, self.range.end + rows);
        let granules = start / GRANULE..end.div_ceil(GRANULE).min(self.weights.len());
        self.weights.get(granules).into_iter().flatten().sum()
    }

    /// What says where each span belongs, of all rows: the first core columns, up to the start, in memory form.
    pub fn heads(&self) -> impl Iterator<Item = Result<RecordBatch, BlockError>> + Send + use<> {
        let (path, cache) = (self.block.path.clone(), self.block.cache.clone());
        Scan::heads(&self.file, self.groups.clone(), self.piece)
            .map(move |batch| cache.noted(batch.map_err(|why| at(&path, SPANS, why))))
    }

    /// Goes on to the next so many rows.
    pub fn advance(&mut self, rows: usize) {
        self.range = self.range.end..self.range.end + rows;
        self.numbers = None;
        self.groups.forget_before(self.starts.partition_point(|start| *start <= self.range.start) - 1);
    }

    /// Appends a column of these rows, in pieces, one of type Null where no row of a row group has a value. Parents are in the form
    /// that blocks have. A column that is read again takes longer. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read(&mut self, column: usize, to: &mut Vec<ArrayRef>) -> Result<(), BlockError> {
        let read = self.try_read(column, to);
        self.block.cache.noted(read.map_err(|why| at(&self.block.path, SPANS, why)))
    }

    fn try_read(&mut self, column: usize, to: &mut Vec<ArrayRef>) -> Result<(), Why> {
        let file = self.file.clone();
        match (file.columns.places.get(column), &file.columns.shapes) {
            (Some(Place::Spans(column)), _) => self.read_itself(*column, to),
            (Some(Place::Shapes(column)), Some((numbers, shapes))) if shapes.has_values(*column) => {
                let pieces = match self.numbers.take() {
                    Some(pieces) => pieces,
                    None => {
                        let mut pieces = Vec::new();
                        self.read_itself(*numbers, &mut pieces)?;
                        pieces
                    }
                };
                for piece in &pieces {
                    to.push(shapes.column(numbers_of(piece)?, *column)?);
                }
                self.numbers = Some(pieces);
                Ok(())
            }
            _ => {
                to.push(null(self.range.len()));
                Ok(())
            }
        }
    }

    /// A column of the file itself.
    fn read_itself(&mut self, column: usize, to: &mut Vec<ArrayRef>) -> Result<(), Why> {
        let Range { start: mut row, end } = self.range;
        while row < end {
            let group = self.starts.partition_point(|start| *start <= row) - 1;
            let group_end = *self.starts.get(group + 1).ok_or_else(|| Why::Columns("it has fewer rows".to_owned()))?;
            let here = group_end.min(end);
            if !has_values_itself(&self.file, group, column) {
                to.push(null(here - row));
                row = here;
                continue;
            }
            let mut cursor = match self.cursors[column].take() {
                Some(cursor) if cursor.next == row => cursor,
                _ => Cursor { next: row, reader: self.reader(group, row, column)?, left: None },
            };
            while cursor.next < here {
                let piece = cursor.piece()?;
                let rows = piece.len().min(here - cursor.next);
                to.push(piece.slice(0, rows));
                cursor.left = (rows < piece.len()).then(|| piece.slice(rows, piece.len() - rows));
                cursor.next += rows;
            }
            row = here;
            self.cursors[column] = (here < group_end).then_some(cursor);
        }
        Ok(())
    }

    fn reader(&mut self, group: usize, row: usize, column: usize) -> Result<ParquetRecordBatchReader, Why> {
        let pages = self.groups.pages(group)?;
        let mask = ProjectionMask::roots(self.file.metadata.parquet_schema(), [column]);
        let fields = self.file.metadata.schema().fields();
        reader_from(&self.file, (group, row - self.starts[group]), pages, mask, fields, self.piece)
    }
}

impl Cursor {
    fn piece(&mut self) -> Result<ArrayRef, Why> {
        let wrong = || Why::Columns("a column has fewer rows than it says".to_owned());
        match self.left.take() {
            Some(left) => Ok(left),
            None => {
                let batch = self.reader.next().ok_or_else(wrong)?.map_err(ParquetError::from)?;
                batch.columns().first().filter(|piece| !piece.is_empty()).cloned().ok_or_else(wrong)
            }
        }
    }
}

/// About what each granule of rows takes in memory: of each page its share of what its column takes decompressed.
fn weights(file: &SpansFile, starts: &[usize]) -> Vec<u64> {
    let metadata = file.metadata.metadata();
    let all = starts.last().copied().unwrap_or(0);
    let mut weights = vec![0; all.div_ceil(GRANULE)];
    for (group, (about, bounds)) in metadata.row_groups().iter().zip(starts.windows(2)).enumerate() {
        for (leaf, column) in about.columns().iter().enumerate() {
            let ratio = column.uncompressed_size() as f64 / column.compressed_size().max(1) as f64;
            for page in file.directory.pages(group, leaf) {
                let (start, end) = (bounds[0] + page.rows().start, bounds[0] + page.rows().end);
                let granules = start / GRANULE..end.min(all).div_ceil(GRANULE);
                let bytes = f64::from(page.bytes) * ratio / granules.len().max(1) as f64;
                weights.get_mut(granules).into_iter().flatten().for_each(|weight| *weight += bytes as u64);
            }
        }
    }
    weights
}
