//! Some rows of a row group: of each column the pieces of its pages, and of columns without values there nothing. Of lists the parquet
//! crate's readers make arrays, which see nothing but these rows. Dictionaries come from the cache.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::RowGroups,
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result as ParquetResult},
    file::metadata::{ParquetMetaData, RowGroupMetaData},
    schema::types::ColumnDescriptor,
};
use uuid::Uuid;

use super::{
    Cache, GoOn, Why,
    cut::{DataPage, Dictionary, Piece},
    directory::Page as Place,
    file::{Pages, SpansFile},
};
use crate::schema::core;

/// A row group.
pub struct Group<'a> {
    file: &'a SpansFile,
    group: usize,
    pages: Pages,
    block: Uuid,
    cache: &'a Cache,
}

impl<'a> Group<'a> {
    /// A row group of a block's file.
    pub fn new(file: &'a SpansFile, group: usize, block: Uuid, cache: &'a Cache) -> Self {
        Self { file, group, pages: file.pages(), block, cache }
    }

    /// The rows of a trace among those near it, which are whole pages.
    pub fn rows_of(&self, trace: &[u8; 16], near: Range<usize>) -> ParquetResult<Range<usize>> {
        let mut found = None::<Range<usize>>;
        for place in self.file.directory.pages_of(self.group, core::TRACE_ID, &near) {
            let (rows, bytes) = (place.rows(), self.read(place)?);
            let page = DataPage::open(self.column(core::TRACE_ID), &bytes, true)?;
            let ids = page.ids();
            let (first, end) =
                (ids.partition_point(|other| other < trace), ids.partition_point(|other| other <= trace));
            if first < end {
                found = Some(found.map_or(rows.start + first, |found| found.start)..rows.start + end);
            }
        }
        Ok(found.unwrap_or(0..0))
    }

