//! Attributes as maps of texts.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ListArray, StructArray,
    builder::{MapBuilder, MapFieldNames, StringBuilder},
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_schema::{DataType, Field, Fields};
use clew_query::traceql::value::Value;
use clew_storage::schema::ATTRIBUTE_PREFIX;
use datafusion::common::Result;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message;
use serde_json::json;

use crate::{
    columns::{Kind, SpanColumn},
    error::damaged,
};

/// A map of texts to texts. Of several values with the same key all are there.
pub fn map_type() -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

fn builder() -> MapBuilder<StringBuilder, StringBuilder> {
    // As the engine's functions of maps have them.
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

/// A single value as text; None for any other.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Status(status) => Some(status.to_string()),
        Value::Kind(kind) => Some(kind.to_string()),
        Value::Duration(_) | Value::Nil | Value::Array(_) | Value::Opaque => None,
    }
}

/// Attributes of messages.
pub fn of_messages<'a>(rows: impl Iterator<Item = &'a [KeyValue]>) -> Result<ArrayRef> {
    let mut maps = builder();
    for row in rows {
        for pair in row {
            maps.keys().append_value(&pair.key);
            maps.values().append_option(pair.value.as_ref().and_then(text_of));
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

/// The columns of lists of attributes: see `clew_storage::schema::ATTRIBUTE`.
struct Entries<'a> {
    lists: &'a ListArray,
    entries: &'a StructArray,
}

impl<'a> Entries<'a> {
    fn of(lists: &'a ArrayRef) -> Result<Self> {
        let lists = lists.as_list_opt::<i32>();
        let entries =
            lists.and_then(|lists| lists.values().as_struct_opt()).filter(|entries| entries.num_columns() == 6);
        match (lists, entries) {
            (Some(lists), Some(entries)) => Ok(Self { lists, entries }),
            _ => Err(damaged("attributes are no list of them")),
        }
    }

    fn key(&self, at: usize) -> &'a str {
        self.entries.column(0).as_string::<i32>().value(at)
    }

    /// Whether a column of a kind holds an entry's value.
    fn fits(&self, at: usize, kind: Kind) -> bool {
        let is = |column: usize| self.entries.column(column).is_valid(at);
        match kind {
            Kind::Text => (1..5).any(is),
            Kind::Int => is(2),
            Kind::Double => is(2) || is(3),
            Kind::Bool => is(4),
            Kind::Unsigned | Kind::Time | Kind::Map => false,
        }
    }

    fn text(&self, at: usize) -> Option<String> {
        let column = (1..6).find(|column| self.entries.column(*column).is_valid(at))?;
        let array = self.entries.column(column);
        match column {
            1 => Some(array.as_string::<i32>().value(at).to_owned()),
            2 => Some(array.as_primitive::<Int64Type>().value(at).to_string()),
            3 => Some(array.as_primitive::<Float64Type>().value(at).to_string()),
            4 => Some(array.as_boolean().value(at).to_string()),
            _ => text_of(&AnyValue::decode(array.as_binary::<i32>().value(at)).ok()?),
        }
    }

    fn maps(&self, keep: impl Fn(usize) -> bool) -> Result<ArrayRef> {
        let mut maps = builder();
        for row in self.lists.value_offsets().windows(2) {
            let mut any = false;
            for at in (row[0] as usize..row[1] as usize).filter(|at| keep(*at)) {
                maps.keys().append_value(self.key(at));
                maps.values().append_option(self.text(at));
                any = true;
            }
            maps.append(any)?;
        }
        Ok(Arc::new(maps.finish()))
    }
}

/// All of lists of attributes.
pub fn of_lists(lists: &ArrayRef) -> Result<ArrayRef> {
    Entries::of(lists)?.maps(|_| true)
}

/// Those of spans that no column holds.
pub fn of_rest(lists: &ArrayRef, columns: &[SpanColumn]) -> Result<ArrayRef> {
    let entries = Entries::of(lists)?;
    let of_span = |column: &SpanColumn| Some((column.name.strip_prefix(ATTRIBUTE_PREFIX)?.to_owned(), column.kind));
    let columns: HashMap<String, Kind> = columns.iter().filter_map(of_span).collect();
    entries.maps(|at| !columns.get(entries.key(at)).is_some_and(|kind| entries.fits(at, *kind)))
}

/// A value as text: lists and maps as JSON, bytes in hex. None when there is none.
pub fn text_of(value: &AnyValue) -> Option<String> {
    match value.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::BytesValue(bytes) => Some(hex::encode(bytes)),
        any_value::Value::DoubleValue(number) => Some(number.to_string()),
        _ => Some(json_of(value).to_string()),
    }
}

/// Nested no deeper than what the ports let in.
fn json_of(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        None => serde_json::Value::Null,
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(yes)) => json!(yes),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::BytesValue(bytes)) => json!(hex::encode(bytes)),
        Some(any_value::Value::ArrayValue(array)) => array.values.iter().map(json_of).collect(),
        Some(any_value::Value::KvlistValue(list)) => {
            let pair = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(json!(null), json_of));
            serde_json::Value::Object(list.values.iter().map(pair).collect())
        }
        // The other kinds are of profiles, not of spans.
        Some(_) => serde_json::Value::Null,
    }
}
