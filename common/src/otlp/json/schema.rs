//! The messages of an OTLP trace request: their fields' names in JSON and in the .proto files, numbers and types.

/// A message.
#[derive(Debug)]
pub(in crate::otlp) struct Message {
    /// In the order in which JSON is written.
    pub(in crate::otlp) fields: &'static [Field],
    /// Whether it counts towards the nesting of values.
    pub(in crate::otlp) nests: bool,
}

/// A field of a message.
#[derive(Debug)]
pub(in crate::otlp) struct Field {
    /// In JSON.
    pub(in crate::otlp) name: &'static str,
    /// In the .proto file, which JSON may use too.
    pub(in crate::otlp) original: &'static str,
    pub(in crate::otlp) number: u32,
    pub(in crate::otlp) kind: Kind,
    pub(in crate::otlp) label: Label,
}

/// How often a field comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::otlp) enum Label {
    /// Once; a value of zero or nothing means the same as none.
    One,
    /// Any number of times.
    Many,
    /// At most one of these in a message; a value of zero is one.
    OneOf,
}

/// A field's type.
#[derive(Clone, Copy, Debug)]
pub(in crate::otlp) enum Kind {
    Text,
    Bytes,
    /// An id of so many bytes: in JSON it is hex.
    Id(usize),
    Bool,
    Double,
    Int32,
    Int64,
    Uint32,
    Fixed32,
    Fixed64,
    /// The names of its values, from 0.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

impl Message {
    /// The field of a number.
    pub(in crate::otlp) fn by_number(&self, number: u32) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.number == number)
    }

    /// The field of a name in JSON.
    pub(in crate::otlp) fn by_name(&self, name: &str) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name || field.original == name)
    }
}

const fn field(name: &'static str, original: &'static str, number: u32, kind: Kind, label: Label) -> Field {
    Field { name, original, number, kind, label }
}

const fn one(name: &'static str, original: &'static str, number: u32, kind: Kind) -> Field {
    field(name, original, number, kind, Label::One)
}

const fn many(name: &'static str, original: &'static str, number: u32, kind: Kind) -> Field {
    field(name, original, number, kind, Label::Many)
}

const fn message(fields: &'static [Field]) -> Message {
    Message { fields, nests: false }
}

