//! The columns of spans, in memory and in blocks. `docs/schema.md` explains them to those who query.
//!
//! A batch of spans has the core columns, in the order of [`core`], then a column `span.<key>` for each attribute that is
//! common enough, sorted by name. Strings of spans are dictionaries. The rest of the attributes, and values whose type is
//! not their column's, are in [`core::ATTRIBUTES`].
//!
//! In memory `parent_span_id` is set for each span that has a parent, and `parent_row` never. In a block (sorted by trace,
//! then start) a parent that is in the block too is `parent_row`, its position among the rows of its trace, and
//! `parent_span_id` is null: 0.9 bytes a span instead of 5.4.
//!
//! Whatever the columns cannot say exactly (fields unknown to this version, a field given twice, a key given twice, an
//! attribute without a value) has the span's original bytes in [`core::RAW`] as well: reading a trace gives those.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

/// Places of the core columns.
pub mod core {
    /// FixedSizeBinary(16).
    pub const TRACE_ID: usize = 0;
    /// FixedSizeBinary(8).
    pub const SPAN_ID: usize = 1;
    /// FixedSizeBinary(8); null without a parent, and in blocks where `PARENT_ROW` says it.
    pub const PARENT_SPAN_ID: usize = 2;
    /// Int32: the parent's position among the rows of its trace; null in memory.
    pub const PARENT_ROW: usize = 3;
    /// Timestamp in nanoseconds, no zone: the 64 bits of OTLP's start_time_unix_nano, so that times past 2262 are negative.
    pub const START_TIME: usize = 4;
    /// Int64, nanoseconds: end minus start, wrapping, so that the end is always start plus duration, wrapping.
    pub const DURATION: usize = 5;
    /// Int32: OTLP's SpanKind.
    pub const KIND: usize = 6;
    /// Int32: OTLP's StatusCode; null when the span has no Status.
    pub const STATUS_CODE: usize = 7;
    /// String; null when empty.
    pub const STATUS_MESSAGE: usize = 8;
    /// String.
    pub const NAME: usize = 9;
    /// String: the resource's service.name; null when it has none or it is no string.
    pub const SERVICE_NAME: usize = 10;
    /// UInt64: the resource's [`crate::columns::Resource::id`].
    pub const RESOURCE_ID: usize = 11;
    /// String; null when the spans have no InstrumentationScope.
    pub const SCOPE_NAME: usize = 12;
    /// String; null when empty.
    pub const SCOPE_VERSION: usize = 13;
    /// Binary: the other fields of the InstrumentationScope, as protobuf; null when there are none.
    pub const SCOPE_FIELDS: usize = 14;
    /// String: the ScopeSpans' schema_url; null when empty.
    pub const SCOPE_SCHEMA_URL: usize = 15;
    /// String; null when empty.
    pub const TRACE_STATE: usize = 16;
    /// UInt32.
    pub const FLAGS: usize = 17;
    /// UInt32; null when 0.
    pub const DROPPED_ATTRIBUTES: usize = 18;
    /// UInt32; null when 0.
    pub const DROPPED_EVENTS: usize = 19;
    /// UInt32; null when 0.
    pub const DROPPED_LINKS: usize = 20;
    /// List of [`super::EVENT`]; null when there are none.
    pub const EVENTS: usize = 21;
    /// List of [`super::LINK`]; null when there are none.
    pub const LINKS: usize = 22;
    /// List of [`super::ATTRIBUTE`]: those that have no column of their own; null when there are none.
    pub const ATTRIBUTES: usize = 23;
    /// Binary: the Span message as it came; null when the columns say all of it.
    pub const RAW: usize = 24;
    /// How many core columns there are.
    pub const COUNT: usize = 25;
}

/// What the name of an attribute's column starts with.
pub const ATTRIBUTE_PREFIX: &str = "span.";

/// A string column of spans.
pub fn string() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// A time.
pub const TIME: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