    /// Some rows, with the columns that have values there; without one that is `known`.
    pub fn window(&mut self, rows: Range<usize>, known: Option<usize>, go_on: GoOn<'_>) -> Result<Window, Why> {
        if self.pages.are_remote() {
            self.read_ahead(self.file.metadata.parquet_schema().num_columns(), &rows, go_on)?;
        }
        let (has, mut columns) = match self.has_columns(&rows, go_on)? {
            Some((has, leaf, pieces)) => (Some(has), BTreeMap::from([(leaf, pieces)])),
            None => (None, BTreeMap::new()),
        };
        let may_have = |column: usize| {
            has.as_ref().is_none_or(|has| has.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1))
        };
        let mut empty = Vec::new();
        for (_, leaves) in self.file.leaves.iter().enumerate().filter(|(column, _)| may_have(*column)) {
            if columns.contains_key(&leaves.start) || known == Some(leaves.start) {
                continue;
            }
            // The first leaf of a list tells for all of them.
            let first = self.pieces(leaves.start, &rows, has.is_some(), go_on)?;
            if first.iter().any(|piece| piece.any) {
                columns.insert(leaves.start, first);
                for leaf in leaves.clone().skip(1) {
                    if self.is_empty(leaf) {
                        empty.push(leaf);
                    } else {
                        columns.insert(leaf, self.pieces(leaf, &rows, true, go_on)?);
                    }
                }
            }
        }
        for leaf in empty {
            let beside = columns.iter().find(|(other, _)| self.is_beside(**other, leaf)).map(|(_, pieces)| pieces);
            let beside = beside.ok_or_else(|| wrong("a list has no column that is always there"))?;
            let pieces = beside.iter().map(Piece::without_values).collect();
            columns.insert(leaf, pieces);
        }
        Ok(Window { metadata: self.file.metadata.metadata().clone(), group: self.group, rows: rows.len(), columns })
    }

    /// Whether a leaf that may have no values where there are elements has none in the row group.
    fn is_empty(&self, leaf: usize) -> bool {
        if !self.column(leaf).self_type().is_optional() {
            return false;
        }
        let chunk = self.file.metadata.metadata().row_group(self.group).column(leaf);
        let nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
        nulls == u64::try_from(chunk.num_values()).ok()
    }

    /// Whether a leaf has a value wherever another one, of the same lists, could have one.
    fn is_beside(&self, leaf: usize, other: usize) -> bool {
        let (leaf, other) = (self.column(leaf), self.column(other));
        let (path, other_path) = (leaf.path().parts(), other.path().parts());
        !leaf.self_type().is_optional()
            && path.split_last().map(|(_, path)| path) == other_path.split_last().map(|(_, path)| path)
    }

    /// Reads the pages of all columns, and the dictionaries that are not in the cache: each read has its price.
    fn read_ahead(&mut self, leaves: usize, rows: &Range<usize>, go_on: GoOn<'_>) -> Result<(), Why> {
        let directory = &self.file.directory;
        let mut pages = Vec::new();
        for leaf in 0..leaves {
            let dictionary = directory.dictionary(self.group, leaf);
            pages.extend(dictionary.filter(|page| !self.cache.has_dictionary(self.block, page.start)));
            pages.extend(directory.pages_of(self.group, leaf, rows));
        }
        let known = |page: &Place| Some((page.start, self.cache.page(self.block, page.start)?));
        let kept = pages.iter().filter_map(known).collect::<Vec<_>>();
        pages.retain(|page| !kept.iter().any(|(start, _)| *start == page.start));
        pages.sort_unstable_by_key(|page| page.start);
        if !go_on(pages.iter().map(|page| page.bytes as usize).sum()) {
            return Err(Why::Stopped);
        }
        for (start, page) in self.pages.read_ahead(&pages, kept)? {
            self.cache.keep_page(self.block, start, page);
        }
        Ok(())
    }

    /// Which columns the shapes of some rows have, as [`crate::block::shapes::Shapes::has_columns`] says it, and the rows' part of the leaf with their numbers.
    fn has_columns(&self, rows: &Range<usize>, go_on: GoOn<'_>) -> Result<Option<HasColumns>, Why> {
        let Some((column, shapes)) = &self.file.columns.shapes else { return Ok(None) };
        let leaf = self.file.leaves.get(*column).ok_or_else(|| wrong("its spans have no shapes"))?.start;
        let pieces = self.pieces(leaf, rows, true, go_on)?;
        let numbers = pieces.iter().flat_map(|piece| piece.plain.as_chunks().0);
        let has = shapes.has_columns(numbers.map(|number| u32::from_le_bytes(*number)))?;
        Ok(has.map(|has| (has, leaf, pieces)))
    }

    /// A column's part of some rows. `likely`: they most likely have values.
    fn pieces(&self, leaf: usize, rows: &Range<usize>, likely: bool, go_on: GoOn<'_>) -> Result<Vec<Piece>, Why> {
        let dictionary = self.dictionary(leaf)?;
        let cut = |place: &Place| {
            let (page_rows, bytes) = (place.rows(), self.read(place)?);
            let page = DataPage::open(self.column(leaf), &bytes, likely)?;
            let (start, end) = (rows.start.max(page_rows.start), rows.end.min(page_rows.end));
            let piece = page.cut(start - page_rows.start..end - page_rows.start, dictionary.as_deref())?;
            if go_on(piece.plain.len()) { Ok(piece) } else { Err(Why::Stopped) }
        };
        self.file.directory.pages_of(self.group, leaf, rows).iter().map(cut).collect()
    }

    fn column(&self, leaf: usize) -> &'a ColumnDescriptor {
        self.file.metadata.metadata().row_group(self.group).column(leaf).column_descr()
    }

    /// A page. One from far away is kept.
    fn read(&self, place: &Place) -> ParquetResult<Bytes> {
        if !self.pages.are_remote() {
            return self.pages.glance(place);
        }
        if let Some(page) = self.cache.page(self.block, place.start) {
            return Ok(page);
        }
        let page = self.pages.read(place)?;
        self.cache.keep_page(self.block, place.start, page.clone());
        Ok(page)
    }

    fn dictionary(&self, leaf: usize) -> ParquetResult<Option<Arc<Dictionary>>> {
        let Some(place) = self.file.directory.dictionary(self.group, leaf) else { return Ok(None) };
        let read = || Dictionary::open(self.column(leaf), &self.pages.glance(place)?);
        self.cache.dictionary(self.block, place.start, read).map(Some)
    }
}

/// Columns, a bit each; the leaf of shapes' numbers, and the rows' part of it.
type HasColumns = (Vec<u8>, usize, Vec<Piece>);

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// Some rows as if they were all of a row group.
pub struct Window {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    rows: usize,
    /// The leaves that have values, and the pieces of their pages.
    pub columns: BTreeMap<usize, Vec<Piece>>,
}

impl RowGroups for Window {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let column = self.metadata.row_group(self.group).column(leaf).column_descr();
        let pages: Vec<Page> = self.columns.get(&leaf).into_iter().flatten().map(|piece| piece.page(column)).collect();
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