const ATTRIBUTES: Kind = Kind::Message(&KEY_VALUE);
const TRACE_ID: Kind = Kind::Id(16);
const SPAN_ID: Kind = Kind::Id(8);
const SPAN_KIND: Kind = Kind::Enum(&[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
]);
const STATUS_CODE: Kind = Kind::Enum(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"]);

/// ExportTraceServiceRequest, and TracesData, which is the same.
pub(in crate::otlp) static REQUEST: Message =
    message(&[many("resourceSpans", "resource_spans", 1, Kind::Message(&RESOURCE_SPANS))]);

pub(in crate::otlp) static RESOURCE_SPANS: Message = message(&[
    one("resource", "resource", 1, Kind::Message(&RESOURCE)),
    many("scopeSpans", "scope_spans", 2, Kind::Message(&SCOPE_SPANS)),
    one("schemaUrl", "schema_url", 3, Kind::Text),
]);

static RESOURCE: Message = message(&[
    many("attributes", "attributes", 1, ATTRIBUTES),
    one("droppedAttributesCount", "dropped_attributes_count", 2, Kind::Uint32),
    many("entityRefs", "entity_refs", 3, Kind::Message(&ENTITY_REF)),
]);

static ENTITY_REF: Message = message(&[
    one("schemaUrl", "schema_url", 1, Kind::Text),
    one("type", "type", 2, Kind::Text),
    many("idKeys", "id_keys", 3, Kind::Text),
    many("descriptionKeys", "description_keys", 4, Kind::Text),
]);

static SCOPE_SPANS: Message = message(&[
    one("scope", "scope", 1, Kind::Message(&SCOPE)),
    many("spans", "spans", 2, Kind::Message(&SPAN)),
    one("schemaUrl", "schema_url", 3, Kind::Text),
]);

static SCOPE: Message = message(&[
    one("name", "name", 1, Kind::Text),
    one("version", "version", 2, Kind::Text),
    many("attributes", "attributes", 3, ATTRIBUTES),
    one("droppedAttributesCount", "dropped_attributes_count", 4, Kind::Uint32),
]);

static SPAN: Message = message(&[
    one("traceId", "trace_id", 1, TRACE_ID),
    one("spanId", "span_id", 2, SPAN_ID),
    one("traceState", "trace_state", 3, Kind::Text),
    one("parentSpanId", "parent_span_id", 4, SPAN_ID),
    one("flags", "flags", 16, Kind::Fixed32),
    one("name", "name", 5, Kind::Text),
    one("kind", "kind", 6, SPAN_KIND),
    one("startTimeUnixNano", "start_time_unix_nano", 7, Kind::Fixed64),
    one("endTimeUnixNano", "end_time_unix_nano", 8, Kind::Fixed64),
    many("attributes", "attributes", 9, ATTRIBUTES),
    one("droppedAttributesCount", "dropped_attributes_count", 10, Kind::Uint32),
    many("events", "events", 11, Kind::Message(&EVENT)),
    one("droppedEventsCount", "dropped_events_count", 12, Kind::Uint32),
    many("links", "links", 13, Kind::Message(&LINK)),
    one("droppedLinksCount", "dropped_links_count", 14, Kind::Uint32),
    one("status", "status", 15, Kind::Message(&STATUS)),
]);

static EVENT: Message = message(&[
    one("timeUnixNano", "time_unix_nano", 1, Kind::Fixed64),
    one("name", "name", 2, Kind::Text),
    many("attributes", "attributes", 3, ATTRIBUTES),
    one("droppedAttributesCount", "dropped_attributes_count", 4, Kind::Uint32),
]);

static LINK: Message = message(&[
    one("traceId", "trace_id", 1, TRACE_ID),
    one("spanId", "span_id", 2, SPAN_ID),
    one("traceState", "trace_state", 3, Kind::Text),
    many("attributes", "attributes", 4, ATTRIBUTES),
    one("droppedAttributesCount", "dropped_attributes_count", 5, Kind::Uint32),
    one("flags", "flags", 6, Kind::Fixed32),
]);

static STATUS: Message = message(&[one("message", "message", 2, Kind::Text), one("code", "code", 3, STATUS_CODE)]);

static KEY_VALUE: Message = message(&[
    one("key", "key", 1, Kind::Text),
    one("value", "value", 2, Kind::Message(&ANY_VALUE)),
    one("keyStrindex", "key_strindex", 3, Kind::Int32),
]);

static ANY_VALUE: Message = Message {
    fields: &[
        field("stringValue", "string_value", 1, Kind::Text, Label::OneOf),
        field("boolValue", "bool_value", 2, Kind::Bool, Label::OneOf),
        field("intValue", "int_value", 3, Kind::Int64, Label::OneOf),
        field("doubleValue", "double_value", 4, Kind::Double, Label::OneOf),
        field("arrayValue", "array_value", 5, Kind::Message(&ARRAY_VALUE), Label::OneOf),
        field("kvlistValue", "kvlist_value", 6, Kind::Message(&KEY_VALUE_LIST), Label::OneOf),
        field("bytesValue", "bytes_value", 7, Kind::Bytes, Label::OneOf),
        field("stringValueStrindex", "string_value_strindex", 8, Kind::Int32, Label::OneOf),
    ],
    nests: true,
};

static ARRAY_VALUE: Message = message(&[many("values", "values", 1, Kind::Message(&ANY_VALUE))]);

static KEY_VALUE_LIST: Message = message(&[many("values", "values", 1, Kind::Message(&KEY_VALUE))]);

/// No message has more fields.
pub(in crate::otlp) const MAX_FIELDS: usize = 16;
