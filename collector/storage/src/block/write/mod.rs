//! Writes blocks.
//!
//! Rows in memory form come in; `columns` asks for a column at a time: `flat`, `strings`, `lists` and `attributes`
//! read the column of all inputs, put its rows into order and take the nulls out. `parents` finds the rows of parents,
//! `nested` makes levels of lists. `chunk` makes pages of the values: `values` chooses an encoding, `encode` has them,
//! `levels` the nulls, `stats` the bounds, `thrift` the headers. `shapes` takes the columns out that follow from others.
//! `spans` puts row groups into a file, `checked` its checksum; `summary` gathers what the meta says.
//!
//! The parquet crate's own writer is not used for spans: it hashes each string again, one by one, though the strings have
//! keys already, and writes no checksums.

mod attributes;
mod checked;
mod chunk;
mod columns;
mod encode;
mod flat;
mod levels;
mod lists;
mod nested;
mod parents;
mod shapes;
mod spans;
mod stats;
mod strings;
mod summary;
#[cfg(test)]
mod tests;
mod thrift;
mod values;

use std::{io, sync::Arc};

use arrow_array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

pub use encode::hybrid;
pub use spans::CHECKSUMS;

use self::{
    checked::Checked,
    shapes::Shapes,
    spans::{SpansWriter, Written},
};
use super::{BlockError, FILTER, File, Filter, FilterError, META, Meta, MetaError, RESOURCES, SHAPES, SPANS, Spec};
use crate::{
    columns::{Resource, resources_batch},
    merge::{Batches, Counts, Inputs, OrderError, order},
    schema::{self, Type},
    store::{self, Sink, Store, StoreError},
};

/// zstd's, for blocks that are never rewritten.
const LASTING_LEVEL: i32 = 6;

/// How files are cut.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Most rows of a row group.
    pub group_rows: usize,
    /// Rows a page, a multiple of eight. A lookup reads a page of each column.
    pub page_rows: usize,
    /// Rows of the shortest pages, those of columns whose rows are large; a multiple of eight.
    pub least_page_rows: usize,
    /// zstd's.
    pub level: i32,
    /// What a shape has to save, in bytes, for there to be shapes. None: there are none, and all columns are in one file.
    pub shape_bytes: Option<usize>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { group_rows: 128 << 10, page_rows: 8 << 10, least_page_rows: 4 << 10, level: 1, shape_bytes: Some(128) }
    }
}

impl Layout {
    /// For blocks that are never rewritten. Shorter pages make lookups faster, and a higher level pays for them; writing such a block takes
    /// 10 to 20 % more. `docs/benchmarks.md` has what other layouts cost and gain.
    pub fn lasting(self) -> Self {
        let page_rows = (self.page_rows / 2).next_multiple_of(8);
        let least_page_rows = (self.least_page_rows / 4).next_multiple_of(8);
        Self { page_rows, least_page_rows, level: LASTING_LEVEL, ..self }
    }

    /// What to try when there are too many shapes; None when there are none.
    #[must_use]
    pub fn with_fewer_shapes(self) -> Option<Self> {
        const MUCH: usize = 8 << 10;
        let bytes = self.shape_bytes?;
        Some(Self { shape_bytes: (bytes < MUCH).then_some(MUCH), ..self })
    }

    /// The same with all columns in one file.
    pub fn without_shapes(self) -> Self {
        Self { shape_bytes: None, ..self }
    }
}

