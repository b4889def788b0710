//! Whole columns of a row group for the parquet crate's array readers, a page at a time. That crate's own page readers have a
//! decompressor each, of 100 KiB: a merge reads hundreds of columns at once. These share the thread's.

use std::sync::Arc;

use arrow_schema::Fields;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection, RowSelector},
        parquet_to_arrow_field_levels,
    },
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        reader::ChunkReader,
    },
};

use super::{
    Why,
    cut::whole,
    file::{Pages, SpansFile, dictionary_place},
    pages::Once,
};

/// Reads some leaves of a row group, all rows, in batches of `rows` rows. `fields` says which types they have in memory.
pub fn reader(
    file: &SpansFile,
    group: usize,
    leaves: ProjectionMask,
    fields: &Fields,
    rows: usize,
) -> Result<ParquetRecordBatchReader, Why> {
    reader_from(file, (group, 0), file.group(group, &leaves)?, leaves, fields, rows)
}

/// The same from row `first` on, from these pages.
pub fn reader_from(
    file: &SpansFile,
    (group, first): (usize, usize),
    pages: Pages,
    leaves: ProjectionMask,
    fields: &Fields,
    rows: usize,
) -> Result<ParquetRecordBatchReader, Why> {
    let metadata = file.metadata.metadata();
    let chunks = Chunks { metadata, group, pages };
    let levels = parquet_to_arrow_field_levels(metadata.file_metadata().schema_descr(), leaves, Some(fields))?;
    let skip = || vec![RowSelector::skip(first), RowSelector::select(chunks.num_rows().saturating_sub(first))].into();
    let selection: Option<RowSelection> = (first > 0).then(skip);
    Ok(ParquetRecordBatchReader::try_new_with_row_groups(&levels, &chunks, rows, selection)?)
}

/// The columns of a row group.
struct Chunks<'a> {
    metadata: &'a Arc<ParquetMetaData>,
    group: usize,
    pages: Pages,
}

impl RowGroups for Chunks<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.group).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let chunk =
            Chunk { metadata: self.metadata.clone(), group: self.group, leaf, pages: self.pages.clone(), next: 0 };
        let dictionary = chunk.metadata.row_group(self.group).column(leaf).dictionary_page_offset();
        Ok(Box::new(Once::new(if dictionary.is_some() { chunk } else { Chunk { next: 1, ..chunk } })))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of a column.
struct Chunk {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    leaf: usize,
    pages: Pages,
    /// 0 is the dictionary, 1 the first page of data.
    next: usize,
}

/// Where a page is.
struct Place {
    start: u64,
    bytes: usize,
    /// None: it is a dictionary.
    rows: Option<usize>,
}

impl Chunk {
    /// The next page; None when there are no more.
    fn place(&self) -> ParquetResult<Option<Place>> {
        let (group, wrong) = (self.metadata.row_group(self.group), |what: &str| ParquetError::General(what.to_owned()));
        let index = self.metadata.offset_index().and_then(|index| index.get(self.group)?.get(self.leaf));
        let locations = index.ok_or_else(|| wrong("it has no page index"))?.page_locations();
        let Some(at) = self.next.checked_sub(1) else {
            let place = dictionary_place(group.column(self.leaf))?;
            let place = place.ok_or_else(|| wrong("there is no dictionary"))?;
            return Ok(Some(Place { start: place.start, bytes: (place.end - place.start) as usize, rows: None }));
        };
        let Some(page) = locations.get(at) else { return Ok(None) };
        let end = locations.get(at + 1).map_or(group.num_rows(), |next| next.first_row_index);
        let place = || {
            let (start, bytes) = (u64::try_from(page.offset).ok()?, usize::try_from(page.compressed_page_size).ok()?);
            let rows = usize::try_from(end.checked_sub(page.first_row_index)?).ok()?;
            Some(Place { start, bytes, rows: Some(rows) })
        };
        place().ok_or_else(|| wrong("a page has no size")).map(Some)
    }
}

impl PageReader for Chunk {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let Some(place) = self.place()? else { return Ok(None) };
        self.next += 1;
        whole(&self.pages.get_bytes(place.start, place.bytes)?).map(Some)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        let metadata = |Place { rows, .. }| PageMetadata { num_rows: rows, num_levels: None, is_dict: rows.is_none() };
        Ok(self.place()?.map(metadata))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.next += 1;
        Ok(())
    }

    /// Pages begin with a row.
    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        Ok(true)
    }
}

impl Iterator for Chunk {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
