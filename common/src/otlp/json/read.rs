//! JSON to protobuf, in one pass over the text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

use super::{
    JsonError, scalar,
    schema::{Field, Kind, Label, Message, REQUEST},
};
use crate::otlp::{
    walk::MAX_DEPTH,
    wire::{BYTES, FIXED32, FIXED64, VARINT, key_of, put_varint, varint_len},
};

/// Bytes of a message about what is wrong: the text itself may be in it.
const MAX_ERROR_BYTES: usize = 300;

/// An ExportTraceServiceRequest in JSON as protobuf. Ids of a wrong size, and values nested deeper than
/// [`MAX_DEPTH`], get through as what `walk::check` refuses, so that they cost their span and not the request.
///
/// # Errors
/// When it is not JSON in UTF-8, or a field has a value of another type or out of range.
pub fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let text = simdutf8::compat::from_utf8(json).map_err(|error| not_utf8(json, error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Values recurse up to MAX_DEPTH here and no further; all else is skipped without recursion.
    deserializer.disable_recursion_limit();
    let mut to = Output { bytes: Vec::with_capacity(json.len() / 2), path: Vec::new() };
    let request = Fields { message: &REQUEST, depth: 0, to: &mut to };
    let read = (&mut deserializer).deserialize_map(request).and_then(|()| deserializer.end());
    match read {
        Ok(()) => Ok(to.bytes),
        Err(error) => Err(describe(&error, &to.path)),
    }
}

fn not_utf8(json: &[u8], at: usize) -> JsonError {
    let before = &json[..at];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    JsonError { path: String::new(), what: "not UTF-8".into(), line, column: at - line_start + 1 }
}

fn describe(error: &serde_json::Error, path: &[Step]) -> JsonError {
    let (line, column) = (error.line(), error.column());
    let mut what = error.to_string();
    if let Some(stripped) = what.strip_suffix(&format!(" at line {line} column {column}")) {
        what.truncate(stripped.len());
    }
    if what.len() > MAX_ERROR_BYTES {
        // The end says what was expected.
        let start = what.floor_char_boundary(MAX_ERROR_BYTES / 2);
        let end = what.ceil_char_boundary(what.len() - MAX_ERROR_BYTES / 2);
        what.replace_range(start..end, "...");
    }
    let mut place = String::new();
    for step in path {
        match step {
            Step::Field(name) if place.is_empty() => place.push_str(name),
            Step::Field(name) => place.extend([".", name]),
            Step::Element(index) => place.push_str(&format!("[{index}]")),
        }
    }
    JsonError { path: place, what, line, column }
}

/// A step to the value that is being read.
enum Step {
    Field(&'static str),
    Element(usize),
}

struct Output {
    bytes: Vec<u8>,
    path: Vec<Step>,
}

impl Output {
    fn varint(&mut self, field: &Field, value: u64) {
        put_varint(&mut self.bytes, key_of(field.number, VARINT).into());
        put_varint(&mut self.bytes, value);
    }

    fn fixed(&mut self, field: &Field, wire_type: u32, bytes: &[u8]) {
        put_varint(&mut self.bytes, key_of(field.number, wire_type).into());
        self.bytes.extend_from_slice(bytes);
    }

    fn length_delimited(&mut self, field: &Field, bytes: &[u8]) {
        put_varint(&mut self.bytes, key_of(field.number, BYTES).into());
        put_varint(&mut self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Starts a message of unknown length. Its body starts at what is returned.
    fn open(&mut self, field: &Field) -> usize {
        put_varint(&mut self.bytes, key_of(field.number, BYTES).into());
        // Most messages by far are attributes and values of less than 128 bytes.
        self.bytes.push(0);
        self.bytes.len()
    }

    fn close(&mut self, body_at: usize) {
        let length = self.bytes.len() - body_at;
        let extra = varint_len(length as u64) - 1;
        if extra > 0 {
            self.bytes.resize(body_at + extra + length, 0);
            self.bytes.copy_within(body_at..body_at + length, body_at + extra);
        }
        let mut left = length;
        for byte in &mut self.bytes[body_at - 1..body_at + extra] {
            *byte = left as u8 | 0x80;
            left >>= 7;
        }
        self.bytes[body_at + extra - 1] &= 0x7F;
    }
}

/// Reads an object as the fields of a message.
struct Fields<'a> {
    message: &'static Message,
    /// How deep its values are nested.
    depth: u32,
    to: &'a mut Output,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // By the field's place in the table.
        let mut given = 0u32;
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let Some((at, field)) = self.message.by_name(&name.0) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // Zero is written only where it takes back what came before.
            let zero_counts = field.label == Label::OneOf || given & 1 << at != 0;
            given |= 1 << at;
            self.to.path.push(Step::Field(field.name));
            map.next_value_seed(Value { field, element: false, zero_counts, depth: self.depth, to: self.to })?;
            self.to.path.pop();
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Reads the value of a field.
struct Value<'a> {
    field: &'static Field,
    /// Whether this is within the list of a repeated field.
    element: bool,
    /// Whether a value of zero is to be written.
    zero_counts: bool,
    depth: u32,
    to: &'a mut Output,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let list = self.field.label == Label::Many && !self.element;
        if let (Kind::Message(message), false) = (self.field.kind, list)
            && message.nests
            && self.depth == MAX_DEPTH
        {
            // An empty value one level deeper than is allowed makes `walk::check` refuse the span.
            if Option::<IgnoredAny>::deserialize(deserializer)?.is_some() || self.element {
                self.to.length_delimited(self.field, &[]);
            }
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        let (name, min, max) = scalar::range(self.field.kind);
        if !(min..=max).contains(&value) {
            return Err(E::custom(format_args!("out of range: {name} is from {min} to {max}")));
        }
        if value == 0 && !self.zero_counts {
            return Ok(());
        }
        match self.field.kind {
            Kind::Fixed32 => self.to.fixed(self.field, FIXED32, &(value as u32).to_le_bytes()),
            Kind::Fixed64 => self.to.fixed(self.field, FIXED64, &(value as u64).to_le_bytes()),
            // Negative ones take ten bytes, as protobuf has it.
            _ => self.to.varint(self.field, value as i64 as u64),
        }
        Ok(())
    }

    fn double<E>(self, value: f64) -> Result<(), E> {
        if value.to_bits() != 0 || self.zero_counts {
            self.to.fixed(self.field, FIXED64, &value.to_le_bytes());
        }
        Ok(())
    }

    fn length_delimited<E>(self, bytes: &[u8]) -> Result<(), E> {
        if !bytes.is_empty() || self.zero_counts {
            self.to.length_delimited(self.field, bytes);
        }
        Ok(())
    }

    /// Whether this has to be a list.
    fn is_list(&self) -> bool {
        self.field.label == Label::Many && !self.element
    }

    fn is_integer(&self) -> bool {
        use Kind::{Enum, Fixed32, Fixed64, Int32, Int64, Uint32};
        !self.is_list() && matches!(self.field.kind, Int32 | Int64 | Uint32 | Fixed32 | Fixed64 | Enum(_))
    }

    fn is_double(&self) -> bool {
        !self.is_list() && matches!(self.field.kind, Kind::Double)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_list() {
            return f.write_str("a list");
        }
        match self.field.kind {
            Kind::Text => f.write_str("a string"),
            Kind::Bytes => f.write_str("a string of base64"),
            Kind::Id(size) => write!(f, "a string of {} hex digits", size * 2),
            Kind::Bool => f.write_str("true or false"),
            Kind::Double => f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\""),
            Kind::Enum(names) => write!(f, "a number or one of {}", names.join(", ")),
            Kind::Message(_) => f.write_str("an object"),
            kind => write!(f, "{} as a number or a string", scalar::range(kind).0),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        // An element keeps its place.
        if self.element {
            self.to.length_delimited(self.field, &[]);
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.field.kind, Kind::Bool) {
            return Err(E::invalid_type(Unexpected::Bool(value), &self));
        }
        if value || self.zero_counts {
            self.to.varint(self.field, value.into());
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        if self.is_integer() {
            self.integer(value.into())
        } else if self.is_double() {
            self.double(value as f64)
        } else {
            Err(E::invalid_type(Unexpected::Signed(value), &self))
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if self.is_integer() {
            self.integer(value.into())
        } else if self.is_double() {
            self.double(value as f64)
        } else {
            Err(E::invalid_type(Unexpected::Unsigned(value), &self))
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if self.is_double() {
            return self.double(value);
        }
        match scalar::integral(value) {
            Some(value) if self.is_integer() => self.integer(value),
            _ => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind {
            _ if self.is_list() => Err(E::invalid_type(Unexpected::Str(text), &self)),
            Kind::Bool | Kind::Message(_) => Err(E::invalid_type(Unexpected::Str(text), &self)),
            Kind::Text => self.length_delimited(text.as_bytes()),
            Kind::Bytes => self.length_delimited(&scalar::bytes(text).map_err(E::custom)?),
            Kind::Id(size) => self.length_delimited(&scalar::id(text, size).map_err(E::custom)?),
            Kind::Double => match scalar::double(text) {
                Some(value) => self.double(value),
                None => Err(E::invalid_value(Unexpected::Str(text), &self)),
            },
            kind => match scalar::enumeration(kind, text).or_else(|| scalar::integer(text)) {
                Some(value) => self.integer(value),
                None => Err(E::invalid_value(Unexpected::Str(text), &self)),
            },
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.is_list() {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let Self { field, depth, to, .. } = self;
        for index in 0.. {
            to.path.push(Step::Element(index));
            let element = Value { field, element: true, zero_counts: true, depth, to };
            if list.next_element_seed(element)?.is_none() {
                to.path.pop();
                break;
            }
            to.path.pop();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let (Kind::Message(message), false) = (self.field.kind, self.is_list()) else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        let body_at = self.to.open(self.field);
        Fields { message, depth: self.depth + u32::from(message.nests), to: self.to }.visit_map(map)?;
        self.to.close(body_at);
        Ok(())
    }
}
