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
        metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
        page_index::column_index::ColumnIndexMetaData,
        reader::{ChunkReader, Length},
    },
};

use super::Why;
use crate::{
    block::{
        CHECKSUMS, File,
        shapes::{Columns, Shapes},
    },
    schema::core,
    store::{Source, Store},
};

/// The file, open: its footer and page indexes are in memory.
pub struct SpansFile {
    source: Arc<dyn Source>,
    length: u64,
    /// Footer, page indexes and Arrow's schema.
    pub metadata: ArrowReaderMetadata,
    /// The columns of its spans, here and in shapes.
    pub columns: Columns,
    /// Where each page starts, and its checksum, in the order of the file.
    checksums: Arc<[(u64, u32)]>,
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
        let metadata =
            ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required).parse_and_finish(&footer)?;
        let metadata = with_bounds_of_traces(metadata);
        let checksums = checksums(&metadata)?;
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())?;
        let columns = Columns::new(metadata.schema(), shapes)?;
        Ok(Self { source, length: said.bytes, metadata, columns, checksums })
    }

    /// Bytes of memory, about. The parquet crate would count what columns share for each of them.
    pub fn bytes(&self) -> usize {
        let shapes = self.columns.shapes.as_ref().map_or(0, |(_, shapes)| shapes.bytes());
        let groups = self.metadata.metadata().row_groups();
        let chunks: usize = groups.iter().map(RowGroupMetaData::num_columns).sum();
        // A page has a place, a checksum here and one in the file's metadata; some have bounds.
        chunks * size_of::<ColumnChunkMetaData>() + 64 * self.checksums.len() + shapes
    }

    /// For reading pages here and there.
    pub fn pages(&self) -> Pages {
        Pages { source: self.source.clone(), length: self.length, checksums: self.checksums.clone(), ahead: Vec::new() }
    }

    /// For reading the pages of some leaves of a row group, all of them.
    pub fn group(&self, group: usize, leaves: &ProjectionMask) -> Result<Pages, Why> {
        let mut pages = self.pages();
        if self.source.is_remote() {
            let columns = self.metadata.metadata().row_group(group).columns().iter().enumerate();
            let columns = columns.filter(|(leaf, _)| leaves.leaf_included(*leaf));
            let ranges = columns.map(|(_, column)| column.byte_range());
            let start = ranges.clone().map(|(start, _)| start).min().unwrap_or(0);
            let end = ranges.map(|(start, bytes)| start + bytes).max().unwrap_or(0);
            pages.ahead = vec![(start, self.source.read(start..end)?)];
        }
        Ok(pages)
    }
}

/// Without the bounds of pages but those of trace ids: nobody asks for the others, and they are most of what a footer has.
fn with_bounds_of_traces(metadata: ParquetMetaData) -> ParquetMetaData {
    let mut builder = metadata.into_builder();
    let of_traces = |(leaf, bounds): (usize, ColumnIndexMetaData)| match leaf {
        core::TRACE_ID => bounds,
        _ => ColumnIndexMetaData::NONE,
    };
    let bounds = builder.take_column_index().map(|groups| {
        groups.into_iter().map(|columns| columns.into_iter().enumerate().map(of_traces).collect()).collect()
    });
    builder.set_column_index(bounds).build()
}

/// Where a column's dictionary is, if it has one.
pub fn dictionary_place(chunk: &ColumnChunkMetaData) -> ParquetResult<Option<Range<u64>>> {
    let Some(start) = chunk.dictionary_page_offset() else { return Ok(None) };
    match (u64::try_from(start), u64::try_from(chunk.data_page_offset())) {
        (Ok(start), Ok(end)) if start <= end => Ok(Some(start..end)),
        _ => Err(ParquetError::General("a dictionary has no size".to_owned())),
    }
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

/// Where pages start, with their checksums from the file's metadata.
fn checksums(metadata: &ParquetMetaData) -> Result<Arc<[(u64, u32)]>, Why> {
    let listed = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let listed = listed.filter(|entry| entry.key == CHECKSUMS).find_map(|entry| entry.value.as_deref());
    let listed = listed.ok_or_else(|| Why::Columns(format!("it has no {CHECKSUMS}")))?;
    let mut starts = Vec::new();
    let indexes = metadata.offset_index().into_iter().flatten();
    for (group, index) in metadata.row_groups().iter().zip(indexes) {
        starts.extend(group.columns().iter().filter_map(|column| column.dictionary_page_offset()).map(|at| at as u64));
        starts.extend(index.iter().flat_map(|index| index.page_locations()).map(|page| page.offset as u64));
    }
    starts.sort_unstable();
    let (digits, rest) = listed.as_bytes().as_chunks::<8>();
    if digits.len() != starts.len() || !rest.is_empty() {
        return Err(Why::Columns(format!("it has {} pages and {} checksums", starts.len(), digits.len())));
    }
    let parse = |digits: &[u8; 8]| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
    let all = starts.into_iter().zip(digits).map(|(start, digits)| Some((start, parse(digits)?)));
    all.collect::<Option<_>>().ok_or_else(|| Why::Columns(format!("its {CHECKSUMS} are no numbers")))
}

/// Reads pages, and looks at their checksums.
#[derive(Clone)]
pub struct Pages {
    source: Arc<dyn Source>,
    length: u64,
    checksums: Arc<[(u64, u32)]>,
    /// What was read ahead, and where it starts; in order.
    ahead: Vec<(u64, Bytes)>,
}

impl Pages {
    /// Whether it is better to read ahead.
    pub fn are_remote(&self) -> bool {
        self.source.is_remote()
    }

    /// Reads these ranges, in order, at once, for a reader who has some already; gives them.
    pub fn read_ahead(
        &mut self,
        ranges: Vec<Range<u64>>,
        mut known: Vec<(u64, Bytes)>,
    ) -> ParquetResult<Vec<(u64, Bytes)>> {
        let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
        let parts = if ranges.is_empty() { Ok(Vec::new()) } else { self.source.read_all(ranges) };
        let parts = parts.map_err(|error| ParquetError::External(error.into()))?;
        let read: Vec<_> = starts.into_iter().zip(parts).collect();
        known.extend(read.iter().cloned());
        known.sort_unstable_by_key(|(start, _)| *start);
        self.ahead = known;
        Ok(read)
    }

    /// A page that starts at `start`, if it is as it was written.
    pub fn checked(&self, start: u64, page: Bytes) -> ParquetResult<Bytes> {
        match self.checksums.binary_search_by_key(&start, |(start, _)| *start).map(|at| self.checksums[at].1) {
            Ok(checksum) if checksum == crc32c::crc32c(&page) => Ok(page),
            Ok(_) => Err(damaged(format!("the checksum of the page at byte {start} is wrong"))),
            Err(_) => Err(damaged(format!("there is no page at byte {start}"))),
        }
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = Reader<Bytes>;

    /// Not used: with page indexes, whole pages are asked for.
    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Err(ParquetError::General(format!("nothing reads on from byte {start}")))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start + length as u64;
        let ahead = self.ahead[..self.ahead.partition_point(|(first, _)| *first <= start)].last();
        let bytes = match ahead.filter(|(first, ahead)| end - first <= ahead.len() as u64) {
            Some((first, ahead)) => ahead.slice((start - first) as usize..(end - first) as usize),
            None => self.source.read(start..end).map_err(|error| ParquetError::External(error.into()))?,
        };
        self.checked(start, bytes)
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
