//! A column chunk: pages, their checksums, and what the file's footer says about them.

use std::io::ErrorKind;

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, Type, ZstdLevel},
    column::writer::ColumnCloseResult,
    file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder},
    schema::types::ColumnDescPtr,
};
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

use super::{
    Layout, WriteError,
    levels::Levels,
    stats::{self, Bounds},
    thrift::{Kind, page_header},
    values::{Packed, Values},
};

/// A finished column chunk.
pub struct Chunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
    /// CRC-32C of each page with its header, the dictionary's first.
    pub checksums: Vec<u32>,
}

/// A page with more than this is cut before its rows are full.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// Rows of fewer bytes, nulls counted, make longer pages, up to so many times as long; rows of more make shorter ones, down to the
/// layout's `least_page_rows`: a lookup inflates a page of each column.
const LIGHT_ROW_BYTES: usize = 1;
const HEAVY_ROW_BYTES: usize = 4;
const MOST_PAGES: usize = 8;

/// More bytes of levels are worth compressing.
const MAX_PLAIN_LEVELS: usize = 16;

/// A zstd block more takes no more than this.
const BLOCK_BYTES: usize = 64;

/// Makes chunks; keeps its buffers.
pub struct ChunkWriter {
    zstd: CCtx<'static>,
    layout: Layout,
    /// A page before and after compression.
    raw: Vec<u8>,
    packed: Vec<u8>,
    levels: Vec<u8>,
}

impl ChunkWriter {
    pub fn new(layout: Layout) -> Result<Self, WriteError> {
        let zstd = CCtx::try_create().ok_or_else(|| WriteError::Compress(ErrorKind::OutOfMemory.into()))?;
        Ok(Self { zstd, layout, raw: Vec::new(), packed: Vec::new(), levels: Vec::new() })
    }

    /// Writes a chunk. `bounds`: whether the footer shall say what the least and the greatest values are.
    pub fn write(
        &mut self,
        column: &ColumnDescPtr,
        levels: &Levels<'_>,
        values: &Values<'_>,
        bounds: bool,
    ) -> Result<Chunk, WriteError> {
        let packed = Packed::of(values);
        let mut pages = Pages::new(column.physical_type());
        let chunk_bounds = if bounds { Bounds::of(&packed, 0..packed.len()) } else { None };
        if let Some(dictionary) = packed.dictionary() {
            self.raw.clear();
            dictionary.plain(&mut self.raw);
            let kind = Kind::Dictionary { values: dictionary.len(), sorted: dictionary.sorted() };
            let raw_bytes = self.raw.len();
            self.set_level(self.layout.level)?;
            self.compress(0)?;
            pages.dictionary(&kind, raw_bytes, &self.packed);
        }
        self.set_level(if packed.has_long_matches() { self.layout.level } else { self.layout.level.min(1) })?;
        let mut first = Cut::default();
        let page_rows = self.page_rows(levels, &packed);
        while first.row < levels.rows() || first.row == 0 && levels.rows() == 0 && pages.count == 0 {
            let end = cut(levels, &packed, &first, page_rows);
            self.page(&mut pages, levels, &packed, &first, &end)?;
            let page_bounds = if bounds { Bounds::of(&packed, first.value..end.value) } else { None };
            let nulls = (end.level - first.level) - (end.value - first.value);
            pages.bounds(page_bounds, first.value == end.value, nulls);
            first = end;
        }
        pages.finish(column, levels, &packed, chunk_bounds)
    }

    /// How many rows make a page: more where they are small, since each page has its own header, zstd frame and index entry.
    fn page_rows(&self, levels: &Levels<'_>, packed: &Packed<'_>) -> usize {
        let rows = self.layout.page_rows;
        let bytes = packed.raw_bytes(0..packed.len()) + levels.len() / 8;
        if packed.len() == 0 {
            return levels.rows();
        }
        let wanted = (rows * bytes / levels.rows().max(1)).clamp(LIGHT_ROW_BYTES * rows, HEAVY_ROW_BYTES * rows);
        let wanted = wanted * levels.rows() / bytes.max(1);
        (wanted.clamp(self.layout.least_page_rows.min(rows), MOST_PAGES * rows) / 8 * 8).max(8)
    }

