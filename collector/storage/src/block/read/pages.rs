//! The pages of a row group for the parquet crate's array readers: only those that are asked for, with dictionaries from the
//! cache. The crate's own page reader makes a zstd context for each column, which is a third of a lookup.

use std::{cell::RefCell, collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::RowGroups,
    basic::Encoding,
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        page_index::offset_index::PageLocation,
        reader::ChunkReader,
    },
};
use uuid::Uuid;

use super::{
    Cache,
    file::{Pages, SpansFile},
    header::{Header, Kind},
};

/// A row group.
pub struct Group {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    pages: Pages,
    block: Uuid,
    cache: Arc<Cache>,
    /// Pages that were read to look at their levels, by where they start.
    read: HashMap<u64, Bytes>,
}

impl Group {
    /// A row group of a block's file.
    pub fn new(file: &SpansFile, group: usize, block: Uuid, cache: &Arc<Cache>) -> Self {
        Self {
            metadata: file.metadata.metadata().clone(),
            group,
            pages: file.pages(),
            block,
            cache: cache.clone(),
            read: HashMap::new(),
        }
    }

    /// Whether a column has values in some rows, as far as the page's levels tell it cheaply: true when in doubt. For a
    /// column of lists, whether it has lists there.
    pub fn has_values(&mut self, column: usize, rows: &Range<usize>) -> ParquetResult<bool> {
        let descriptor = self.metadata.file_metadata().schema_descr().column(column);
        if descriptor.max_def_level() == 0 {
            return Ok(true);
        }
        let locations = locations(&self.metadata, self.group, column)?;
        let page = locations.partition_point(|page| page.first_row_index <= rows.start as i64).saturating_sub(1);
        let Some(location) = locations.get(page) else { return Ok(true) };
        if locations.get(page + 1).is_some_and(|next| next.first_row_index < rows.end as i64) {
            return Ok(true);
        }
        let bytes = read(&self.pages, location)?;
        let (header, at) = Header::parse(&bytes)?;
        self.read.insert(location.offset as u64, bytes.clone());
        let Kind::DataV2 { values, nulls, repetition_bytes, definition_bytes, .. } = header.kind else {
            return Ok(true);
        };
        // A list may be there though its first field is null.
        if nulls == values && descriptor.max_rep_level() == 0 {
            return Ok(false);
        }
        let first = rows.start - location.first_row_index as usize..rows.end - location.first_row_index as usize;
        let body = &bytes[at..];
        let levels = body.get(..repetition_bytes + definition_bytes).unwrap_or_default();
        let (repetitions, definitions) = levels.split_at_checked(repetition_bytes).unwrap_or_default();
        if descriptor.max_rep_level() == 0 && descriptor.max_def_level() == 1 {
            return Ok(any_bit(definitions, first));
        }
        let bits = |most: i16| 16 - most.leading_zeros();
        let repetitions = hybrid(repetitions, bits(descriptor.max_rep_level()), values);
        let definitions = hybrid(definitions, bits(descriptor.max_def_level()), values);
        let mut row = 0usize;
        for (at, definition) in definitions.iter().enumerate() {
            // An entry begins a row unless it repeats.
            row += usize::from(at > 0 && repetitions.get(at).is_none_or(|repetition| *repetition == 0));
            if *definition > 0 && first.contains(&row) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn locations(metadata: &ParquetMetaData, group: usize, column: usize) -> ParquetResult<&[PageLocation]> {
    let index = metadata.offset_index().and_then(|index| index.get(group)?.get(column));
    index.map(|index| &index.page_locations()[..]).ok_or_else(|| wrong("it has no page index"))
}

fn read(pages: &Pages, location: &PageLocation) -> ParquetResult<Bytes> {
    let length = usize::try_from(location.compressed_page_size).map_err(|_| wrong("a page has no size"))?;
    pages.get_bytes(location.offset as u64, length)
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

impl RowGroups for Group {
    fn num_rows(&self) -> usize {
        self.metadata.row_group(self.group).num_rows() as usize
    }

    fn column_chunks(&self, column: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let chunk = self.metadata.row_group(self.group).column(column);
        let first = locations(&self.metadata, self.group, column)?.first().map(|page| page.offset);
        let dictionary = chunk.dictionary_page_offset().zip(first).map(|(start, end)| start as u64..end as u64);
        let starts = locations(&self.metadata, self.group, column)?.iter().map(|page| page.offset as u64);
        let pages = ColumnPages {
            metadata: self.metadata.clone(),
            group: self.group,
            column,
            pages: self.pages.clone(),
            block: self.block,
            cache: self.cache.clone(),
            dictionary,
            next: 0,
            read: starts.filter_map(|start| Some((start, self.read.get(&start)?.clone()))).next(),
        };
        Ok(Box::new(Once(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

struct Once(Option<ColumnPages>);

impl Iterator for Once {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for Once {}

/// The pages of a column chunk.
struct ColumnPages {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    column: usize,
    pages: Pages,
    block: Uuid,
    cache: Arc<Cache>,
    /// Where it lies, until it has been given.
    dictionary: Option<Range<u64>>,
    next: usize,
    /// A page that was read before.
    read: Option<(u64, Bytes)>,
}

impl ColumnPages {
    fn dictionary(&self, place: Range<u64>) -> ParquetResult<Page> {
        self.cache.dictionary(self.block, place.start, || {
            let bytes = self.pages.get_bytes(place.start, (place.end - place.start) as usize)?;
            page(&bytes)
        })
    }

    fn rows(&self, page: usize) -> ParquetResult<usize> {
        let locations = locations(&self.metadata, self.group, self.column)?;
        let all = self.metadata.row_group(self.group).num_rows();
        let end = locations.get(page + 1).map_or(all, |next| next.first_row_index);
        Ok((end - locations[page].first_row_index) as usize)
    }
}

impl PageReader for ColumnPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        if let Some(place) = self.dictionary.take() {
            return self.dictionary(place).map(Some);
        }
        let Some(location) = locations(&self.metadata, self.group, self.column)?.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        match self.read.take() {
            Some((start, bytes)) if start == location.offset as u64 => page(&bytes).map(Some),
            before => {
                self.read = before;
                page(&read(&self.pages, location)?).map(Some)
            }
        }
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        if self.dictionary.is_some() {
            return Ok(Some(PageMetadata { num_rows: None, num_levels: None, is_dict: true }));
        }
        if self.next == locations(&self.metadata, self.group, self.column)?.len() {
            return Ok(None);
        }
        Ok(Some(PageMetadata { num_rows: Some(self.rows(self.next)?), num_levels: None, is_dict: false }))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        if self.dictionary.take().is_none() {
            self.next += 1;
        }
        Ok(())
    }

    /// The page index names first rows: a page begins with a row.
    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        Ok(true)
    }
}

impl Iterator for ColumnPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Takes a page apart; its values are then not compressed.
fn page(bytes: &Bytes) -> ParquetResult<Page> {
    let (Header { kind, raw_bytes, body_bytes }, at) = Header::parse(bytes)?;
    let body = bytes.slice(at..);
    if body.len() != body_bytes {
        return Err(wrong("a page is not as long as it says"));
    }
    Ok(match kind {
        Kind::Dictionary { values, sorted } => Page::DictionaryPage {
            buf: inflate(&body, 0, raw_bytes)?,
            num_values: values as u32,
            encoding: Encoding::PLAIN,
            is_sorted: sorted,
        },
        Kind::Data { values, encoding } => Page::DataPage {
            buf: inflate(&body, 0, raw_bytes)?,
            num_values: values as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        },
        Kind::DataV2 { values, nulls, rows, encoding, definition_bytes, repetition_bytes, compressed } => {
            Page::DataPageV2 {
                buf: if compressed { inflate(&body, definition_bytes + repetition_bytes, raw_bytes)? } else { body },
                num_values: values as u32,
                encoding,
                num_nulls: nulls as u32,
                num_rows: rows as u32,
                def_levels_byte_len: definition_bytes as u32,
                rep_levels_byte_len: repetition_bytes as u32,
                is_compressed: false,
                statistics: None,
            }
        }
    })
}

/// The first `plain` bytes as they are, the others decompressed, together `raw_bytes`.
fn inflate(body: &[u8], plain: usize, raw_bytes: usize) -> ParquetResult<Bytes> {
    let (levels, packed) = body.split_at_checked(plain).ok_or_else(|| wrong("a page's levels are cut short"))?;
    let values = raw_bytes.checked_sub(plain).ok_or_else(|| wrong("a page is shorter than its levels"))?;
    if values == 0 {
        return Ok(Bytes::copy_from_slice(levels));
    }
    let inflated = ZSTD.with_borrow_mut(|zstd| {
        let zstd = match zstd {
            Some(zstd) => zstd,
            None => zstd.insert(zstd::bulk::Decompressor::new()?),
        };
        let mut raw = vec![0; raw_bytes];
        raw[..plain].copy_from_slice(levels);
        let written = zstd.decompress_to_buffer(packed, &mut raw[plain..])?;
        Ok((written == values).then_some(raw))
    });
    let inflated = inflated.map_err(|error: std::io::Error| ParquetError::External(error.into()))?;
    inflated.map(Bytes::from).ok_or_else(|| wrong("a page is not as long as it says"))
}

/// The runs of Parquet's hybrid of run lengths and packed bits: the number of values, and a value or their bytes.
fn runs(mut bytes: &[u8], bits: u32) -> impl Iterator<Item = (usize, Result<u8, &[u8]>)> {
    std::iter::from_fn(move || {
        let header = clew_common::otlp::wire::varint(&mut bytes)?;
        let count = usize::try_from(header >> 1).ok()?;
        if header & 1 == 0 {
            let (value, rest) = bytes.split_first()?;
            bytes = rest;
            return Some((count, Ok(*value)));
        }
        let (packed, rest) = bytes.split_at_checked(count.checked_mul(bits as usize)?)?;
        bytes = rest;
        Some((8 * count, Err(packed)))
    })
}

/// Whether one of some levels of one bit is set.
fn any_bit(bytes: &[u8], range: Range<usize>) -> bool {
    let mut first = 0;
    for (count, values) in runs(bytes, 1) {
        let (start, end) = (range.start.max(first), range.end.min(first + count));
        let set = |values: &[u8]| (start..end).any(|at| values[(at - first) / 8] >> ((at - first) % 8) & 1 == 1);
        if start < end && values.map_or_else(set, |value| value == 1) {
            return true;
        }
        first += count;
    }
    false
}

/// So many levels of so many bits.
fn hybrid(bytes: &[u8], bits: u32, count: usize) -> Vec<u8> {
    let mut levels = Vec::with_capacity(count);
    for (run, values) in runs(bytes, bits) {
        let run = run.min(count - levels.len());
        match values {
            Ok(value) => levels.resize(levels.len() + run, value),
            Err(packed) => levels.extend((0..run).map(|at| {
                let bit = at * bits as usize;
                let word = u16::from(packed[bit / 8]) | packed.get(bit / 8 + 1).map_or(0, |next| u16::from(*next) << 8);
                (word >> (bit % 8)) as u8 & ((1 << bits) - 1)
            })),
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_both_kinds_of_runs_are_found() {
        // Five zeros, eight packed bits, three ones.
        let bytes = [5 << 1, 0, 1 << 1 | 1, 0b0010_0000, 3 << 1, 1];
        assert_eq!(hybrid(&bytes, 1, 16), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1]);
        for at in 0..16 {
            assert_eq!(any_bit(&bytes, at..at + 1), [10, 13, 14, 15].contains(&at), "{at}");
        }
        assert!(!any_bit(&bytes, 0..10) && any_bit(&bytes, 0..11) && !any_bit(&bytes, 11..13));
        // Eight levels of three bits.
        let packed = [1 << 1 | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(hybrid(&packed, 3, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(hybrid(&[9], 3, 8).is_empty());
    }
}
