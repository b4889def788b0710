//! Some rows of a row group for the parquet crate's array readers, which see nothing but these rows: of each column the pieces of
//! its pages, and of columns without values there nothing. Dictionaries come from the cache.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::RowGroups,
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        page_index::offset_index::PageLocation,
        reader::ChunkReader,
    },
    schema::types::ColumnDescriptor,
};
use uuid::Uuid;

use super::{
    Cache, GoOn, Why,
    cut::{DataPage, Dictionary, Piece},
    file::{Pages, SpansFile},
};
use crate::schema::core;

/// A row group.
pub struct Group<'a> {
    metadata: &'a Arc<ParquetMetaData>,
    group: usize,
    pages: Pages,
    block: Uuid,
    cache: &'a Cache,
}

impl<'a> Group<'a> {
    /// A row group of a block's file.
    pub fn new(file: &'a SpansFile, group: usize, block: Uuid, cache: &'a Cache) -> Self {
        Self { metadata: file.metadata.metadata(), group, pages: file.pages(), block, cache }
    }

    /// The rows of a trace among those near it, which are whole pages.
    pub fn rows_of(&self, trace: &[u8; 16], near: Range<usize>) -> ParquetResult<Range<usize>> {
        let mut found = None::<Range<usize>>;
        for (rows, location) in self.pages_of(core::TRACE_ID, &near)? {
            let bytes = self.read(location)?;
            let page = DataPage::open(self.column(core::TRACE_ID), &bytes)?;
            let ids = page.ids();
            let (first, end) =
                (ids.partition_point(|other| other < trace), ids.partition_point(|other| other <= trace));
            if first < end {
                found = Some(found.map_or(rows.start + first, |found| found.start)..rows.start + end);
            }
        }
        Ok(found.unwrap_or(0..0))
    }

    /// Some rows, with the columns that have values there.
    pub fn window(&mut self, rows: Range<usize>, go_on: GoOn<'_>) -> Result<Window, Why> {
        let schema = self.metadata.file_metadata().schema_descr();
        if self.pages.are_remote() {
            self.read_ahead(schema.num_columns(), &rows, go_on)?;
        }
        let mut columns = BTreeMap::new();
        let mut root = (usize::MAX, false);
        for leaf in 0..schema.num_columns() {
            let first = schema.get_column_root_idx(leaf) != root.0;
            // The first leaf of a list tells for all of them.
            if !first && !root.1 {
                continue;
            }
            let (pages, any) = self.pieces(leaf, &rows, go_on)?;
            if first {
                root = (schema.get_column_root_idx(leaf), any);
            }
            if root.1 {
                columns.insert(leaf, pages);
            }
        }
        Ok(Window { metadata: self.metadata.clone(), group: self.group, rows: rows.len(), columns })
    }

    /// Reads the pages of all columns, and the dictionaries that are not in the cache: each read has its price.
    fn read_ahead(&mut self, leaves: usize, rows: &Range<usize>, go_on: GoOn<'_>) -> Result<(), Why> {
        let mut ranges = Vec::new();
        for leaf in 0..leaves {
            let dictionary = self.dictionary_place(leaf)?;
            ranges.extend(dictionary.filter(|place| !self.cache.has_dictionary(self.block, place.start)));
            let pages = self
                .pages_of(leaf, rows)?
                .map(|(_, page)| page.offset as u64..page.offset as u64 + page.compressed_page_size as u64);
            ranges.extend(pages);
        }
        let known = |range: &Range<u64>| Some((range.start, self.cache.page(self.block, range.start)?));
        let kept = ranges.iter().filter_map(known).collect::<Vec<_>>();
        ranges.retain(|range| !kept.iter().any(|(start, _)| *start == range.start));
        ranges.sort_unstable_by_key(|range| range.start);
        if !go_on(ranges.iter().map(|range| (range.end - range.start) as usize).sum()) {
            return Err(Why::Stopped);
        }
        let read = self.pages.read_ahead(ranges, kept)?;
        for (start, page) in read {
            self.cache.keep_page(self.block, start, self.pages.checked(start, page)?);
        }
        Ok(())
    }

    /// A column's part of some rows; also says whether it has values.
    fn pieces(&self, leaf: usize, rows: &Range<usize>, go_on: GoOn<'_>) -> Result<(Vec<Page>, bool), Why> {
        let column = self.column(leaf);
        let (mut pages, mut found) = (Vec::new(), false);
        for (page_rows, location) in self.pages_of(leaf, rows)? {
            let bytes = self.read(location)?;
            let page = DataPage::open(column, &bytes)?;
            let dictionary = self.dictionary(leaf)?;
            let (start, end) = (rows.start.max(page_rows.start), rows.end.min(page_rows.end));
            let Piece { page, any } =
                page.cut(start - page_rows.start..end - page_rows.start, dictionary.as_deref())?;
            if !go_on(page.buffer().len()) {
                return Err(Why::Stopped);
            }
            pages.push(page);
            found |= any;
        }
        Ok((pages, found))
    }

