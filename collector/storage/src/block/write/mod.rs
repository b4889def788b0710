//! Writes blocks.
//!
//! Batches in memory form come in; `columns` takes them a column at a time: `flat`, `strings`, `lists` and `attributes`
//! read the column of all batches, put its rows into order and take the nulls out. `parents` finds the rows of parents,
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

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, cast::AsArray};
use arrow_select::take::take_record_batch;
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
use super::{FILTER, File, Filter, FilterError, META, Meta, MetaError, RESOURCES, SHAPES, SPANS, Spec};
use crate::{
    columns::{Resource, resources_batch},
    merge::{Counts, OrderError, locate, order, starts},
    schema::{self, Type, core},
    store::{self, Sink, Store, StoreError},
};

/// How files are cut.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Most rows of a row group.
    pub group_rows: usize,
    /// Rows a page, a multiple of eight. A lookup reads a page of each column.
    pub page_rows: usize,
    /// zstd's.
    pub level: i32,
    /// What a shape has to save, in bytes, for there to be shapes. None: there are none, and all columns are in one file.
    pub shape_bytes: Option<usize>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { group_rows: 96 << 10, page_rows: 8 << 10, level: 1, shape_bytes: Some(128) }
    }
}

impl Layout {
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
    /// Rows that have come and are not yet written.
    waiting: Vec<RecordBatch>,
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
            writer.wait(batches);
            match (writer.finish(resources), layout.with_fewer_shapes()) {
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
        Ok(Self {
            store,
            path,
            meta,
            counts,
            attributes,
            layout,
            spans: None,
            waiting: Vec::new(),
            taken: 0,
            duplicates: 0,
        })
    }

    /// Takes a window: rows in memory form, in any order, none of a trace before those of the windows before. The last
    /// trace of a window may go on in the next one. Rows wait until there are about enough for a row group, and memory holds no
    /// more of them.
    ///
    /// # Errors
    /// Those of the store, and when a batch is not in memory form.
    pub fn write(&mut self, window: &[RecordBatch]) -> Result<(), WriteError> {
        self.wait(window);
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        // The next one may be as large as this one.
        let is_full = rows(&self.waiting) + rows(window) > self.layout.group_rows;
        let bytes: usize = self.waiting.iter().flat_map(RecordBatch::columns).map(bytes_of).sum();
        if is_full || bytes >= MAX_WAITING_BYTES {
            self.write_waiting(false)?;
        }
        Ok(())
    }

    fn wait(&mut self, batches: &[RecordBatch]) {
        let batches = batches.iter().filter(|batch| batch.num_rows() > 0);
        self.waiting.extend(batches.inspect(|batch| self.taken += batch.num_rows() as u64).cloned());
    }

    /// How many rows have come.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Writes the rows that wait, but not those of the last trace, unless it is the last of all: more of it may come, which
    /// may have to be among those. A trace that is a row group by itself is written as it comes.
    fn write_waiting(&mut self, all: bool) -> Result<(), WriteError> {
        let batches = std::mem::take(&mut self.waiting);
        let mut order = order(&batches)?;
        self.duplicates += order.duplicates as u64;
        if !all && let Some(last) = order.rows.last() {
            let starts = starts(&batches);
            let trace = |row: &u32| {
                let (batch, row) = locate(&starts, *row);
                batches[batch].column(core::TRACE_ID).as_fixed_size_binary().value(row)
            };
            let last = trace(last);
            let of_last = order.rows.iter().rev().take_while(|row| trace(row) == last).count();
            if of_last < order.rows.len() {
                let mut later = order.rows.split_off(order.rows.len() - of_last);
                later.sort_unstable();
                for rows in later.chunk_by(|a, b| locate(&starts, *a).0 == locate(&starts, *b).0) {
                    let batch = locate(&starts, rows[0]).0;
                    let rows: UInt32Array = rows.iter().map(|row| locate(&starts, *row).1 as u32).collect();
                    self.waiting.push(take_record_batch(&batches[batch], &rows)?);
                }
            }
        }
        let spans = match self.spans.take() {
            Some(spans) => spans,
            None => self.create_spans(&batches)?,
        };
        self.spans.insert(spans).write(&batches, &order.rows)
    }

    /// Begins the file of spans; these are its first.
    fn create_spans(&self, first: &[RecordBatch]) -> Result<SpansWriter<Box<dyn Sink>>, WriteError> {
        let shapes = match self.layout.shape_bytes {
            Some(bytes) => shapes::choose(first, &self.attributes, self.counts.spans() as usize, bytes)?,
            None => Vec::new(),
        };
        let shapes = (!shapes.is_empty()).then(|| Shapes::new(shapes, &self.attributes));
        let sink = self.store.create(&format!("{}/{SPANS}", self.path))?;
        SpansWriter::new(sink, self.attributes.clone(), shapes, self.layout)
    }

    /// Writes what is left and the small files; once this returns, the block is there. `resources` has those that the spans
    /// name, and may have others.
    ///
    /// # Errors
    /// Those of the store, and when the block would not have all rows that came.
    pub fn finish<'a>(mut self, resources: impl IntoIterator<Item = &'a Resource>) -> Result<Meta, WriteError> {
        self.write_waiting(true)?;
        let spans = match self.spans.take() {
            Some(spans) => spans,
            None => self.create_spans(&[])?,
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

/// Row groups are smaller where spans are large. Dictionaries that batches share count for each.
const MAX_WAITING_BYTES: usize = 512 << 20;

/// So many attributes are listed in a meta.
const MAX_ATTRIBUTES: usize = 1000;

/// About what the rows of a column take.
fn bytes_of(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_default()
}

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
