//! Values of TraceQL in a collector's answers.

use clew_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use serde_json::json;

use crate::text::harmless;

/// `name=value name=value`.
pub(crate) fn pairs(pairs: &[KeyValue]) -> String {
    let one = |pair: &KeyValue| harmless(&format!("{}={}", pair.key, text(pair.value.as_ref())));
    pairs.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A value for people.
pub(crate) fn text(value: Option<&AnyValue>) -> String {
    match json(value) {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => "nil".to_owned(),
        other => other.to_string(),
    }
}

/// An object.
pub(crate) fn object(pairs: &[KeyValue]) -> serde_json::Value {
    let pair = |pair: &KeyValue| (pair.key.clone(), json(pair.value.as_ref()));
    serde_json::Value::Object(pairs.iter().map(pair).collect())
}

/// A value. Numbers that JSON does not have are texts.
fn json(value: Option<&AnyValue>) -> serde_json::Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(yes)) => json!(yes),
        Some(Value::IntValue(number)) => json!(number),
        Some(Value::DoubleValue(number)) if !number.is_finite() => json!(number.to_string()),
        Some(Value::DoubleValue(number)) => json!(number),
        Some(Value::ArrayValue(array)) => array.values.iter().map(|value| json(Some(value))).collect(),
        Some(Value::KvlistValue(map)) => object(&map.values),
        Some(Value::BytesValue(bytes)) => json!(hex::encode(bytes)),
        None => serde_json::Value::Null,
    }
}
