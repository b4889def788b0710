//! Where the values of a field are in a part. `lists` has those of which a span has several.

mod lists;

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    StringViewArray, TimestampNanosecondArray, cast::AsArray, types::UInt32Type,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer};
use arrow_schema::DataType;
use clew_storage::{
    block::BlockError,
    schema::{ATTRIBUTE_PREFIX, core},
};
use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource as ResourceMessage,
};
use prost::Message;

pub use lists::{Listed, listed_entries};
use lists::{entries, listed, nested, since_start};

use super::{
    cache::Cache,
    codes::Codes,
    names::{TagScope, may_have, may_list},
    part::Part,
};
use crate::traceql::{
    ast::{Attribute, Field, Intrinsic, Kind, Scope, Status},
    value::Value,
};

/// A column in which a field has values.
#[derive(Clone)]
pub enum Source {
    Strings(DictionaryArray<UInt32Type>),
    Views(StringViewArray),
    Int(Int64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Duration(Int64Array),
    /// None: no row has a status, all are unset.
    Status(Option<Int32Array>, usize),
    Kind(Int32Array),
    Hex(FixedSizeBinaryArray),
    /// For each row a place among the values.
    Codes(Arc<Codes>, Vec<Value>),
    /// The rows that have a value, in order, and what they have.
    Sparse(Vec<(u32, Value)>, usize),
}

/// Whether a field is known only once the whole trace is.
pub fn needs_trace(field: &Field) -> bool {
    match field {
        Field::Attribute(attribute) => attribute.of_parent,
        Field::Intrinsic(intrinsic) => matches!(
            intrinsic,
            Intrinsic::ChildCount
                | Intrinsic::Parent
                | Intrinsic::SpanParentId
                | Intrinsic::TraceDuration
                | Intrinsic::NestedSetLeft
                | Intrinsic::NestedSetRight
                | Intrinsic::NestedSetParent
        ),
    }
}

/// The sources of a field of the spans themselves; the first that has a value in a row counts. Blocking.
pub fn sources(part: &Part, cache: &Cache, field: &Field) -> Result<Vec<Source>, BlockError> {
    match field {
        Field::Intrinsic(intrinsic) => Ok(intrinsic_source(part, cache, *intrinsic)?.into_iter().collect()),
        Field::Attribute(attribute) => attribute_sources(part, cache, attribute),
    }
}

fn attribute_sources(part: &Part, cache: &Cache, attribute: &Attribute) -> Result<Vec<Source>, BlockError> {
    let key = &attribute.key;
    let any = attribute.scope == Scope::Any;
    let may_have = |scope| may_have(part, cache, scope, key);
    let mut sources = Vec::new();
    if any || attribute.scope == Scope::Span {
        if let Ok(column) = part.schema.index_of(&format!("{ATTRIBUTE_PREFIX}{key}"))
            && let Some(array) = part.column(cache, column)?
        {
            sources.extend(typed(&array));
        }
        sources.extend(of_list(part, cache, key)?);
    }
    if any || attribute.scope == Scope::Resource {
        sources.extend(of_resource(part, cache, key)?);
    }
    if (any || attribute.scope == Scope::Event) && may_have(TagScope::Event)? {
        sources.extend(nested(part.column(cache, core::EVENTS)?, 2, key));
    }
    if (any || attribute.scope == Scope::Link) && may_have(TagScope::Link)? {
        sources.extend(nested(part.column(cache, core::LINKS)?, 3, key));
    }
    if (any || attribute.scope == Scope::Instrumentation) && may_have(TagScope::Instrumentation)? {
        sources.extend(of_scope(part.column(cache, core::SCOPE_FIELDS)?, key));
    }
    Ok(sources)
}

/// What spans have of a field by their shapes: its value for each shape, and how many there are. None: they have it otherwise, or
/// not. Blocking.
pub fn by_shape(part: &Part, field: &Field) -> Result<Option<(Source, usize)>, BlockError> {
    let column = match field {
        Field::Intrinsic(Intrinsic::Name) => Some(core::NAME),
        Field::Intrinsic(Intrinsic::Kind) => Some(core::KIND),
        Field::Attribute(Attribute { key, scope: Scope::Span, .. }) => {
            part.schema.index_of(&format!("{ATTRIBUTE_PREFIX}{key}")).ok()
        }
        _ => None,
    };
    let Some(array) = column.map_or(Ok(None), |column| part.of_shapes(column))? else { return Ok(None) };
    let source = match field {
        Field::Intrinsic(Intrinsic::Kind) => cast(&array).map(Source::Kind),
        _ => typed(&array),
    };
    Ok(source.map(|source| (source, array.len())))
}

/// What spans have of an attribute outside of its column.
fn of_list(part: &Part, cache: &Cache, key: &str) -> Result<Option<Source>, BlockError> {
    if !may_list(part, cache, key)? {
        return Ok(None);
    }
    let array = part.column(cache, core::ATTRIBUTES)?;
    Ok(array.as_ref().and_then(|array| listed(array.as_list_opt(), key)))
}

/// The rows whose column of an attribute has this text, when they can be found without reading it, and what rows have of the
/// attribute in their lists. Blocking.
pub fn with_text(
    part: &Part,
    cache: &Cache,
    key: &str,
    text: &str,
) -> Result<Option<(Source, Option<Source>)>, BlockError> {
    let Ok(column) = part.schema.index_of(&format!("{ATTRIBUTE_PREFIX}{key}")) else { return Ok(None) };
    let Some(rows) = part.rows_with(cache, column, text)? else { return Ok(None) };
    let found = rows.into_iter().map(|row| (row, Value::String(text.to_owned()))).collect();
    Ok(Some((Source::Sparse(found, part.rows), of_list(part, cache, key)?)))
}

/// False: no event or link has this text in an attribute, as can be seen without reading all there is of them. Blocking.
pub fn listed_may_have(part: &Part, cache: &Cache, scope: Scope, key: &str, text: &str) -> Result<bool, BlockError> {
    let (names, column) = match scope {
        Scope::Event => (TagScope::Event, core::EVENTS),
        Scope::Link => (TagScope::Link, core::LINKS),
        _ => return Ok(true),
    };
    Ok(may_have(part, cache, names, key)? && part.may_have_text(cache, column, text)?)
}

fn intrinsic_source(part: &Part, cache: &Cache, intrinsic: Intrinsic) -> Result<Option<Source>, BlockError> {
    let column = |at: usize| part.column(cache, at);
    Ok(match intrinsic {
        Intrinsic::Duration => {
            column(core::DURATION)?.and_then(|array| cast(&array)).map(|array| Source::Duration(not_negative(array)))
        }
        Intrinsic::Name => column(core::NAME)?.as_ref().and_then(typed),
        Intrinsic::Status => {
            let codes = column(core::STATUS_CODE)?.and_then(|array| cast(&array));
            Some(Source::Status(codes, part.rows))
        }
        Intrinsic::StatusMessage => Some(or_empty(column(core::STATUS_MESSAGE)?, part.rows)),
        Intrinsic::Kind => column(core::KIND)?.and_then(|array| cast(&array)).map(Source::Kind),
        Intrinsic::SpanId => column(core::SPAN_ID)?.and_then(|array| cast(&array)).map(Source::Hex),
        Intrinsic::TraceId => column(core::TRACE_ID)?.and_then(|array| cast(&array)).map(Source::Hex),
        Intrinsic::InstrumentationName => Some(or_empty(column(core::SCOPE_NAME)?, part.rows)),
        Intrinsic::InstrumentationVersion => Some(or_empty(column(core::SCOPE_VERSION)?, part.rows)),
        Intrinsic::EventName => entries(column(core::EVENTS)?, |events, at| {
            Value::String(events.column(1).as_string_opt::<i32>().map_or("", |names| names.value(at)).to_owned())
        }),
        Intrinsic::EventTimeSinceStart => {
            let starts = column(core::START_TIME)?.and_then(|array| cast::<TimestampNanosecondArray>(&array));
            since_start(column(core::EVENTS)?, starts)
        }
        Intrinsic::LinkTraceId => entries(column(core::LINKS)?, |links, at| hex_of(links.column(0), at)),
        Intrinsic::LinkSpanId => entries(column(core::LINKS)?, |links, at| hex_of(links.column(1), at)),
        // These need more than the part.
        Intrinsic::ChildCount
        | Intrinsic::Parent
        | Intrinsic::SpanParentId
        | Intrinsic::TraceDuration
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent => None,
    })
}

/// A span that ends before its start lasts no time.
fn not_negative(durations: Int64Array) -> Int64Array {
    if durations.values().iter().all(|duration| *duration >= 0) {
        return durations;
    }
    durations.values().iter().map(|duration| Some((*duration).max(0))).collect()
}

/// Strings that are empty where there are none.
fn or_empty(array: Option<ArrayRef>, rows: usize) -> Source {
    let strings = array.as_ref().and_then(typed);
    if let Some(strings) = &strings
        && strings.present().count_set_bits() == rows
    {
        return strings.clone();
    }
    let mut coded = super::coded::Coded::of(strings.as_slice(), rows);
    for value in &mut coded.values {
        if value.is_nil() {
            *value = Value::String(String::new());
        }
    }
    Source::Codes(Arc::new(Codes { codes: coded.codes, values: Vec::new() }), coded.values)
}

/// An array of a type; cheap.
pub fn cast<T: Array + Clone + 'static>(array: &ArrayRef) -> Option<T> {
    array.as_any().downcast_ref::<T>().cloned()
}