    fn page(
        &mut self,
        pages: &mut Pages,
        levels: &Levels<'_>,
        packed: &Packed<'_>,
        first: &Cut,
        end: &Cut,
    ) -> Result<(), WriteError> {
        let (rows, level_count, value_count) = (end.row - first.row, end.level - first.level, end.value - first.value);
        self.levels.clear();
        let (repetition_bytes, definition_bytes) = levels.encode(first, end, &mut self.levels);
        self.raw.clear();
        // Bitmaps of nulls repeat themselves from trace to trace: pages with many levels have them compressed.
        if packed.compresses() && self.levels.len() > MAX_PLAIN_LEVELS {
            let (repetitions, definitions) = self.levels.split_at(repetition_bytes);
            for levels in [repetitions, definitions].into_iter().filter(|levels| !levels.is_empty()) {
                self.raw.extend_from_slice(&(levels.len() as u32).to_le_bytes());
                self.raw.extend_from_slice(levels);
            }
            let level_bytes = self.raw.len();
            packed.encode(first.value..end.value, &mut self.raw);
            self.compress(level_bytes)?;
            let kind = Kind::Data { values: level_count, encoding: packed.encoding() };
            pages.data(&kind, self.raw.len(), &self.packed, rows);
            return Ok(());
        }
        packed.encode(first.value..end.value, &mut self.raw);
        let raw_bytes = self.levels.len() + self.raw.len();
        let compressed = packed.compresses() && self.compress(0)?;
        self.levels.extend_from_slice(if compressed { &self.packed } else { &self.raw });
        let kind = Kind::DataV2 {
            values: level_count,
            nulls: level_count - value_count,
            rows,
            encoding: packed.encoding(),
            definition_bytes,
            repetition_bytes,
            compressed,
        };
        pages.data(&kind, raw_bytes, &self.levels, rows);
        Ok(())
    }

    fn set_level(&mut self, level: i32) -> Result<(), WriteError> {
        self.zstd.reset(ResetDirective::SessionOnly).map_err(failed)?;
        self.zstd.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        Ok(())
    }

    /// Compresses `raw` into `packed`; says whether that is worth reading it. The first `apart` bytes get a zstd block of their
    /// own: bitmaps and values have little in common.
    fn compress(&mut self, apart: usize) -> Result<bool, WriteError> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.raw.len()) + BLOCK_BYTES);
        if apart == 0 {
            self.zstd.compress2(&mut self.packed, &self.raw).map_err(failed)?;
        } else {
            self.zstd.reset(ResetDirective::SessionOnly).map_err(failed)?;
            self.zstd.set_pledged_src_size(Some(self.raw.len() as u64)).map_err(failed)?;
            let mut out = OutBuffer::around(&mut self.packed);
            let (first, rest) = self.raw.split_at(apart);
            for (part, end) in [(first, ZSTD_EndDirective::ZSTD_e_flush), (rest, ZSTD_EndDirective::ZSTD_e_end)] {
                let left = self.zstd.compress_stream2(&mut out, &mut InBuffer::around(part), end).map_err(failed)?;
                if left > 0 {
                    return Err(WriteError::Compress(ErrorKind::WriteZero.into()));
                }
            }
        }
        Ok(self.packed.len() < self.raw.len() - self.raw.len() / 16)
    }
}

/// Where the page that begins at `first` ends.
fn cut(levels: &Levels<'_>, packed: &Packed<'_>, first: &Cut, page_rows: usize) -> Cut {
    let mut rows = page_rows.min(levels.rows() - first.row);
    loop {
        let end = levels.advance(first, rows);
        if rows <= 1 || packed.raw_bytes(first.value..end.value) <= MAX_PAGE_BYTES {
            return end;
        }
        // Eight rows, or fewer, keep bitmaps aligned as long as it can be.
        rows = if rows > 8 { (rows / 2).next_multiple_of(8).min(rows - 1).max(8) } else { rows / 2 };
    }
}

