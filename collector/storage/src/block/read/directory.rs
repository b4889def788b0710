//! Where the pages of `spans.parquet` are, and which traces are in which of them: what lookups need of the footer, close together.

use std::ops::Range;

use parquet::file::metadata::ParquetMetaData;

use super::{Why, header::bounds_of_ids};
use crate::{block::CHECKSUMS, schema::core};

/// The pages of a file.
pub struct Directory {
    leaves: usize,
    /// Where the pages of each column chunk begin in `pages`, by row group and leaf, and where the last one's end.
    chunks: Vec<u32>,
    pages: Vec<Page>,
    /// The pages of trace ids, in the order of the traces.
    traces: Vec<Traces>,
}

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it starts in the file.
    pub start: u64,
    /// How long it is, with its header.
    pub bytes: u32,
    /// CRC-32C of these bytes.
    pub checksum: u32,
    first_row: u32,
    /// [`DICTIONARY`]: it is none of data.
    rows: u32,
}

const DICTIONARY: u32 = u32::MAX;

/// Of each page the file's metadata has so many hexadecimal ones.
const CHECKSUM_DIGITS: usize = 8;

impl Page {
    /// Whether it is a dictionary.
    pub fn is_dictionary(&self) -> bool {
        self.rows == DICTIONARY
    }

    /// Its rows, in the row group, unless it is a dictionary.
    pub fn rows(&self) -> Range<usize> {
        self.first_row as usize..self.first_row as usize + self.rows as usize
    }

    /// Its bytes, in the file.
    pub fn range(&self) -> Range<u64> {
        self.start..self.start + u64::from(self.bytes)
    }
}

/// The rows of a page of trace ids.
struct Traces {
    group: u32,
    first_row: u32,
    rows: u32,
    least: [u8; 16],
    greatest: [u8; 16],
}

impl Directory {
    /// What a footer says: the end of a file, from `start` on.
    pub fn new(metadata: &ParquetMetaData, footer: &[u8], start: u64) -> Result<Self, Why> {
        let leaves = metadata.file_metadata().schema_descr().num_columns();
        let indexes = metadata.offset_index().into_iter().flatten().flatten();
        // As many as there are at most: to grow takes longer than the rest.
        let pages = indexes.map(|index| index.page_locations().len() + 1).sum();
        let mut directory = Self { leaves, chunks: vec![0], pages: Vec::with_capacity(pages), traces: Vec::new() };
        for group in 0..metadata.num_row_groups() {
            for leaf in 0..leaves {
                directory
                    .chunk(metadata, group, leaf, start)
                    .ok_or_else(|| wrong("its pages are not where it says"))?;
            }
            directory.traces(metadata, group, footer, start)?;
        }
        directory.checksums(metadata)?;
        directory.chunks.shrink_to_fit();
        directory.pages.shrink_to_fit();
        directory.traces.shrink_to_fit();
        Ok(directory)
    }

    fn chunk(&mut self, metadata: &ParquetMetaData, group: usize, leaf: usize, footer: u64) -> Option<()> {
        let chunk = metadata.row_group(group).column(leaf);
        let locations = metadata.offset_index()?.get(group)?.get(leaf)?.page_locations();
        let all = u32::try_from(metadata.row_group(group).num_rows()).ok().filter(|rows| *rows < DICTIONARY)?;
        let mut push = |start: i64, bytes: i64, first_row: u32, rows: u32| {
            let (start, bytes) = (u64::try_from(start).ok()?, u32::try_from(bytes).ok()?);
            start.checked_add(bytes.into()).filter(|end| *end <= footer)?;
            self.pages.push(Page { start, bytes, checksum: 0, first_row, rows });
            Some(())
        };
        if let Some(start) = chunk.dictionary_page_offset() {
            push(start, chunk.data_page_offset().checked_sub(start)?, 0, DICTIONARY)?;
        }
        let ends = locations.iter().skip(1).map(|next| next.first_row_index).chain([all.into()]);
        let mut row = 0;
        for (page, end) in locations.iter().zip(ends) {
            let rows = u32::try_from(end).ok().filter(|end| *end <= all)?.checked_sub(row)?;
            if page.first_row_index != i64::from(row) {
                return None;
            }
            push(page.offset, page.compressed_page_size.into(), row, rows)?;
            row += rows;
        }
        self.chunks.push(u32::try_from(self.pages.len()).ok()?);
        Some(())
    }