/// A column as a source.
pub fn typed(array: &ArrayRef) -> Option<Source> {
    match array.data_type() {
        DataType::Dictionary(..) => cast(array).map(Source::Strings),
        DataType::Utf8View => cast(array).map(Source::Views),
        DataType::Int64 => cast(array).map(Source::Int),
        DataType::Float64 => cast(array).map(Source::Float),
        DataType::Boolean => cast(array).map(Source::Bool),
        _ => None,
    }
}

fn hex_of(ids: &ArrayRef, at: usize) -> Value {
    match ids.as_fixed_size_binary_opt() {
        Some(ids) if ids.is_valid(at) => Value::String(hex::encode(ids.value(at))),
        _ => Value::Nil,
    }
}

/// The value of a key.
fn value_of(attributes: &[KeyValue], key: &str) -> Value {
    let found = attributes.iter().find(|pair| pair.key == key);
    found.and_then(|pair| pair.value.as_ref()).map_or(Value::Nil, Value::from)
}

fn of_resource(part: &Part, cache: &Cache, key: &str) -> Result<Option<Source>, BlockError> {
    if key == "service.name"
        && let Some(source) = part.column(cache, core::SERVICE_NAME)?.as_ref().and_then(typed)
        && source.present().count_set_bits() == part.rows
    {
        return Ok(Some(source));
    }
    let (codes, resources) = part.resources(cache)?;
    let value = |resource: Option<clew_storage::columns::Resource>| {
        let message = resource.and_then(|resource| resource.message);
        let resource = message.and_then(|message| ResourceMessage::decode(message).ok());
        resource.map_or(Value::Nil, |resource| value_of(&resource.attributes, key))
    };
    let values: Vec<Value> = resources.into_iter().map(value).collect();
    Ok((!values.iter().all(Value::is_nil)).then_some(Source::Codes(codes, values)))
}