fn failed(code: usize) -> WriteError {
    WriteError::Compress(std::io::Error::other(zstd::zstd_safe::get_error_name(code)))
}

/// A place between two rows of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    pub row: usize,
    /// Rows and what lists add to them.
    pub level: usize,
    /// Values that are not null.
    pub value: usize,
}

/// The pages so far.
struct Pages {
    bytes: Vec<u8>,
    checksums: Vec<u32>,
    raw_bytes: usize,
    dictionary_bytes: Option<usize>,
    count: usize,
    offsets: OffsetIndexBuilder,
    index: ColumnIndexBuilder,
}

impl Pages {
    fn new(physical: Type) -> Self {
        Self {
            bytes: Vec::new(),
            checksums: Vec::new(),
            raw_bytes: 0,
            dictionary_bytes: None,
            count: 0,
            offsets: OffsetIndexBuilder::new(),
            index: ColumnIndexBuilder::new(physical),
        }
    }

    fn append(&mut self, kind: &Kind, raw_bytes: usize, body: &[u8]) -> usize {
        let start = self.bytes.len();
        page_header(kind, raw_bytes, body, &mut self.bytes);
        self.raw_bytes += self.bytes.len() - start + raw_bytes;
        self.bytes.extend_from_slice(body);
        self.checksums.push(crc32c::crc32c(&self.bytes[start..]));
        start
    }

    fn dictionary(&mut self, kind: &Kind, raw_bytes: usize, body: &[u8]) {
        self.append(kind, raw_bytes, body);
        self.dictionary_bytes = Some(self.bytes.len());
    }

    fn data(&mut self, kind: &Kind, raw_bytes: usize, body: &[u8], rows: usize) {
        let start = self.append(kind, raw_bytes, body);
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(start as i64, (self.bytes.len() - start) as i32);
        self.count += 1;
    }

    fn bounds(&mut self, bounds: Option<Bounds>, null_page: bool, nulls: usize) {
        match bounds {
            Some(bounds) => self.index.append(false, bounds.min, bounds.max, nulls as i64),
            None if null_page => self.index.append(true, Vec::new(), Vec::new(), nulls as i64),
            None => self.index.to_invalid(),
        }
    }

    fn finish(
        self,
        column: &ColumnDescPtr,
        levels: &Levels<'_>,
        packed: &Packed<'_>,
        bounds: Option<Bounds>,
    ) -> Result<Chunk, WriteError> {
        let nulls = (levels.len() - packed.len()) as u64;
        let mut encodings = vec![packed.encoding(), Encoding::RLE];
        if self.dictionary_bytes.is_some() {
            encodings.push(Encoding::PLAIN);
        }
        let compression =
            if packed.compresses() { Compression::ZSTD(ZstdLevel::default()) } else { Compression::UNCOMPRESSED };
        let mut metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(compression)
            .set_encodings(encodings)
            .set_total_compressed_size(self.bytes.len() as i64)
            .set_total_uncompressed_size(self.raw_bytes as i64)
            .set_num_values(levels.len() as i64)
            .set_data_page_offset(self.dictionary_bytes.unwrap_or(0) as i64)
            .set_dictionary_page_offset(self.dictionary_bytes.map(|_| 0));
        if let Some(statistics) = stats::chunk(column.physical_type(), bounds, nulls) {
            metadata = metadata.set_statistics(statistics);
        }
        let column_index = if self.index.valid() { Some(self.index.build()?) } else { None };
        let close = ColumnCloseResult {
            bytes_written: self.bytes.len() as u64,
            rows_written: levels.rows() as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offsets.build()),
        };
        Ok(Chunk { bytes: self.bytes.into(), close, checksums: self.checksums })
    }
}
