//! Resources as a table, as blocks have them.

use std::sync::{Arc, LazyLock};

use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};
use bytes::Bytes;

use super::{
    attributes::{Attributes, Columns},
    resource::{self, Resource},
    strings::{Blobs, Strings},
    view::{Text, ViewError},
};
use crate::schema;

/// What the name of a resource's attribute's column starts with.
pub const RESOURCE_PREFIX: &str = "resource.";

/// The columns before those of attributes.
static CORE: LazyLock<Vec<FieldRef>> = LazyLock::new(|| {
    let fields = vec![
        // XXH3-64 of what the resource says: see `Resource::new`.
        Field::new("resource_id", DataType::UInt64, false),
        // Null when it has none that is a string.
        Field::new("service_name", schema::string(), true),
        // Null when empty.
        Field::new("schema_url", schema::string(), true),
        // Those that have no column of their own; null when there are none.
        Field::new("attributes", schema::ATTRIBUTE_LIST.clone(), true),
        // The Resource message as it came; null when there was none.
        Field::new("otlp", DataType::Binary, true),
    ];
    fields.into_iter().map(Arc::new).collect()
});

const RESOURCE_ID: usize = 0;
const SCHEMA_URL: usize = 2;
const OTLP: usize = 4;

/// Resources as a table, a row for each: `resource_id`, `service_name`, `schema_url`, `attributes`, `otlp`, then a column
/// `resource.<key>` for each attribute, sorted by key. As in spans the first value of a key says its column's type; what
/// does not fit is in `attributes`.
///
/// # Errors
/// When a string is not UTF-8: not after the check of requests. When they have 2 GiB together.
pub fn resources_batch(resources: &[Resource]) -> Result<RecordBatch, ArrowError> {
    let (mut services, mut schema_urls, mut messages) = (Strings::default(), Strings::default(), Blobs::default());
    let mut attributes = Attributes::default();
    let mut size = 0;
    for (row, resource) in (0u32..).zip(resources) {
        if !resource.schema_url.is_empty() {
            schema_urls.push(row, resource.schema_url.as_bytes());
        }
        let Some(message) = &resource.message else { continue };
        messages.push(row, message);
        size += message.len();
        if let Some(name) = resource::service_name(message) {
            services.push(row, name);
        }
        attributes.start();
        for pair in resource::attributes(message) {
            attributes.push(row, &pair);
        }
    }
    let count = resources.len();
    let Columns { columns, rest } = attributes.dense(count, size)?;
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(resources.iter().map(|resource| resource.id))),
        services.dense(count)?,
        schema_urls.dense(count)?,
        rest,
        messages.dense(count)?,
    ];
    let mut fields = CORE.clone();
    for (key, kind, array) in columns {
        fields.push(Arc::new(Field::new(format!("{RESOURCE_PREFIX}{key}"), kind.data_type(), true)));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// The resources of such a table.
///
/// # Errors
/// When a column is missing or of another type.
pub fn resources_of(batch: &RecordBatch) -> Result<Vec<Resource>, ViewError> {
    let wrong = |at: usize| ViewError::Column(CORE[at].name().clone());
    let column = |at: usize| batch.columns().get(at).map(AsRef::as_ref).ok_or_else(|| wrong(at));
    let ids: &UInt64Array = column(RESOURCE_ID)?.as_any().downcast_ref().ok_or_else(|| wrong(RESOURCE_ID))?;
    let urls = Text::new(column(SCHEMA_URL)?).ok_or_else(|| wrong(SCHEMA_URL))?;
    let messages: &BinaryArray = column(OTLP)?.as_any().downcast_ref().ok_or_else(|| wrong(OTLP))?;
    let resources = (0..batch.num_rows()).map(|row| Resource {
        id: ids.value(row),
        message: messages.is_valid(row).then(|| Bytes::copy_from_slice(messages.value(row))),
        schema_url: urls.get(row).unwrap_or_default().to_owned(),
    });
    Ok(resources.collect())
}