fn of_scope(array: Option<ArrayRef>, key: &str) -> Option<Source> {
    let array = array?;
    let fields = array.as_binary_opt::<i32>()?;
    let mut found = Vec::new();
    let mut before: Option<(&[u8], Value)> = None;
    for row in (0..fields.len()).filter(|row| fields.is_valid(*row)) {
        let bytes = fields.value(row);
        let value = match &before {
            Some((same, value)) if *same == bytes => value.clone(),
            _ => InstrumentationScope::decode(bytes).map_or(Value::Nil, |scope| value_of(&scope.attributes, key)),
        };
        if !value.is_nil() {
            found.push((row as u32, value.clone()));
        }
        before = Some((bytes, value));
    }
    (!found.is_empty()).then_some(Source::Sparse(found, fields.len()))
}

impl Source {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        match self {
            Self::Strings(array) => array.len(),
            Self::Views(array) => array.len(),
            Self::Int(array) | Self::Duration(array) => array.len(),
            Self::Float(array) => array.len(),
            Self::Bool(array) => array.len(),
            Self::Kind(array) => array.len(),
            Self::Hex(array) => array.len(),
            Self::Codes(codes, _) => codes.codes.len(),
            Self::Status(_, rows) | Self::Sparse(_, rows) => *rows,
        }
    }

    /// The rows that have a value.
    pub fn present(&self) -> BooleanBuffer {
        let nulls = |nulls: Option<&NullBuffer>| {
            nulls.map_or_else(|| BooleanBuffer::new_set(self.rows()), |nulls| nulls.inner().clone())
        };
        match self {
            Self::Strings(array) => nulls(array.nulls()),
            Self::Views(array) => nulls(array.nulls()),
            Self::Int(array) | Self::Duration(array) => nulls(array.nulls()),
            Self::Float(array) => nulls(array.nulls()),
            Self::Bool(array) => nulls(array.nulls()),
            Self::Hex(array) => nulls(array.nulls()),
            Self::Kind(_) | Self::Status(..) => BooleanBuffer::new_set(self.rows()),
            Self::Codes(codes, values) => {
                BooleanBuffer::collect_bool(codes.codes.len(), |row| !values[codes.codes[row] as usize].is_nil())
            }
            Self::Sparse(found, rows) => sparse(*rows, found.iter().map(|(row, _)| *row)),
        }
    }

    /// The value of a row.
    pub fn value(&self, row: usize) -> Value {
        match self {
            Self::Strings(array) => match array.key(row) {
                Some(key) => Value::String(array.values().as_string::<i32>().value(key).to_owned()),
                None => Value::Nil,
            },
            Self::Views(array) if array.is_valid(row) => Value::String(array.value(row).to_owned()),
            Self::Int(array) if array.is_valid(row) => Value::Int(array.value(row)),
            Self::Duration(array) => Value::Duration(array.value(row)),
            Self::Float(array) if array.is_valid(row) => Value::Float(array.value(row)),
            Self::Bool(array) if array.is_valid(row) => Value::Bool(array.value(row)),
            Self::Status(codes, _) => Value::Status(status(codes.as_ref(), row)),
            Self::Kind(array) => Value::Kind(Kind::from_otlp(array.value(row))),
            Self::Hex(array) if array.is_valid(row) => Value::String(hex::encode(array.value(row))),
            Self::Codes(codes, values) => values[codes.codes[row] as usize].clone(),
            Self::Sparse(found, _) => match found.binary_search_by_key(&(row as u32), |(row, _)| *row) {
                Ok(at) => found[at].1.clone(),
                Err(_) => Value::Nil,
            },
            _ => Value::Nil,
        }
    }
}

/// The status of a row.
pub fn status(codes: Option<&Int32Array>, row: usize) -> Status {
    match codes {
        Some(codes) if codes.is_valid(row) => Status::from_otlp(codes.value(row)),
        _ => Status::Unset,
    }
}

/// A mask of these rows.
pub fn sparse(rows: usize, set: impl Iterator<Item = u32>) -> BooleanBuffer {
    let mut mask = BooleanBufferBuilder::new(rows);
    mask.append_n(rows, false);
    for row in set {
        mask.set_bit(row as usize, true);
    }
    mask.finish()
}

/// The first value that one of the sources has.
pub fn first(sources: &[Source], row: usize) -> Value {
    sources.iter().map(|source| source.value(row)).find(|value| !value.is_nil()).unwrap_or_default()
}