/// A block cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store said no to a part of a file.
    #[error("cannot write a part of a block: {0}")]
    Io(#[source] io::Error),
    /// zstd said no.
    #[error("cannot compress a page: {0}")]
    Compress(#[source] io::Error),
    /// A Parquet file cannot be made.
    #[error("cannot make a Parquet file: {0}")]
    Parquet(#[from] ParquetError),
    /// The resources cannot be made a table.
    #[error("cannot make a table of resources: {0}")]
    Resources(#[from] arrow_schema::ArrowError),
    /// The spans cannot be put in order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A batch is not in memory form.
    #[error("column {0} of the spans is missing or not of its type")]
    Column(String),
    /// There is no filter for the traces.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The meta cannot be written.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// Rows cannot be read.
    #[error("cannot read a block to merge it: {0}")]
    Read(#[from] BlockError),
    /// Attributes are counted in 32 bits.
    #[error("more than 4 billion attributes at once")]
    TooMany,
    /// What was written is not what came.
    #[error("of {taken} spans {written} were written and {duplicates} were exact duplicates: the block is given up")]
    Lost {
        /// Spans that came.
        taken: u64,
        /// Exact duplicates among them.
        duplicates: u64,
        /// Spans that were written.
        written: u64,
    },
    /// It has to be written without shapes.
    #[error("the spans have too many shapes")]
    TooManyShapes,
}

impl WriteError {
    /// Whether it says something of the store, and nothing of the spans.
    pub fn is_of_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Io(_) | Self::Parquet(ParquetError::External(_)))
    }

    /// Whether it may go better later.
    pub fn is_retryable(&self) -> bool {
        let of_sink = |error: &io::Error| store::may_pass(error.kind());
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Io(error) => of_sink(error),
            Self::Parquet(ParquetError::External(error)) => error.downcast_ref().is_some_and(of_sink),
            _ => false,
        }
    }
}

fn wrong(at: usize) -> WriteError {
    WriteError::Column(schema::CORE[at].name().clone())
}

/// Writes one block. Dropped before `finish`, there is none.
pub struct BlockWriter {
    store: Arc<dyn Store>,
    path: String,
    meta: Meta,
    counts: Counts,
    attributes: Vec<(String, Type)>,
    layout: Layout,
    /// From the first rows on, which tell whether there will be shapes.
    spans: Option<SpansWriter<Box<dyn Sink>>>,
    /// Rows that have come, and exact duplicates among them that were left out.
    taken: u64,
    duplicates: u64,
}

impl BlockWriter {
    /// Writes a block of all spans of some batches in memory form, in any order.
    ///
    /// # Errors
    /// Those of the store, and when a batch is not in memory form.
    pub fn write_all(
        store: &Arc<dyn Store>,
        spec: &Spec,
        batches: &[RecordBatch],
        resources: &[Resource],
        layout: Layout,
    ) -> Result<Meta, WriteError> {
        let counts = Counts::of(batches);
        let mut layout = layout;
        loop {
            let mut writer = Self::with_counts(store.clone(), spec, counts.clone(), layout)?;
            let written = writer.write(&mut Batches(batches)).and_then(|()| writer.finish(resources));
            match (written, layout.with_fewer_shapes()) {
                (Err(WriteError::TooManyShapes), Some(fewer)) => layout = fewer,
                (written, _) => return written,
            }
        }
    }

    /// Starts a block that merges others.
    ///
    /// # Errors
    /// Those of the store.
    pub fn create<'a>(
        store: Arc<dyn Store>,
        spec: &Spec,
        merged: impl IntoIterator<Item = &'a Meta>,
        layout: Layout,
    ) -> Result<Self, WriteError> {
        let mut counts = Counts::default();
        merged.into_iter().for_each(|meta| counts.add_block(meta.spans, &meta.attributes));
        Self::with_counts(store, spec, counts, layout)
    }

    /// Starts a block whose spans have these attributes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn with_counts(store: Arc<dyn Store>, spec: &Spec, counts: Counts, layout: Layout) -> Result<Self, WriteError> {
        let (path, meta, attributes) = (spec.path(), Meta::new(spec), counts.promoted());
        Ok(Self { store, path, meta, counts, attributes, layout, spans: None, taken: 0, duplicates: 0 })
    }

    /// Takes rows in memory form, in any order, of no trace that would come before one that was taken. They make row groups of
    /// their own. Spans of a trace that was taken may come, if they are after those in order: exact duplicates are found among the
    /// rows that come together.
    ///
    /// # Errors
    /// Those of the store and of the inputs, and when they are not in memory form.
    pub fn write(&mut self, rows: &mut dyn Inputs) -> Result<(), WriteError> {
        let order = order(rows)?;
        self.taken += rows.all_rows() as u64;
        self.duplicates += order.duplicates as u64;
        let spans = match self.spans.take() {
            Some(spans) => spans,
            None => self.create_spans(rows)?,
        };
        self.spans.insert(spans).write(rows, &order.rows)
    }

    /// How many rows have come.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Begins the file of spans; these are its first.
    fn create_spans(&self, first: &mut dyn Inputs) -> Result<SpansWriter<Box<dyn Sink>>, WriteError> {
        let shapes = match self.layout.shape_bytes {
            Some(bytes) => shapes::choose(first, &self.attributes, self.counts.spans() as usize, bytes)?,
            None => Vec::new(),
        };
        let shapes = (!shapes.is_empty()).then(|| Shapes::new(shapes, &self.attributes));
        let sink = self.store.create(&format!("{}/{SPANS}", self.path))?;
        SpansWriter::new(sink, self.attributes.clone(), shapes, self.layout)
    }

    /// Writes the small files; once this returns, the block is there. `resources` has those that the spans
    /// name, and may have others.
    ///
    /// # Errors
    /// Those of the store, and when the block would not have all rows that came.
    pub fn finish<'a>(mut self, resources: impl IntoIterator<Item = &'a Resource>) -> Result<Meta, WriteError> {
        let spans = match self.spans.take() {
            Some(spans) => spans,
            None => self.create_spans(&mut Batches(&[]))?,
        };
        let Self { store, path, mut meta, counts, attributes, taken, duplicates, .. } = self;
        let Written { file, sink, summary, shapes } = spans.finish()?;
        sink.finish()?;
        meta.files.insert(SPANS.to_owned(), file);
        let named = resources.into_iter().filter(|resource| summary.resources.contains(&resource.id));
        let mut named: Vec<Resource> = named.cloned().collect();
        // The same spans make the same bytes: a PUT that was thought to have failed harms none that was made again.
        named.sort_unstable_by_key(|resource| resource.id);
        let tables = [(RESOURCES, Some(resources_batch(&named)?)), (SHAPES, shapes.map(Shapes::table).transpose()?)];
        for (name, table) in tables {
            if let Some(table) = table {
                let (bytes, file) = table_file(&table)?;
                meta.files.insert(name.to_owned(), file);
                store.put(&format!("{path}/{name}"), bytes.into())?;
            }
        }
        summary.tell(&mut meta);
        if meta.spans + duplicates != taken {
            return Err(WriteError::Lost { taken, duplicates, written: meta.spans });
        }
        let filter = Filter::of(summary.hashes)?;
        let filter = filter.as_bytes();
        let file = File { bytes: filter.len() as u64, crc32c: crc32c::crc32c(filter), tail: None };
        meta.files.insert(FILTER.to_owned(), file);
        store.put(&format!("{path}/{FILTER}"), filter.clone())?;
        (meta.attributes, meta.attributes_complete) = counts.list(MAX_ATTRIBUTES, &attributes);
        store.put(&format!("{path}/{META}"), meta.to_bytes()?.into())?;
        Ok(meta)
    }
}

/// So many attributes are listed in a meta.
const MAX_ATTRIBUTES: usize = 1000;

fn table_file(table: &RecordBatch) -> Result<(Vec<u8>, File), WriteError> {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("clew ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let mut writer = ArrowWriter::try_new(Checked::new(Vec::new()), table.schema(), Some(properties))?;
    writer.write(table)?;
    writer.finish()?;
    let (file, bytes) = writer.inner_mut().take().ok_or(WriteError::TooMany)?;
    Ok((bytes, file))
}
