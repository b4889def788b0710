//! Looks for a text in a column of which few rows are wanted, page by page: no array is made of the others.

use memchr::memmem::Finder;
use parquet::{arrow::ProjectionMask, basic::Type};

use super::{
    Why,
    cut::{DataPage, Dictionary},
    file::SpansFile,
};
use crate::block::shapes::Place;

/// The rows of a row group that have this text in a column, in order. None when it is no column of texts, or the file has it
/// otherwise than as it is: then there is a dictionary, or shapes, and the column is soon read.
pub fn rows_with(file: &SpansFile, group: usize, column: usize, text: &str) -> Result<Option<Vec<u32>>, Why> {
    let Some(Place::Spans(column)) = file.columns.places.get(column) else { return Ok(None) };
    let metadata = file.metadata.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let Some((leaf, 1)) = file.leaves.get(*column).map(|leaves| (leaves.start, leaves.len())) else { return Ok(None) };
    let chunk = metadata.row_group(group).column(leaf);
    let described = chunk.column_descr();
    if described.physical_type() != Type::BYTE_ARRAY || chunk.dictionary_page_offset().is_some() {
        return Ok(None);
    }
    let pages = file.group(group, &ProjectionMask::leaves(schema, [leaf]))?;
    // As it stands in a page: its length, and itself.
    let mut needle = (text.len() as u32).to_le_bytes().to_vec();
    needle.extend_from_slice(text.as_bytes());
    let finder = Finder::new(&needle);
    let mut rows = Vec::new();
    for page in file.directory.pages(group, leaf) {
        let bytes = pages.glance(page)?;
        let Some(found) = DataPage::open(described, &bytes, true)?.rows_with(&finder)? else { return Ok(None) };
        rows.extend(found.into_iter().map(|row| page.rows().start as u32 + row));
    }
    Ok(Some(rows))
}

/// False: no row of a row group has a text in a column that has these bytes, however deep in lists. True: one may have.
pub fn may_have_text(file: &SpansFile, group: usize, column: usize, text: &str) -> Result<bool, Why> {
    let Some(Place::Spans(column)) = file.columns.places.get(column) else { return Ok(true) };
    let metadata = file.metadata.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let finder = Finder::new(text);
    for leaf in file.leaves.get(*column).cloned().unwrap_or_default() {
        let described = metadata.row_group(group).column(leaf).column_descr();
        if described.physical_type() != Type::BYTE_ARRAY {
            continue;
        }
        let pages = file.group(group, &ProjectionMask::leaves(schema, [leaf]))?;
        // Where there is a dictionary, pages have no texts of their own.
        if let Some(page) = file.directory.dictionary(group, leaf) {
            let dictionary = Dictionary::open(described, &pages.glance(page)?)?;
            if dictionary.has(&finder) {
                return Ok(true);
            }
            continue;
        }
        for page in file.directory.pages(group, leaf) {
            let bytes = pages.glance(page)?;
            if DataPage::open(described, &bytes, true)?.has(&finder)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
