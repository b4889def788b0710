//! Reads blocks: a trace by its id, or everything in order.
//!
//! `file` reads pages of `spans.parquet` and checks them, `directory` says where they are, `cache` keeps what was read. `lookup` finds a
//! trace, `several` in more than one block: `pages` has its rows, which `cut` cuts out of each page, in `scratch` buffers; it reads
//! their `header` and levels (`hybrid`) itself. `flat` makes arrays of them, the parquet crate of lists. `scan` goes through all spans,
//! `ranges` through all of them column by column, `column` through little of each, all by whole `chunks`; `find` looks for a text;
//! `memory` gives them the form that they have in memory.

mod cache;
mod chunks;
mod column;
mod cut;
mod directory;
mod file;
mod find;
mod flat;
mod header;
mod hybrid;
mod lookup;
mod memory;
mod pages;
mod ranges;
mod scan;
mod scratch;
mod several;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use clew_common::ids::TraceId;
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use super::{
    FILTER, Filter, FilterError, META, Meta, MetaError, RESOURCES, SHAPES, SPANS,
    shapes::{Place, Shapes},
};
use crate::{
    columns::{Resource, ViewError, resources_of},
    store::{Store, StoreError},
};

pub use cache::Cache;
use file::SpansFile;
pub use ranges::Ranges;
pub use scan::HEADS;
pub use several::trace_in;

/// A block that can be read. What it is and which traces it has not is in memory, the rest is read when it is needed.
pub struct Block {
    store: Arc<dyn Store>,
    path: String,
    meta: Arc<Meta>,
    filter: Filter,
    cache: Arc<Cache>,
}

