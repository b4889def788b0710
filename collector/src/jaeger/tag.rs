//! Tags: Jaeger's attributes.

use base64::{Engine, engine::general_purpose::STANDARD};
use clew_proto::jaeger::api_v2::{self, ValueType};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

/// A tag that is a text.
pub fn text(key: &str, text: impl Into<String>) -> api_v2::KeyValue {
    api_v2::KeyValue { key: key.to_owned(), v_str: text.into(), ..Default::default() }
}

/// A tag that is a yes or a no.
pub fn bool(key: &str, yes: bool) -> api_v2::KeyValue {
    api_v2::KeyValue { key: key.to_owned(), v_type: ValueType::Bool.into(), v_bool: yes, ..Default::default() }
}

/// An attribute. Arrays and maps are their JSON, as text.
pub fn of(KeyValue { key, value, .. }: KeyValue) -> api_v2::KeyValue {
    let tag = |v_type: ValueType| api_v2::KeyValue { v_type: v_type.into(), ..Default::default() };
    let tag = match value.and_then(|value| value.value) {
        Some(Value::StringValue(v_str)) => api_v2::KeyValue { v_str, ..Default::default() },
        Some(Value::BoolValue(v_bool)) => api_v2::KeyValue { v_bool, ..tag(ValueType::Bool) },
        Some(Value::IntValue(v_int64)) => api_v2::KeyValue { v_int64, ..tag(ValueType::Int64) },
        Some(Value::DoubleValue(v_float64)) => api_v2::KeyValue { v_float64, ..tag(ValueType::Float64) },
        Some(Value::BytesValue(bytes)) => api_v2::KeyValue { v_binary: bytes.into(), ..tag(ValueType::Binary) },
        Some(value @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => {
            api_v2::KeyValue { v_str: plain(Some(&value)).to_string(), ..Default::default() }
        }
        Some(_) | None => api_v2::KeyValue::default(),
    };
    api_v2::KeyValue { key, ..tag }
}

/// A value as JSON.
fn plain(value: Option<&Value>) -> serde_json::Value {
    let inner = |value: &AnyValue| plain(value.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(yes)) => (*yes).into(),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) => (*number).into(),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        Some(Value::ArrayValue(array)) => array.values.iter().map(inner).collect(),
        Some(Value::KvlistValue(map)) => {
            let pair = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(serde_json::Value::Null, inner));
            serde_json::Value::Object(map.values.iter().map(pair).collect())
        }
        _ => serde_json::Value::Null,
    }
}
