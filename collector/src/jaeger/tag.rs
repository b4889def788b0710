//! Tags: Jaeger's attributes.

use base64::{Engine, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use serde::Serialize;

/// A key with a typed value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tag {
    pub key: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: serde_json::Value,
}

/// The largest whole number that JavaScript has.
const MAX_SAFE: u64 = (1 << 53) - 1;

impl Tag {
    /// A text.
    pub fn text(key: &str, text: impl Into<String>) -> Self {
        Self { key: key.to_owned(), kind: "string", value: text.into().into() }
    }

    /// A yes or no.
    pub fn bool(key: &str, yes: bool) -> Self {
        Self { key: key.to_owned(), kind: "bool", value: yes.into() }
    }

    /// An attribute. Arrays and maps are their JSON, as text.
    pub fn of(pair: &KeyValue) -> Self {
        let (kind, value) = match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            None => ("string", "".into()),
            Some(Value::StringValue(text)) => ("string", text.as_str().into()),
            Some(Value::BoolValue(yes)) => ("bool", (*yes).into()),
            // What JavaScript would round is a text.
            Some(Value::IntValue(number)) if number.unsigned_abs() > MAX_SAFE => ("int64", number.to_string().into()),
            Some(Value::IntValue(number)) => ("int64", (*number).into()),
            Some(Value::DoubleValue(number)) if !number.is_finite() => ("float64", number.to_string().into()),
            Some(Value::DoubleValue(number)) => ("float64", (*number).into()),
            Some(Value::BytesValue(bytes)) => ("binary", STANDARD.encode(bytes).into()),
            Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => {
                ("string", plain(pair.value.as_ref()).to_string().into())
            }
            Some(_) => ("string", "".into()),
        };
        Self { key: pair.key.clone(), kind, value }
    }
}

/// A value as JSON.
fn plain(value: Option<&AnyValue>) -> serde_json::Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(yes)) => (*yes).into(),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) => (*number).into(),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        Some(Value::ArrayValue(array)) => array.values.iter().map(|value| plain(Some(value))).collect(),
        Some(Value::KvlistValue(map)) => {
            let pair = |pair: &KeyValue| (pair.key.clone(), plain(pair.value.as_ref()));
            serde_json::Value::Object(map.values.iter().map(pair).collect())
        }
        _ => serde_json::Value::Null,
    }
}
