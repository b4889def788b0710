//! A part of what a query looks at: a row group of a block, or a batch in memory.

use std::{ops::Range, sync::Arc};

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, UInt64Array, cast::AsArray};
use arrow_schema::SchemaRef;
use clew_storage::{
    Memory,
    block::{Block, BlockError},
    columns::Resource,
    schema::core,
};

use super::{
    cache::{Cache, Key},
    codes::Codes,
    traces::TraceRows,
};

/// Some spans, of which columns are read when they are needed. Cheap to clone.
#[derive(Clone)]
pub struct Part {
    /// How many spans.
    pub rows: usize,
    /// Its columns.
    pub schema: SchemaRef,
    pub place: Place,
}

/// Where spans are.
#[derive(Clone)]
pub enum Place {
    /// A row group: the block, and which one.
    Block { block: Arc<Block>, group: usize },
    /// A batch of a table.
    Memory { memory: Memory, batch: RecordBatch },
    /// Some rows of a row group, which were read together.
    Rows { block: Arc<Block>, batch: RecordBatch },
}

impl Part {
    /// The row groups of a block.
    pub fn of_block(block: &Arc<Block>) -> Result<Vec<Self>, BlockError> {
        let schema = block.schema()?;
        let group = |(group, rows): (usize, usize)| Self {
            rows,
            schema: schema.clone(),
            place: Place::Block { block: block.clone(), group },
        };
        Ok(block.groups()?.into_iter().enumerate().map(group).collect())
    }

    /// The batches of a table in memory. After a no from `go_on` some have no spans.
    pub fn of_memory(memory: &Memory, go_on: &(dyn Fn() -> bool + Sync)) -> Vec<Self> {
        let part = |batch: RecordBatch| Self {
            rows: batch.num_rows(),
            schema: batch.schema(),
            place: Place::Memory { memory: memory.clone(), batch },
        };
        memory.batches(go_on).into_iter().map(part).collect()
    }

