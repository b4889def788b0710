//! Tags: Jaeger's attributes.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use clew_common::otlp::wire::{Raw, each_field};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message;

/// A tag, borrowed from the bytes of OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag<'a> {
    pub key: &'a str,
    pub value: Value<'a>,
}

/// What a tag says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(&'a [u8]),
}

impl<'a> Tag<'a> {
    /// A tag that is a text.
    pub fn text(key: &'a str, text: &'a str) -> Self {
        Self { key, value: Value::Text(text.into()) }
    }

    /// The text, if it is one that the attribute has.
    pub fn borrowed(&self) -> Option<&'a str> {
        match self.value {
            Value::Text(Cow::Borrowed(text)) => Some(text),
            _ => None,
        }
    }
}

/// Attributes as tags.
#[derive(Debug, Default)]
pub struct Tags<'a> {
    pub tags: Vec<Tag<'a>>,
    /// Those that are nested too deeply to be shown.
    pub left_out: usize,
}

impl<'a> Tags<'a> {
    /// Adds an attribute, a `KeyValue`. Arrays and maps are their JSON, as text. None when it is broken.
    pub fn add(&mut self, attribute: Raw<'a>) -> Option<()> {
        let (mut key, mut any_value) = ("", &[][..]);
        each_field(bytes(attribute)?, |number, raw| {
            match number {
                1 => key = text(raw)?,
                2 => any_value = bytes(raw)?,
                _ => {}
            }
            Some(())
        })?;
        let mut value = Some(Value::Text(Cow::Borrowed("")));
        each_field(any_value, |number, raw| {
            match (number, raw) {
                (1, raw) => value = Some(Value::Text(text(raw)?.into())),
                (2, Raw::Varint(yes)) => value = Some(Value::Bool(yes != 0)),
                (3, Raw::Varint(number)) => value = Some(Value::Int(number as i64)),
                (4, Raw::Fixed64(bytes)) => value = Some(Value::Float(f64::from_le_bytes(bytes))),
                (5 | 6, _) => value = nested(any_value),
                (7, raw) => value = Some(Value::Bytes(bytes(raw)?)),
                _ => {}
            }
            Some(())
        })?;
        match value {
            Some(value) => self.tags.push(Tag { key, value }),
            None => self.left_out += 1,
        }
        Some(())
    }
}

/// The bytes of a field that has some.
pub fn bytes(raw: Raw<'_>) -> Option<&[u8]> {
    match raw {
        Raw::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The text of a field that is one.
pub fn text(raw: Raw<'_>) -> Option<&str> {
    std::str::from_utf8(bytes(raw)?).ok()
}

/// An array or a map; None when it is nested deeper than prost follows.
fn nested(any_value: &[u8]) -> Option<Value<'static>> {
    let decoded = AnyValue::decode(any_value).ok()?;
    Some(Value::Text(plain(decoded.value.as_ref()).to_string().into()))
}

/// A value as JSON.
fn plain(value: Option<&any_value::Value>) -> serde_json::Value {
    use any_value::Value;
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
