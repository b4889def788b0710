//! Whole columns of a row group for the parquet crate's array readers, a page at a time. That crate's own page readers have a
//! decompressor each, of 100 KiB: a merge reads hundreds of columns at once. These share the thread's.

use arrow_schema::Fields;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection, RowSelector},
        parquet_to_arrow_field_levels,
    },
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::Result as ParquetResult,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use super::{
    Why,
    cut::whole,
    directory::Page as Place,
    file::{Pages, SpansFile},
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
    let chunks = Chunks { file, group, pages };
    let levels = parquet_to_arrow_field_levels(metadata.file_metadata().schema_descr(), leaves, Some(fields))?;
    let skip = || vec![RowSelector::skip(first), RowSelector::select(chunks.num_rows().saturating_sub(first))].into();
    let selection: Option<RowSelection> = (first > 0).then(skip);
    Ok(ParquetRecordBatchReader::try_new_with_row_groups(&levels, &chunks, rows, selection)?)
}

/// The columns of a row group.
struct Chunks<'a> {
    file: &'a SpansFile,
    group: usize,
    pages: Pages,
}

impl RowGroups for Chunks<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.file.metadata.metadata().row_group(self.group).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let places = self.file.directory.all(self.group, leaf).to_vec().into_iter();
        Ok(Box::new(Once::new(Chunk { places, pages: self.pages.clone() })))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.file.metadata.metadata().row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.file.metadata.metadata()
    }
}

/// The pages of a column that were not read yet.
struct Chunk {
    places: std::vec::IntoIter<Place>,
    pages: Pages,
}

impl PageReader for Chunk {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.places.next().map(|place| whole(&self.pages.read(&place)?)).transpose()
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        let metadata = |place: &Place| PageMetadata {
            num_rows: (!place.is_dictionary()).then(|| place.rows().len()),
            num_levels: None,
            is_dict: place.is_dictionary(),
        };
        Ok(self.places.as_slice().first().map(metadata))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.places.next();
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
