//! Values of TraceQL in messages.

use clew_proto::opentelemetry::proto::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use clew_query::traceql::{ast::Literal, value::Value};

/// A name and a value.
pub fn key_value(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)) }
}

/// A name and a text.
pub fn key_text(key: &str, text: String) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) }
}

/// A value. What OTLP has no type for is its text, as in queries; bytes and maps are left empty.
pub fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Bool(yes) => Some(any_value::Value::BoolValue(*yes)),
        Value::Int(number) => Some(any_value::Value::IntValue(*number)),
        Value::Float(number) => Some(any_value::Value::DoubleValue(*number)),
        Value::Array(elements) => {
            Some(any_value::Value::ArrayValue(ArrayValue { values: elements.iter().map(any).collect() }))
        }
        Value::Opaque => None,
        Value::Nil | Value::Duration(_) | Value::String(_) | Value::Status(_) | Value::Kind(_) => {
            Some(any_value::Value::StringValue(text(value)))
        }
    };
    AnyValue { value }
}

/// A value as text.
pub fn text(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Duration(ns) => Literal::Duration(*ns).to_string(),
        Value::String(text) => text.clone(),
        Value::Status(status) => status.to_string(),
        Value::Kind(kind) => kind.to_string(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Opaque => String::new(),
    }
}