    /// The pages that have some of the rows, and their rows.
    fn pages_of(
        &self,
        leaf: usize,
        rows: &Range<usize>,
    ) -> ParquetResult<impl Iterator<Item = (Range<usize>, &'a PageLocation)> + use<'a>> {
        let index = self.metadata.offset_index().and_then(|index| index.get(self.group)?.get(leaf));
        let locations = index.ok_or_else(|| wrong("it has no page index"))?.page_locations();
        let all = usize::try_from(self.metadata.row_group(self.group).num_rows()).unwrap_or(0);
        let first_row = |page: &PageLocation| usize::try_from(page.first_row_index).unwrap_or(0);
        let first = locations.partition_point(|page| first_row(page) <= rows.start).saturating_sub(1);
        let end = rows.end;
        let pages = (first..locations.len()).map(move |page| {
            (first_row(&locations[page])..locations.get(page + 1).map_or(all, first_row), &locations[page])
        });
        Ok(pages.take_while(move |(rows, _)| rows.start < end))
    }

    fn column(&self, leaf: usize) -> &'a ColumnDescriptor {
        self.metadata.row_group(self.group).column(leaf).column_descr()
    }

    fn read(&self, location: &PageLocation) -> ParquetResult<Bytes> {
        let length = usize::try_from(location.compressed_page_size).map_err(|_| wrong("a page has no size"))?;
        let start = location.offset as u64;
        if !self.pages.are_remote() {
            return self.pages.get_bytes(start, length);
        }
        if let Some(page) = self.cache.page(self.block, start) {
            return Ok(page);
        }
        let page = self.pages.get_bytes(start, length)?;
        self.cache.keep_page(self.block, start, page.clone());
        Ok(page)
    }

    fn dictionary(&self, leaf: usize) -> ParquetResult<Option<Arc<Dictionary>>> {
        let Some(place) = self.dictionary_place(leaf)? else { return Ok(None) };
        let dictionary = self.cache.dictionary(self.block, place.start, || {
            let page = self.pages.get_bytes(place.start, (place.end - place.start) as usize)?;
            Dictionary::open(self.column(leaf), &page)
        });
        dictionary.map(Some)
    }

    fn dictionary_place(&self, leaf: usize) -> ParquetResult<Option<Range<u64>>> {
        let chunk = self.metadata.row_group(self.group).column(leaf);
        let Some(start) = chunk.dictionary_page_offset() else { return Ok(None) };
        if start < 0 || chunk.data_page_offset() < start {
            return Err(wrong("a dictionary has no size"));
        }
        Ok(Some(start as u64..chunk.data_page_offset() as u64))
    }
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// Some rows as if they were all of a row group.
pub struct Window {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    rows: usize,
    /// The columns that have values, and their pages.
    columns: BTreeMap<usize, Vec<Page>>,
}

impl Window {
    /// The columns that it has.
    pub fn leaves(&self) -> impl Iterator<Item = usize> {
        self.columns.keys().copied()
    }
}

impl RowGroups for Window {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let pages = self.columns.get(&leaf).cloned().unwrap_or_default();
        Ok(Box::new(Once::new(Pieces(pages.into_iter()))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The one chunk that a column has.
pub struct Once(Option<Box<dyn PageReader>>);

impl Once {
    /// With these pages.
    pub fn new(pages: impl PageReader + 'static) -> Self {
        Self(Some(Box::new(pages)))
    }
}

impl Iterator for Once {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for Once {}

/// The pages of a column.
struct Pieces(std::vec::IntoIter<Page>);

impl PageReader for Pieces {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        Ok(self.0.next())
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        let (num_rows, num_levels) = match self.0.as_slice().first() {
            None => return Ok(None),
            Some(Page::DataPageV2 { num_rows, num_values, .. }) => {
                (Some(*num_rows as usize), Some(*num_values as usize))
            }
            Some(_) => (None, None),
        };
        Ok(Some(PageMetadata { num_rows, num_levels, is_dict: false }))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.0.next();
        Ok(())
    }

    /// A piece begins with a row.
    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        Ok(true)
    }
}

impl Iterator for Pieces {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