    fn traces(&mut self, metadata: &ParquetMetaData, group: usize, footer: &[u8], start: u64) -> Result<(), Why> {
        let bounds = || {
            let chunk = metadata.row_group(group).columns().get(core::TRACE_ID)?;
            let from = usize::try_from(u64::try_from(chunk.column_index_offset()?).ok()?.checked_sub(start)?).ok()?;
            let end = from.checked_add(usize::try_from(chunk.column_index_length()?).ok()?)?;
            bounds_of_ids(footer.get(from..end)?)
        };
        let bounds = bounds().ok_or_else(|| wrong("it has no page index of trace ids"))?;
        let pages = self.pages(group, core::TRACE_ID).to_vec();
        if bounds.len() != pages.len() {
            return Err(wrong("its page index does not say of each page which traces it has"));
        }
        for (page, (least, greatest)) in pages.into_iter().zip(bounds) {
            if least > greatest || self.traces.last().is_some_and(|before| before.greatest > least) {
                return Err(wrong("its traces are not in order"));
            }
            let (first_row, rows) = (page.first_row, page.rows);
            self.traces.push(Traces { group: group as u32, first_row, rows, least, greatest });
        }
        Ok(())
    }

    /// The file's metadata has the checksums of pages in the order of the file.
    fn checksums(&mut self, metadata: &ParquetMetaData) -> Result<(), Why> {
        let listed = metadata.file_metadata().key_value_metadata().into_iter().flatten();
        let listed = listed.filter(|entry| entry.key == CHECKSUMS).find_map(|entry| entry.value.as_deref());
        let listed = listed.ok_or_else(|| Why::Columns(format!("it has no {CHECKSUMS}")))?;
        let (digits, rest) = listed.as_bytes().as_chunks::<CHECKSUM_DIGITS>();
        if digits.len() != self.pages.len() || !rest.is_empty() {
            return Err(Why::Columns(format!("it has {} pages and {} checksums", self.pages.len(), digits.len())));
        }
        let mut in_order: Vec<&mut Page> = self.pages.iter_mut().collect();
        in_order.sort_by_key(|page| page.start);
        for (page, digits) in in_order.into_iter().zip(digits) {
            let checksum = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            page.checksum = checksum.ok_or_else(|| Why::Columns(format!("its {CHECKSUMS} are no numbers")))?;
        }
        Ok(())
    }

    /// Bytes of memory, about, with the text of the checksums, which stays in the file's metadata.
    pub fn bytes(&self) -> usize {
        let text = CHECKSUM_DIGITS * self.pages.len();
        size_of_val(&*self.chunks) + size_of_val(&*self.pages) + size_of_val(&*self.traces) + text
    }

    /// The pages of a column chunk, the dictionary first.
    pub fn all(&self, group: usize, leaf: usize) -> &[Page] {
        let chunk = group * self.leaves + leaf;
        let (start, end) = (self.chunks.get(chunk), self.chunks.get(chunk + 1));
        start.zip(end).and_then(|(start, end)| self.pages.get(*start as usize..*end as usize)).unwrap_or_default()
    }

    /// The dictionary of a column chunk.
    pub fn dictionary(&self, group: usize, leaf: usize) -> Option<&Page> {
        self.all(group, leaf).first().filter(|page| page.is_dictionary())
    }

    /// The pages of a column chunk that have data, in order.
    pub fn pages(&self, group: usize, leaf: usize) -> &[Page] {
        match self.all(group, leaf) {
            [dictionary, pages @ ..] if dictionary.is_dictionary() => pages,
            pages => pages,
        }
    }