/// An attribute in a list: a key and one of the values. All values null: an empty AnyValue.
pub static ATTRIBUTE: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("string", DataType::Utf8, true),
        Field::new("int", DataType::Int64, true),
        Field::new("double", DataType::Float64, true),
        Field::new("bool", DataType::Boolean, true),
        // Arrays, maps, bytes: the AnyValue message.
        Field::new("other", DataType::Binary, true),
    ])
});

/// A list of attributes, in the order in which they came.
pub static ATTRIBUTE_LIST: LazyLock<DataType> = LazyLock::new(|| list_of(&ATTRIBUTE));

/// An event of a span.
pub static EVENT: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("time", TIME, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("attributes", ATTRIBUTE_LIST.clone(), true),
        Field::new("dropped_attributes_count", DataType::UInt32, true),
    ])
});

/// A link of a span. Ids are null when they are empty.
pub static LINK: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), true),
        Field::new("span_id", DataType::FixedSizeBinary(8), true),
        Field::new("trace_state", DataType::Utf8, true),
        Field::new("attributes", ATTRIBUTE_LIST.clone(), true),
        Field::new("dropped_attributes_count", DataType::UInt32, true),
        Field::new("flags", DataType::UInt32, false),
    ])
});

fn list_of(fields: &Fields) -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(fields.clone()), false)))
}

/// The core columns.
pub static CORE: LazyLock<Vec<FieldRef>> = LazyLock::new(|| {
    let fields = vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new("parent_span_id", DataType::FixedSizeBinary(8), true),
        Field::new("parent_row", DataType::Int32, true),
        Field::new("start_time", TIME, false),
        Field::new("duration", DataType::Int64, false),
        Field::new("kind", DataType::Int32, false),
        Field::new("status_code", DataType::Int32, true),
        Field::new("status_message", string(), true),
        Field::new("name", string(), false),
        Field::new("service_name", string(), true),
        Field::new("resource_id", DataType::UInt64, false),
        Field::new("scope_name", string(), true),
        Field::new("scope_version", string(), true),
        Field::new("scope_fields", DataType::Binary, true),
        Field::new("scope_schema_url", string(), true),
        Field::new("trace_state", string(), true),
        Field::new("flags", DataType::UInt32, false),
        Field::new("dropped_attributes_count", DataType::UInt32, true),
        Field::new("dropped_events_count", DataType::UInt32, true),
        Field::new("dropped_links_count", DataType::UInt32, true),
        Field::new("events", list_of(&EVENT), true),
        Field::new("links", list_of(&LINK), true),
        Field::new("attributes", ATTRIBUTE_LIST.clone(), true),
        Field::new("raw", DataType::Binary, true),
    ];
    fields.into_iter().map(Arc::new).collect()
});

/// The type of an attribute's own column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Dictionary of UTF-8.
    String,
    /// 64 bits, signed.
    Int,
    /// 64 bits.
    Double,
    /// One bit.
    Bool,
}

impl Type {
    /// As Arrow has it.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String => string(),
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
        }
    }

    /// The type of an attribute's column; None for any other.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Dictionary(..) => Some(Self::String),
            DataType::Int64 => Some(Self::Int),
            DataType::Float64 => Some(Self::Double),
            DataType::Boolean => Some(Self::Bool),
            _ => None,
        }
    }
}

/// The schema of a batch whose attributes with columns are these, sorted by key, each key once.
pub fn with_attributes<'a>(attributes: impl IntoIterator<Item = (&'a str, Type)>) -> SchemaRef {
    let attributes = attributes
        .into_iter()
        .map(|(key, kind)| Arc::new(Field::new(format!("{ATTRIBUTE_PREFIX}{key}"), kind.data_type(), true)));
    Arc::new(Schema::new(CORE.iter().cloned().chain(attributes).collect::<Vec<_>>()))
}

/// The attributes of a schema that have columns: key, type and the column's place.
pub fn attributes(schema: &Schema) -> impl Iterator<Item = (&str, Type, usize)> {
    schema.fields().iter().enumerate().skip(self::core::COUNT).filter_map(|(at, field)| {
        Some((field.name().strip_prefix(ATTRIBUTE_PREFIX)?, Type::of(field.data_type())?, at))
    })
}
