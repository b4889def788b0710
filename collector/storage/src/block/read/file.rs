//! `spans.parquet`: its footer, and pages whose checksums are looked at when they are read.

use std::{io, ops::Range, sync::Arc};

use bytes::{Buf, Bytes, buf::Reader};
use parking_lot::Mutex;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    },
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader, RowGroupMetaData},
        reader::{ChunkReader, Length},
    },
    schema::types::SchemaDescriptor,
};

use super::{
    Why,
    directory::{Directory, Page},
    scratch::Scratch,
};
use crate::{
    block::{
        File,
        shapes::{Columns, Shapes},
    },
    store::{Source, Store},
};

/// The file, open: its footer and the directory of its pages are in memory.
pub struct SpansFile {
    source: Arc<dyn Source>,
    /// Footer and Arrow's schema, without page indexes.
    pub metadata: ArrowReaderMetadata,
    /// What page indexes say.
    pub directory: Directory,
    /// The leaves of each column of the file.
    pub leaves: Vec<Range<usize>>,
    /// The columns of its spans, here and in shapes.
    pub columns: Columns,
}

impl SpansFile {
    /// Opens the file at `path`, which is as the block's meta says.
    pub fn open(store: &dyn Store, path: &str, said: &File, shapes: Option<Shapes>) -> Result<Self, Why> {
        let tail = said.tail.ok_or_else(|| Why::Columns("the meta does not say where its footer is".to_owned()))?;
        let start = said.bytes.checked_sub(tail.bytes).ok_or(Why::Checksum("its footer is larger than it is"))?;
        let source = store.open(path)?;
        let bytes = source.read(start..said.bytes)?;
        if crc32c::crc32c(&bytes) != tail.crc32c {
            return Err(Why::Checksum("the checksum of its footer is wrong"));
        }
        let footer = Tail { bytes, start };
        let reader = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(&footer)?;
        let directory = Directory::new(&metadata, &footer.bytes, start)?;
        let metadata = metadata.into_builder().set_offset_index(None).build();
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())?;
        let columns = Columns::new(metadata.schema(), shapes)?;
        let leaves = leaves(metadata.parquet_schema());
        Ok(Self { source, metadata, directory, leaves, columns })
    }

    /// Bytes of memory, about. The parquet crate would count what columns share for each of them.
    pub fn bytes(&self) -> usize {
        let shapes = self.columns.shapes.as_ref().map_or(0, |(_, shapes)| shapes.bytes());
        let groups = self.metadata.metadata().row_groups();
        let chunks: usize = groups.iter().map(RowGroupMetaData::num_columns).sum();
        chunks * size_of::<ColumnChunkMetaData>() + self.directory.bytes() + shapes
    }

    /// For reading pages here and there.
    pub fn pages(&self) -> Pages {
        Pages { source: self.source.clone(), ahead: Vec::new() }
    }

    /// For reading the pages of some leaves of a row group, all of them.
    pub fn group(&self, group: usize, leaves: &ProjectionMask) -> Result<Pages, Why> {
        let mut pages = self.pages();
        if self.source.is_remote() {
            let all = 0..self.metadata.parquet_schema().num_columns();
            let leaves = all.filter(|leaf| leaves.leaf_included(*leaf));
            let ranges = leaves.flat_map(|leaf| self.directory.all(group, leaf)).map(Page::range);
            let start = ranges.clone().map(|range| range.start).min().unwrap_or(0);
            let end = ranges.map(|range| range.end).max().unwrap_or(0);
            pages.ahead = vec![(start, self.source.read(start..end)?)];
        }
        Ok(pages)
    }
}

/// The leaves of each column.
fn leaves(schema: &SchemaDescriptor) -> Vec<Range<usize>> {
    let mut leaves = Vec::<Range<usize>>::new();
    for leaf in 0..schema.num_columns() {
        match leaves.get_mut(schema.get_column_root_idx(leaf)) {
            Some(of_column) => of_column.end = leaf + 1,
            None => leaves.push(leaf..leaf + 1),
        }
    }
    leaves
}

/// Row groups that several readers go through, one beside the other. From another machine a row group is read at once, and once.
pub struct Groups {
    file: Arc<SpansFile>,
    read: Mutex<Vec<(usize, Pages)>>,
}