/// A block cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct BlockError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a file of a block.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The meta cannot be used.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The filter cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The bytes are not those that were written.
    #[error("it is damaged: {0}")]
    Checksum(&'static str),
    /// It cannot be understood.
    #[error("it is damaged: {0}")]
    Parquet(#[from] ParquetError),
    /// It does not have the columns that it should have.
    #[error("it is damaged: {0}")]
    Columns(String),
    /// Whoever reads it wants no more.
    #[error("it was not read to its end")]
    Stopped,
}

/// Is told of bytes that are read, as they are in memory; says whether to read on.
pub type GoOn<'a> = &'a (dyn Fn(usize) -> bool + Sync);

impl From<ViewError> for Why {
    fn from(error: ViewError) -> Self {
        Self::Columns(error.to_string())
    }
}

impl BlockError {
    /// Whether it may go better later.
    pub fn is_retryable(&self) -> bool {
        self.of_store().is_some_and(StoreError::is_retryable)
    }

    /// Whether it may be whole, and only the store does not give it now.
    pub fn is_unavailable(&self) -> bool {
        self.of_store().is_some_and(StoreError::is_unavailable)
    }

    /// Whether it says nothing of the block: whoever read it wanted no more.
    pub fn is_stopped(&self) -> bool {
        matches!(self.why, Why::Stopped)
    }

    /// Whether the block is no longer there.
    pub fn is_gone(&self) -> bool {
        // Its meta is the first to be deleted. Without another file it is damaged.
        self.path.ends_with(META) && self.of_store().is_some_and(StoreError::is_not_found)
    }

    /// Whether a newer version of this program wrote it.
    pub fn is_newer(&self) -> bool {
        matches!(&self.why, Why::Meta(MetaError::Version(_)) | Why::Filter(FilterError::Version(_)))
    }

    /// Whether the bytes are wrong: they will not get better.
    pub fn is_damage(&self) -> bool {
        self.of_store().is_none() && !self.is_stopped()
    }

    /// What the store said, also to the parquet crate when it asked for pages.
    fn of_store(&self) -> Option<&StoreError> {
        match &self.why {
            Why::Store(error) => Some(error),
            Why::Parquet(ParquetError::External(error)) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl Block {
    /// Opens the block in a folder of a store. Reads the meta and the filter.
    ///
    /// # Errors
    /// When they cannot be read or are damaged.
    pub fn open(store: Arc<dyn Store>, path: &str, cache: Arc<Cache>) -> Result<Self, BlockError> {
        let whole = |name: &str| read_whole(&*store, &format!("{path}/{name}"));
        let meta = Meta::from_bytes(&whole(META)?).map_err(|error| at(path, META, error))?;
        // A copy in the folder of another tenant would be shown to that one, and one of another id would be there twice.
        let is_at_home = path.split('/').next() == Some(&*meta.tenant)
            && path.rsplit('/').next().is_some_and(|name| name == meta.id.to_string());
        if !is_at_home {
            let whose = format!("it belongs to block {} of tenant {}", meta.id, meta.tenant);
            return Err(at(path, META, Why::Columns(whose)));
        }
        let filter = Filter::from_bytes(whole(FILTER)?).map_err(|error| at(path, FILTER, error))?;
        Ok(Self { store, path: path.to_owned(), meta: Arc::new(meta), filter, cache })
    }

    /// What it is.
    pub fn meta(&self) -> &Arc<Meta> {
        &self.meta
    }

    /// Its folder.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// False: it has no span of the trace. True: it almost surely has.
    pub fn may_hold(&self, trace: &TraceId) -> bool {
        self.filter.may_hold(trace.as_bytes())
    }

    /// The spans of a trace as OTLP TracesData; None when there are none. Blocking.
    ///
    /// # Errors
    /// When the files cannot be read or are damaged.
    pub fn trace(&self, trace: &TraceId) -> Result<Option<Bytes>, BlockError> {
        self.trace_while(trace, &|_| true)
    }

    /// The same for as long as `go_on` says yes. Blocking.
    ///
    /// # Errors
    /// When the files cannot be read or are damaged, and when `go_on` says no.
    pub fn trace_while(&self, trace: &TraceId, go_on: GoOn<'_>) -> Result<Option<Bytes>, BlockError> {
        let mut is_kept = true;
        let found = self.cache.trace(self.meta.id, *trace, || {
            is_kept = false;
            let file = self.spans()?;
            let resources = self.resources()?;
            let found = lookup::trace(&file, (self.meta.id, &self.cache), trace, &resources, go_on);
            self.cache.noted(found.map_err(|error| at(&self.path, SPANS, error)))
        })?;
        match &found {
            Some(bytes) if is_kept && !go_on(bytes.len()) => Err(at(&self.path, SPANS, Why::Stopped)),
            _ => Ok(found),
        }
    }

    /// The resources of the spans, by id. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn resources(&self) -> Result<Arc<HashMap<u64, Resource>>, BlockError> {
        self.cache.noted(self.cache.resources(self.meta.id, || self.read_resources()))
    }

    fn read_resources(&self) -> Result<(HashMap<u64, Resource>, usize), BlockError> {
        let bytes = self.read_checked(RESOURCES)?;
        let wrong = |why: Why| at(&self.path, RESOURCES, why);
        let size = bytes.len();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
        let mut resources = HashMap::new();
        for batch in reader.map_err(|error| wrong(error.into()))? {
            let batch = batch.map_err(|error| wrong(ParquetError::from(error).into()))?;
            let read = resources_of(&batch).map_err(|error| wrong(error.into()))?;
            resources.extend(read.into_iter().map(|resource| (resource.id, resource)));
        }
        // About what it takes in memory: Parquet has it compressed.
        Ok((resources, 8 * size))
    }

    /// A small file.
    fn read_checked(&self, name: &str) -> Result<Bytes, BlockError> {
        let bytes = read_whole(&*self.store, &format!("{}/{name}", self.path))?;
        if self.meta.files.get(name).is_none_or(|file| file.crc32c != crc32c::crc32c(&bytes)) {
            return Err(at(&self.path, name, Why::Checksum("its checksum is wrong")));
        }
        Ok(bytes)
    }

    /// All spans in memory form, in order of trace and start, about `rows` of them a batch. Traces may go on in the next
    /// batch.
    pub fn batches(&self, rows: usize) -> Box<dyn Iterator<Item = Result<RecordBatch, BlockError>> + Send> {
        let (path, cache) = (self.path.clone(), self.cache.clone());
        match self.spans() {
            Ok(file) => {
                let scan = scan::Scan::whole(&file, rows);
                Box::new(scan.map(move |batch| cache.noted(batch.map_err(|error| at(&path, SPANS, error)))))
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    /// How many rows each row group has. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn groups(&self) -> Result<Vec<usize>, BlockError> {
        let file = self.spans()?;
        Ok((0..file.metadata.metadata().num_row_groups()).map(|group| column::rows(&file, group)).collect())
    }

    /// The columns of its rows: see [`crate::schema`]. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn schema(&self) -> Result<SchemaRef, BlockError> {
        Ok(self.spans()?.columns.schema.clone())
    }

    /// A column of a row group, by its place in the schema; None when no row has a value. Parents are in the form that
    /// blocks have. Strings are dictionaries of UInt32 keys, or Utf8View where the file has no dictionary of them. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn column(&self, group: usize, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        self.column_with(group, column, || self.shapes(group))
    }

    /// The same for those who read several columns; `shapes` gives what [`Block::shapes`] has given. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, and those of `shapes`.
    pub fn column_with(
        &self,
        group: usize,
        column: usize,
        shapes: impl FnOnce() -> Result<Option<ArrayRef>, BlockError>,
    ) -> Result<Option<ArrayRef>, BlockError> {
        let file = self.spans()?;
        let numbers = if column::is_of_shapes(&file, column) { shapes()? } else { None };
        let read = column::read(&file, group, column, numbers.as_ref());
        self.cache.noted(read.map_err(|why| at(&self.path, SPANS, why)))
    }

    /// The rows of a row group that have this text in a column, in order. None when [`Block::column`] is the better way, which it is
    /// where most texts are there several times. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn rows_with(&self, group: usize, column: usize, text: &str) -> Result<Option<Vec<u32>>, BlockError> {
        find::rows_with(&*self.spans()?, group, column, text).map_err(|why| at(&self.path, SPANS, why))
    }

    /// False: no row of a row group has this text in a column, however deep in lists. True: one may have. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn may_have_text(&self, group: usize, column: usize, text: &str) -> Result<bool, BlockError> {
        find::may_have_text(&*self.spans()?, group, column, text).map_err(|why| at(&self.path, SPANS, why))
    }

    /// What the rows of a row group have several columns by, numbers of the block's shapes; None when it has none. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn shapes(&self, group: usize) -> Result<Option<ArrayRef>, BlockError> {
        let read = column::read_shapes(&*self.spans()?, group);
        self.cache.noted(read.map_err(|why| at(&self.path, SPANS, why)))
    }

    /// A column that the block's spans have by their shapes, by its place in the schema: its value for each shape, by number. None:
    /// they have it themselves, or not at all. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn of_shapes(&self, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        let file = self.spans()?;
        Ok(match (file.columns.places.get(column), &file.columns.shapes) {
            (Some(Place::Shapes(at)), Some((_, shapes))) => Some(shapes.of_each(*at).clone()),
            _ => None,
        })
    }

    /// Some rows of a row group: core columns, and those that have values there, in the form that blocks have. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn rows(&self, group: usize, rows: Range<usize>) -> Result<RecordBatch, BlockError> {
        let file = self.spans()?;
        lookup::rows(&file, (self.meta.id, &self.cache), group, rows).map_err(|why| at(&self.path, SPANS, why))
    }

    /// Whether any row of a row group has a value in a column. Reads no more than the file's footer. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn has_values(&self, group: usize, column: usize) -> Result<bool, BlockError> {
        Ok(column::has_values(&*self.spans()?, group, column))
    }

    fn spans(&self) -> Result<Arc<SpansFile>, BlockError> {
        let opened = self.cache.spans(self.meta.id, || {
            let shapes = self.meta.files.contains_key(SHAPES).then(|| {
                let bytes = self.read_checked(SHAPES)?;
                Shapes::from_bytes(bytes).map_err(|why| at(&self.path, SHAPES, why))
            });
            let shapes = shapes.transpose()?;
            let path = format!("{}/{SPANS}", self.path);
            let opened = match self.meta.files.get(SPANS) {
                Some(file) => SpansFile::open(&*self.store, &path, file, shapes),
                None => Err(Why::Columns("the meta does not name it".to_owned())),
            };
            opened.map_err(|why| BlockError { path, why })
        });
        self.cache.noted(opened)
    }
}

/// An error of a file in a block's folder.
fn at(folder: &str, name: &str, why: impl Into<Why>) -> BlockError {
    BlockError { path: format!("{folder}/{name}"), why: why.into() }
}

fn read_whole(store: &dyn Store, path: &str) -> Result<Bytes, BlockError> {
    let read = store.size(path).and_then(|bytes| store.read(path, 0..bytes));
    read.map_err(|error| BlockError { path: path.to_owned(), why: error.into() })
}
