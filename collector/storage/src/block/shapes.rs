//! Shapes as they are read: what a block's spans have in columns of `shapes.parquet`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader, UInt32Array, cast::AsArray, types::UInt32Type};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::{concat::concat_batches, take::take};
use bytes::Bytes;
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use super::read::Why;
use crate::schema::{ATTRIBUTE_PREFIX, CORE};

/// The column with a shape's number, in shapes and spans.
pub const SHAPE_ID: &str = "shape_id";
/// The column that says how many of the block's spans have a shape.
pub const SPANS_OF_SHAPE: &str = "spans";
/// The column that says which columns of the file of spans have a value in any span of a shape: one bit each, in their order, from the
/// lowest of the first byte. Blocks of former versions have it not.
pub const HAS_COLUMNS: &str = "has_columns";

/// The shapes of a block, a row each.
pub struct Shapes(RecordBatch);

impl Shapes {
    /// Reads the file.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Why> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(1 << 20).build()?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(ParquetError::from)?;
        let shapes = concat_batches(&schema, &batches).map_err(ParquetError::from)?;
        let numbers = shapes.column_by_name(SHAPE_ID).and_then(|ids| ids.as_primitive_opt::<UInt32Type>());
        if !numbers.is_some_and(|ids| ids.null_count() == 0 && ids.values().iter().copied().eq(0..ids.len() as u32)) {
            return Err(Why::Columns("its rows are not numbered".to_owned()));
        }
        Ok(Self(shapes))
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.0.get_array_memory_size()
    }

    /// The columns that spans have by their shapes: places in these shapes.
    fn columns(&self) -> impl Iterator<Item = usize> {
        let fields = self.0.schema_ref().fields();
        (0..fields.len()).filter(|at| ![SHAPE_ID, SPANS_OF_SHAPE, HAS_COLUMNS].contains(&fields[*at].name().as_str()))
    }

    /// The columns of the file of spans that have a value in any span of one of these shapes, as [`HAS_COLUMNS`] has them. None: they do
    /// not say.
    pub fn has_columns(&self, numbers: impl Iterator<Item = u32>) -> Result<Option<Vec<u8>>, Why> {
        let Some(has) = self.0.column_by_name(HAS_COLUMNS).and_then(|has| has.as_binary_opt::<i32>()) else {
            return Ok(None);
        };
        let (mut all, mut last) = (Vec::new(), None);
        for number in numbers.filter(|number| last.replace(*number) != Some(*number)) {
            let at = number as usize;
            if at >= has.len() {
                return Err(Why::Columns("a span has a shape that is not there".to_owned()));
            }
            let bits = has.value(at);
            all.resize(all.len().max(bits.len()), 0);
            all.iter_mut().zip(bits).for_each(|(all, bits)| *all |= bits);
        }
        Ok(Some(all))
    }

    /// The values of spans with these shapes, in a column.
    pub fn column(&self, numbers: &UInt32Array, at: usize) -> Result<ArrayRef, Why> {
        // Checks that there are such shapes.
        take(self.0.column(at), numbers, Some(arrow_select::take::TakeOptions { check_bounds: true }))
            .map_err(|error| Why::Columns(format!("a span has a shape that is not there: {error}")))
    }

    /// The values of a column, one for each shape.
    pub fn of_each(&self, at: usize) -> &ArrayRef {
        self.0.column(at)
    }

    /// Refuses numbers of which there is no shape.
    pub fn check(&self, numbers: &UInt32Array) -> Result<(), Why> {
        let has = |number: &u32| (*number as usize) < self.0.num_rows();
        match numbers.null_count() == 0 && numbers.values().iter().all(has) {
            true => Ok(()),
            false => Err(Why::Columns("a span has a shape that is not there".to_owned())),
        }
    }

    /// Whether any of these shapes has a value in a column. One that is not there may have: who asks for its values will hear of it.
    pub fn any_has(&self, numbers: &[u32], at: usize) -> bool {
        let column = self.0.column(at);
        numbers.iter().any(|number| *number as usize >= column.len() || column.is_valid(*number as usize))
    }

    /// Whether any shape has a value in a column.
    pub fn has_values(&self, at: usize) -> bool {
        let column = self.0.column(at);
        column.null_count() < column.len()
    }
}

/// Where the columns of a block's spans are.
pub struct Columns {
    /// All of them, in the order of [`crate::schema`].
    pub schema: SchemaRef,
    /// Where each is.
    pub places: Vec<Place>,
    /// The place of `shape_id` in the file of spans, and the shapes.
    pub shapes: Option<(usize, Shapes)>,
}

/// Where a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file of spans.
    Spans(usize),
    /// In that of shapes.
    Shapes(usize),
}

impl Columns {
    /// Of a file of spans with this schema.
    pub fn new(spans: &SchemaRef, shapes: Option<Shapes>) -> Result<Self, Why> {
        let Some(shapes) = shapes else {
            let places = (0..spans.fields().len()).map(Place::Spans).collect();
            return Ok(Self { schema: spans.clone(), places, shapes: None });
        };
        let numbers = spans.index_of(SHAPE_ID).map_err(|_| Why::Columns(format!("it has no {SHAPE_ID}")))?;
        let of_spans = (0..spans.fields().len()).filter(|at| *at != numbers);
        let of_spans = of_spans.map(|at| (spans.fields()[at].clone(), Place::Spans(at)));
        let of_shapes = shapes.columns().map(|at| (shapes.0.schema_ref().fields()[at].clone(), Place::Shapes(at)));
        let mut all: Vec<_> = of_spans.chain(of_shapes).collect();
        // Core columns in their order, then attributes by name.
        all.sort_by_cached_key(|(field, _)| {
            let core = CORE.iter().position(|core| core.name() == field.name());
            (core.unwrap_or(CORE.len()), field.name().strip_prefix(ATTRIBUTE_PREFIX).map(str::to_owned))
        });
        let (fields, places): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        Ok(Self { schema: Arc::new(Schema::new(fields)), places, shapes: Some((numbers, shapes)) })
    }

    /// Rows of the file of spans with all columns.
    pub fn complete(&self, batch: &RecordBatch) -> Result<RecordBatch, Why> {
        let Some((numbers, shapes)) = &self.shapes else { return Ok(batch.clone()) };
        let numbers = numbers_of(batch.column(*numbers))?;
        let column = |place: &Place| match place {
            Place::Spans(at) => Ok(batch.column(*at).clone()),
            Place::Shapes(at) => shapes.column(numbers, *at),
        };
        let columns = self.places.iter().map(column).collect::<Result<_, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| Why::Columns(error.to_string()))
    }
}

/// A column of shapes' numbers.
pub fn numbers_of(array: &ArrayRef) -> Result<&UInt32Array, Why> {
    array.as_primitive_opt().ok_or_else(|| Why::Columns(format!("{SHAPE_ID} has no numbers")))
}