impl Groups {
    /// Those of a file.
    pub fn new(file: Arc<SpansFile>) -> Self {
        Self { file, read: Mutex::default() }
    }

    /// The pages of a row group.
    pub fn pages(&self, group: usize) -> Result<Pages, Why> {
        let mut read = self.read.lock();
        if let Some((_, pages)) = read.iter().find(|(other, _)| *other == group) {
            return Ok(pages.clone());
        }
        let pages = self.file.group(group, &ProjectionMask::all())?;
        if pages.are_remote() {
            read.push((group, pages.clone()));
        }
        Ok(pages)
    }

    /// No reader comes back to those before this one.
    pub fn forget_before(&self, group: usize) {
        self.read.lock().retain(|(other, _)| *other >= group);
    }
}

/// Reads pages, and looks at their checksums.
#[derive(Clone)]
pub struct Pages {
    source: Arc<dyn Source>,
    /// What was read ahead, and where it starts; in order.
    ahead: Vec<(u64, Bytes)>,
}

impl Pages {
    /// Whether it is better to read ahead.
    pub fn are_remote(&self) -> bool {
        self.source.is_remote()
    }

    /// Reads these pages, in order, at once, for a reader who has some already; gives them, checked.
    pub fn read_ahead(&mut self, pages: &[Page], mut known: Vec<(u64, Bytes)>) -> ParquetResult<Vec<(u64, Bytes)>> {
        let ranges = pages.iter().map(Page::range).collect();
        let parts = if pages.is_empty() { Ok(Vec::new()) } else { self.source.read_all(ranges) };
        let parts = parts.map_err(|error| ParquetError::External(error.into()))?;
        let check = |(page, bytes): (&Page, Bytes)| checked(page, &bytes).map(|()| (page.start, bytes));
        let read = pages.iter().zip(parts).map(check).collect::<ParquetResult<Vec<_>>>()?;
        known.extend(read.iter().cloned());
        known.sort_unstable_by_key(|(start, _)| *start);
        self.ahead = known;
        Ok(read)
    }

    /// A page, if it is as it was written.
    pub fn read(&self, page: &Page) -> ParquetResult<Bytes> {
        let bytes = match self.read_before(page) {
            Some(bytes) => bytes,
            None => self.source.read(page.range()).map_err(|error| ParquetError::External(error.into()))?,
        };
        checked(page, &bytes).map(|()| bytes)
    }

    /// The same, for those who do not keep it.
    pub fn glance(&self, page: &Page) -> ParquetResult<Bytes> {
        if self.are_remote() {
            return self.read(page);
        }
        let mut scratch = Scratch::with_room(page.bytes as usize);
        self.source.read_into(page.range(), &mut scratch).map_err(|error| ParquetError::External(error.into()))?;
        checked(page, &scratch).map(|()| scratch.into_bytes())
    }

    fn read_before(&self, page: &Page) -> Option<Bytes> {
        let range = page.range();
        let (first, ahead) = self.ahead[..self.ahead.partition_point(|(first, _)| *first <= range.start)].last()?;
        let inside = range.end - first <= ahead.len() as u64;
        inside.then(|| ahead.slice((range.start - first) as usize..(range.end - first) as usize))
    }
}

fn checked(page: &Page, bytes: &[u8]) -> ParquetResult<()> {
    match crc32c::crc32c(bytes) == page.checksum {
        true => Ok(()),
        false => Err(damaged(format!("the checksum of the page at byte {} is wrong", page.start))),
    }
}

fn damaged(what: String) -> ParquetError {
    ParquetError::External(io::Error::new(io::ErrorKind::InvalidData, what).into())
}

/// The end of a file.
struct Tail {
    bytes: Bytes,
    start: u64,
}

impl Length for Tail {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Tail {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let length = self.len().saturating_sub(start) as usize;
        Ok(self.get_bytes(start, length)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let range = at.and_then(|at| Some(at..at.checked_add(length)?)).filter(|range| range.end <= self.bytes.len());
        let range = range.ok_or_else(|| damaged(format!("byte {start} is not in the footer")))?;
        Ok(self.bytes.slice(range))
    }
}
