//! What takes the bytes of a block.

use parquet::{errors::ParquetError, file::metadata::ParquetMetaDataReader};

use super::Found;
use crate::{
    block::{FILTER, META, Meta, RESOURCES, SHAPE_ID, SHAPES, SPANS},
    store::{Store, StoreError},
};

/// Bytes of a block's files, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sizes {
    /// Of traces, spans and parents.
    pub ids: u64,
    /// Starts and durations.
    pub times: u64,
    /// Names, kinds, statuses, scopes, flags and dropped counts.
    pub names: u64,
    /// The spans' references to shapes, and the shapes.
    pub shapes: u64,
    /// The spans' references to resources, and the resources.
    pub resources: u64,
    /// Attributes of spans, and spans that are kept as they came.
    pub attributes: u64,
    /// Events and links.
    pub events: u64,
    /// The filter.
    pub filter: u64,
    /// The meta, and what Parquet needs to find pages.
    pub meta: u64,
}

/// The sizes cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SizesError {
    /// The store does not give the footer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The footer cannot be read.
    #[error("the footer of {SPANS} cannot be read: {0}")]
    Parquet(#[from] ParquetError),
}

impl Sizes {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.groups().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Each with its name.
    pub fn groups(&self) -> [(&'static str, u64); 9] {
        let Self { ids, times, names, shapes, resources, attributes, events, filter, meta } = *self;
        [
            ("ids", ids),
            ("times", times),
            ("names", names),
            ("shapes", shapes),
            ("resources", resources),
            ("attributes", attributes),
            ("events", events),
            ("filter", filter),
            ("meta", meta),
        ]
    }

    /// Adds another block's.
    pub fn add(&mut self, other: &Self) {
        self.ids += other.ids;
        self.times += other.times;
        self.names += other.names;
        self.shapes += other.shapes;
        self.resources += other.resources;
        self.attributes += other.attributes;
        self.events += other.events;
        self.filter += other.filter;
        self.meta += other.meta;
    }

    fn of_column(&mut self, name: &str) -> &mut u64 {
        match name {
            "trace_id" | "span_id" | "parent_span_id" | "parent_row" => &mut self.ids,
            "start_time" | "duration" => &mut self.times,
            "resource_id" => &mut self.resources,
            SHAPE_ID => &mut self.shapes,
            "events" | "links" => &mut self.events,
            "attributes" | "raw" => &mut self.attributes,
            name if name.starts_with(crate::schema::ATTRIBUTE_PREFIX) => &mut self.attributes,
            _ => &mut self.names,
        }
    }
}

/// Sizes of a block. Reads the footer of its spans.
///
/// # Errors
/// When the footer cannot be read.
pub fn sizes(store: &dyn Store, found: &Found, meta: &Meta) -> Result<Sizes, SizesError> {
    let mut sizes = Sizes::default();
    for file in &found.files {
        match file.path.rsplit('/').next() {
            Some(RESOURCES) => sizes.resources += file.bytes,
            Some(SHAPES) => sizes.shapes += file.bytes,
            Some(FILTER) => sizes.filter += file.bytes,
            Some(META) => sizes.meta += file.bytes,
            _ => {}
        }
    }
    let no_footer = || ParquetError::General("the meta does not say where it is".to_owned());
    let spans = meta.files.get(SPANS).ok_or_else(no_footer)?;
    let tail = spans.tail.ok_or_else(no_footer)?;
    let start = spans.bytes.checked_sub(tail.bytes).ok_or_else(no_footer)?;
    let bytes = store.read(&format!("{}/{SPANS}", found.path), start..spans.bytes)?;
    // The footer's length and Parquet's magic are the file's last eight bytes.
    let end = bytes.len().checked_sub(8).ok_or_else(no_footer)?;
    let length = bytes[end..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    let footer = end.checked_sub(length).ok_or_else(no_footer)?;
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes[footer..end])?;
    let mut pages = 0;
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let bytes = u64::try_from(column.compressed_size()).unwrap_or(0);
        pages += bytes;
        if let Some(name) = column.column_path().parts().first() {
            *sizes.of_column(name) += bytes;
        }
    }
    sizes.meta += spans.bytes.saturating_sub(pages);
    Ok(sizes)
}
