//! `spans.parquet`, a column at a time.

use std::{io::Write, ops::Range, sync::Arc};

use arrow_schema::SchemaRef;
use parquet::{
    arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::WriterProperties,
        writer::SerializedFileWriter,
    },
    schema::types::ColumnDescPtr,
};

use super::{
    Layout, WriteError, checked::Checked, chunk::ChunkWriter, columns::Columns, flat::Flat, parents::Parents,
    shapes::Shapes, summary::Summary,
};
use crate::{
    block::File,
    merge::Inputs,
    schema::{self, Type, core},
};

/// Metadata of the file: CRC-32C of every page with its header, 8 hexadecimal digits each, in the order of the file.
pub const CHECKSUMS: &str = "clew.pages.crc32c";

/// Writes the file.
pub struct SpansWriter<W: Write + Send> {
    file: SerializedFileWriter<Checked<W>>,
    /// Each with the column that it is of.
    leaves: Vec<(usize, ColumnDescPtr)>,
    attributes: Vec<(String, Type)>,
    shapes: Option<Shapes>,
    layout: Layout,
    chunks: ChunkWriter,
    parents: Parents,
    checksums: String,
    summary: Summary,
}

/// What has been written.
pub struct Written<W> {
    /// What the meta says of the file.
    pub file: File,
    /// What it was written to.
    pub sink: W,
    /// What is in it.
    pub summary: Summary,
    /// What is not in it.
    pub shapes: Option<Shapes>,
}

impl<W: Write + Send> SpansWriter<W> {
    /// `attributes`: those with columns, sorted by key.
    pub fn new(
        to: W,
        attributes: Vec<(String, Type)>,
        shapes: Option<Shapes>,
        layout: Layout,
    ) -> Result<Self, WriteError> {
        let schema: SchemaRef = schema::with_attributes(attributes.iter().map(|(key, kind)| (key.as_str(), *kind)));
        let schema = shapes.as_ref().map_or_else(|| schema.clone(), |shapes| shapes.schema(&schema));
        let parquet = ArrowSchemaConverter::new().convert(&schema)?;
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("clew ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_sorting_columns(Some(vec![SortingColumn {
                column_idx: core::TRACE_ID as i32,
                descending: false,
                nulls_first: false,
            }]))
            .build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let leaves = parquet.columns().iter().enumerate();
        let leaves = leaves.map(|(at, leaf)| (parquet.get_column_root_idx(at), leaf.clone())).collect();
        let file = SerializedFileWriter::new(Checked::new(to), parquet.root_schema_ptr(), Arc::new(properties))?;
        Ok(Self {
            file,
            leaves,
            attributes,
            shapes,
            layout,
            chunks: ChunkWriter::new(layout)?,
            parents: Parents::default(),
            checksums: String::new(),
            summary: Summary::default(),
        })
    }

    /// Writes some rows, counted through all inputs, in the order of blocks, all after what was written before.
    pub fn write(&mut self, inputs: &mut dyn Inputs, rows: &[u32]) -> Result<(), WriteError> {
        if rows.is_empty() {
            return Ok(());
        }
        let traces = Flat::of(&inputs.core(core::TRACE_ID)?, core::TRACE_ID, Flat::append_ids)?;
        let traces: Vec<[u8; 16]> = traces.gather_all(rows);
        let groups = groups(&traces, self.layout.group_rows);
        let Self { chunks, leaves, .. } = self;
        let mut columns = Columns {
            chunks,
            leaves,
            inputs,
            rows,
            groups: &groups,
            done: Vec::new(),
            shapes: self.shapes.as_mut(),
            numbers: Vec::new(),
        };
        columns.write(&traces, &self.attributes, &mut self.parents, &mut self.summary)?;
        let done = columns.done;
        for chunks in done {
            let mut group = self.file.next_row_group()?;
            for chunk in chunks {
                use std::fmt::Write as _;
                for checksum in chunk.checksums {
                    let _ = write!(self.checksums, "{checksum:08x}");
                }
                group.append_column(&chunk.bytes, chunk.close)?;
            }
            group.close()?;
        }
        Ok(())
    }

    /// Writes the footer.
    pub fn finish(mut self) -> Result<Written<W>, WriteError> {
        self.file.append_key_value_metadata(KeyValue::new(CHECKSUMS.to_owned(), self.checksums));
        self.file.flush().map_err(WriteError::Io)?;
        self.file.inner_mut().begin_tail();
        self.file.finish()?;
        let checked = self.file.inner_mut().take();
        let (file, sink) = checked.ok_or(WriteError::TooMany)?;
        Ok(Written { file, sink, summary: self.summary, shapes: self.shapes })
    }
}

/// Cuts rows into row groups of about the same size, between traces where that can be.
fn groups(traces: &[[u8; 16]], most: usize) -> Vec<Range<usize>> {
    let count = traces.len().div_ceil(most).max(1);
    let size = traces.len().div_ceil(count);
    let mut groups = Vec::with_capacity(count);
    let mut start = 0;
    while start < traces.len() {
        let end = (start + size).min(traces.len());
        let mut cut = end;
        if end < traces.len() {
            cut = traces[..end].partition_point(|trace| *trace < traces[end]);
            if cut <= start + size / 2 {
                cut = end;
            }
        }
        groups.push(start..cut);
        start = cut;
    }
    groups
}