    /// Some of its rows. Of a row group no more is read than these. Blocking.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self, BlockError> {
        let place = match &self.place {
            Place::Block { block, group } => {
                Place::Rows { block: block.clone(), batch: block.rows(*group, rows.clone())? }
            }
            Place::Memory { memory, batch } => {
                Place::Memory { memory: memory.clone(), batch: batch.slice(rows.start, rows.len()) }
            }
            Place::Rows { block, batch } => {
                Place::Rows { block: block.clone(), batch: batch.slice(rows.start, rows.len()) }
            }
        };
        let schema = match &place {
            Place::Rows { batch, .. } => batch.schema(),
            Place::Block { .. } | Place::Memory { .. } => self.schema.clone(),
        };
        Ok(Self { rows: rows.len(), schema, place })
    }

    /// A column by its place in the schema; None when no row has a value. Blocking.
    pub fn column(&self, cache: &Cache, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        match &self.place {
            Place::Block { block, group } => {
                let key = Key::Column(block.meta().id, *group as u32, column as u32);
                cache.column(key, || block.column_with(*group, column, || shapes(cache, block, *group)))
            }
            Place::Memory { .. } | Place::Rows { .. } => self.read(cache, column),
        }
    }

    /// The shape of each row: the number by which it has several columns. None: it has all of them itself. Blocking.
    pub fn shapes(&self, cache: &Cache) -> Result<Option<UInt32Array>, BlockError> {
        let Place::Block { block, group } = &self.place else { return Ok(None) };
        let shapes = shapes(cache, block, *group)?;
        Ok(shapes.as_ref().and_then(|shapes| shapes.as_primitive_opt()).cloned())
    }

    /// A column that rows have by their shapes: its value for each of these. Blocking.
    pub fn of_shapes(&self, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        match &self.place {
            Place::Block { block, .. } => block.of_shapes(column),
            Place::Memory { .. } | Place::Rows { .. } => Ok(None),
        }
    }

    /// The rows that have this text in a column, in order, where they can be found without reading all of it. What has been read
    /// is looked through faster than that. Blocking.
    pub fn rows_with(&self, cache: &Cache, column: usize, text: &str) -> Result<Option<Vec<u32>>, BlockError> {
        match &self.place {
            Place::Block { block, group }
                if !cache.has(&Key::Column(block.meta().id, *group as u32, column as u32)) =>
            {
                block.rows_with(*group, column, text)
            }
            _ => Ok(None),
        }
    }

    /// False: no row has this text in a column, which has not been read yet. Blocking.
    pub fn may_have_text(&self, cache: &Cache, column: usize, text: &str) -> Result<bool, BlockError> {
        match &self.place {
            Place::Block { block, group }
                if !cache.has(&Key::Column(block.meta().id, *group as u32, column as u32)) =>
            {
                block.may_have_text(*group, column, text)
            }
            _ => Ok(true),
        }
    }

    /// A column, not kept for others if it is not yet. Blocking.
    pub fn read(&self, cache: &Cache, column: usize) -> Result<Option<ArrayRef>, BlockError> {
        match &self.place {
            Place::Block { block, group } => {
                let key = Key::Column(block.meta().id, *group as u32, column as u32);
                cache.kept_column(&key).map_or_else(|| block.column(*group, column), Ok)
            }
            Place::Memory { batch, .. } | Place::Rows { batch, .. } => {
                let array = batch.column(column);
                Ok((array.null_count() < array.len()).then(|| array.clone()))
            }
        }
    }

    /// Whether any row has a value in a column. Blocking.
    pub fn has_values(&self, column: usize) -> Result<bool, BlockError> {
        match &self.place {
            Place::Block { block, group } => block.has_values(*group, column),
            Place::Memory { batch, .. } | Place::Rows { batch, .. } => {
                Ok(batch.column(column).null_count() < self.rows)
            }
        }
    }

    /// Which resource each row has, and those resources. Blocking.
    pub fn resources(&self, cache: &Cache) -> Result<(Arc<Codes>, Vec<Option<Resource>>), BlockError> {
        let codes = |column: Option<ArrayRef>| {
            let ids = column.as_ref().and_then(|column| column.as_any().downcast_ref::<UInt64Array>());
            Codes::of(ids.map_or(&[], |ids| ids.values()))
        };
        match &self.place {
            Place::Block { block, group } => {
                let key = Key::Resources(block.meta().id, *group as u32);
                let codes = cache.codes(key, || Ok(codes(block.column(*group, core::RESOURCE_ID)?)))?;
                let resources = block.resources()?;
                let resources = codes.values.iter().map(|id| resources.get(id).cloned()).collect();
                Ok((codes, resources))
            }
            Place::Memory { memory, batch } => {
                let codes = codes(Some(batch.column(core::RESOURCE_ID).clone()));
                let resources = codes.values.iter().map(|id| memory.resource(*id)).collect();
                Ok((Arc::new(codes), resources))
            }
            Place::Rows { block, batch } => {
                let codes = codes(Some(batch.column(core::RESOURCE_ID).clone()));
                let resources = block.resources()?;
                let resources = codes.values.iter().map(|id| resources.get(id).cloned()).collect();
                Ok((Arc::new(codes), resources))
            }
        }
    }
}

fn shapes(cache: &Cache, block: &Block, group: usize) -> Result<Option<ArrayRef>, BlockError> {
    cache.column(Key::Shapes(block.meta().id, group as u32), || block.shapes(group))
}

/// The traces of a block. Blocking.
pub fn traces_of(cache: &Cache, block: &Block) -> Result<Arc<TraceRows>, BlockError> {
    cache.traces(Key::Traces(block.meta().id), || {
        let mut traces = TraceRows::default();
        for group in 0..block.groups()?.len() {
            let ids = block.column(group, core::TRACE_ID)?;
            let ids = ids.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
            traces.extend(ids.map_or(&[][..], |ids| ids.value_data().as_chunks::<16>().0));
        }
        Ok(traces)
    })
}