    /// Those that have some of a row group's rows.
    pub fn pages_of(&self, group: usize, leaf: usize, rows: &Range<usize>) -> &[Page] {
        let pages = self.pages(group, leaf);
        let first = pages.partition_point(|page| page.rows().end <= rows.start);
        let count = pages[first..].iter().take_while(|page| page.rows().start < rows.end).count();
        &pages[first..first + count]
    }

    /// The row groups and their rows that a trace may be among: whole pages of trace ids.
    pub fn near(&self, trace: &[u8; 16]) -> impl Iterator<Item = (usize, Range<usize>)> {
        let first = self.traces.partition_point(|page| page.greatest < *trace);
        let end = first + self.traces[first..].partition_point(|page| page.least <= *trace);
        let groups = self.traces[first..end].chunk_by(|a, b| a.group == b.group);
        groups.filter_map(|pages| {
            let (first, last) = (pages.first()?, pages.last()?);
            Some((first.group as usize, first.first_row as usize..last.first_row as usize + last.rows as usize))
        })
    }
}

fn wrong(what: &str) -> Why {
    Why::Columns(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{FixedSizeBinaryArray, RecordBatch};
    use bytes::Bytes;
    use parquet::{
        arrow::ArrowWriter,
        file::{
            metadata::{PageIndexPolicy, ParquetMetaDataReader},
            page_index::column_index::ColumnIndexMetaData,
            properties::WriterProperties,
        },
    };

    use super::*;

    /// The footer of a file of so many ids, ten a page; itself, and where it starts.
    fn footer(ids: u128) -> (ParquetMetaData, Vec<u8>, u64) {
        let ids = FixedSizeBinaryArray::try_from_iter((0..ids).map(u128::to_be_bytes)).unwrap();
        let batch = RecordBatch::try_from_iter([("trace_id", Arc::new(ids) as _)]).unwrap();
        let properties = WriterProperties::builder().set_data_page_row_count_limit(10).set_write_batch_size(10);
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(&Bytes::from(file.clone())).unwrap();
        let (start, bytes) = metadata.row_group(0).column(0).byte_range();
        let start = start + bytes;
        (metadata, file.split_off(start as usize), start)
    }

    #[test]
    fn page_indexes_that_do_not_fit_each_other_are_an_error() {
        let why = |footer: &(ParquetMetaData, Vec<u8>, u64)| {
            Directory::new(&footer.0, &footer.1, footer.2).err().unwrap().to_string()
        };
        // Only the checksums are missing.
        assert!(why(&footer(100)).contains(CHECKSUMS), "{}", why(&footer(100)));
        let with_pages_of = |other: u128| {
            let (metadata, bytes, start) = footer(100);
            let index = footer(other).0.offset_index().cloned();
            (metadata.into_builder().set_offset_index(index).build(), bytes, start)
        };
        assert!(why(&with_pages_of(20)).contains("which traces it has"), "{}", why(&with_pages_of(20)));
        assert!(why(&with_pages_of(200)).contains("not where it says"), "{}", why(&with_pages_of(200)));
        let (metadata, bytes, start) = footer(100);
        for cut in 0..bytes.len() {
            let why = why(&(metadata.clone(), bytes[..cut].to_vec(), start));
            assert!(why.contains("no page index of trace ids") || why.contains(CHECKSUMS), "{cut}: {why}");
        }
        assert!(why(&(metadata, bytes, 50)).contains("not where it says"));
    }

    #[test]
    fn bounds_are_those_that_the_parquet_crate_reads() {
        for ids in [10, 95, 1000] {
            let (metadata, bytes, start) = footer(ids);
            let chunk = metadata.row_group(0).column(0);
            let from = (chunk.column_index_offset().unwrap() as u64 - start) as usize;
            let bounds = bounds_of_ids(&bytes[from..]).unwrap();
            let index = &metadata.column_index().unwrap()[0][0];
            let ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) = index else { panic!("they are ids") };
            assert_eq!(bounds.len() as u64, index.num_pages());
            for (at, (least, greatest)) in bounds.iter().enumerate() {
                assert_eq!((index.min_value(at), index.max_value(at)), (Some(&least[..]), Some(&greatest[..])));
            }
        }
    }
}
