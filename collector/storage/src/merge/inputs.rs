//! Rows of several inputs, a column at a time.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, NullArray, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::{interleave::interleave, take::take};

use super::{locate, starts};
use crate::block::WriteError;

/// Inputs in memory form, one after the other: all of their rows are counted through. A column is asked for when it is needed, and
/// need not be in memory before and after.
pub trait Inputs {
    /// How many inputs there are.
    fn count(&self) -> usize;

    /// How many rows an input has.
    fn rows(&self, input: usize) -> usize;

    /// The columns of an input.
    fn schema(&self, input: usize) -> SchemaRef;

    /// Appends a column of an input: pieces that have together as many rows as it. A piece of type Null has no values.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self, input: usize, column: usize, to: &mut Vec<ArrayRef>) -> Result<(), WriteError>;

    /// How many rows all inputs have.
    fn all_rows(&self) -> usize {
        (0..self.count()).map(|input| self.rows(input)).sum()
    }

    /// A core column of all inputs.
    ///
    /// # Errors
    /// When it cannot be read.
    fn core(&mut self, column: usize) -> Result<Vec<ArrayRef>, WriteError> {
        let mut pieces = Vec::new();
        (0..self.count()).try_for_each(|input| self.read(input, column, &mut pieces))?;
        Ok(pieces)
    }

    /// Some rows with all columns, for each input that has some of them. `rows` are in order.
    ///
    /// # Errors
    /// When a column cannot be read.
    fn pick(&mut self, rows: &[u32]) -> Result<Vec<RecordBatch>, WriteError> {
        let (mut picked, mut first, mut rest) = (Vec::new(), 0, rows);
        for input in 0..self.count() {
            let end = first + self.rows(input);
            let (here, later) = rest.split_at(rest.partition_point(|row| (*row as usize) < end));
            if !here.is_empty() {
                let (schema, here): (_, Vec<usize>) =
                    (self.schema(input), here.iter().map(|row| *row as usize - first).collect());
                let mut columns = Vec::with_capacity(schema.fields().len());
                for (column, field) in schema.fields().iter().enumerate() {
                    let mut pieces = Vec::new();
                    self.read(input, column, &mut pieces)?;
                    columns.push(gather(&pieces, &here, field.data_type())?);
                }
                picked.push(RecordBatch::try_new(schema, columns)?);
            }
            (first, rest) = (end, later);
        }
        Ok(picked)
    }
}

/// Some rows of a column in pieces.
fn gather(pieces: &[ArrayRef], rows: &[usize], kind: &DataType) -> Result<ArrayRef, ArrowError> {
    if let [piece] = pieces
        && !is_null(piece)
    {
        return take(piece, &rows.iter().map(|row| *row as u32).collect::<UInt32Array>(), None);
    }
    let starts = starts(pieces.iter().map(|piece| piece.len()));
    let typed = |piece: &ArrayRef| if is_null(piece) { new_null_array(kind, piece.len()) } else { piece.clone() };
    let pieces: Vec<ArrayRef> = pieces.iter().map(typed).collect();
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    interleave(&pieces, &rows.iter().map(|row| locate(&starts, *row as u32)).collect::<Vec<_>>())
}

/// A piece without values.
pub fn null(rows: usize) -> ArrayRef {
    Arc::new(NullArray::new(rows))
}

/// Whether a piece has no values because it is none.
pub fn is_null(piece: &dyn Array) -> bool {
    *piece.data_type() == DataType::Null
}

/// Batches that are in memory.
pub struct Batches<'a>(pub &'a [RecordBatch]);

impl Inputs for Batches<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn rows(&self, input: usize) -> usize {
        self.0[input].num_rows()
    }

    fn schema(&self, input: usize) -> SchemaRef {
        self.0[input].schema()
    }

    fn read(&mut self, input: usize, column: usize, to: &mut Vec<ArrayRef>) -> Result<(), WriteError> {
        let missing = || WriteError::Column(format!("{column}"));
        to.push(self.0[input].columns().get(column).ok_or_else(missing)?.clone());
        Ok(())
    }
}
