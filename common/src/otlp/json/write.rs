//! Protobuf to JSON.

use std::fmt::Write;

use base64::Engine;

use super::{
    Ids,
    scalar::BASE64,
    schema::{Field, Kind, Label, MAX_FIELDS, Message, REQUEST, RESOURCE_SPANS},
    text,
};
use crate::otlp::{
    walk::MAX_DEPTH,
    wire::{Raw, next_field},
};

/// TracesData as JSON: `{"resourceSpans":[...]}`. It has passed `walk::check`; of what has not, a message is written up to
/// where it is broken. Unknown fields are left out, as JSON has no name for them.
pub fn from_protobuf(traces_data: &[u8], ids: Ids) -> String {
    // JSON takes two to three times the room.
    let mut out = String::with_capacity(traces_data.len() * 5 / 2);
    Writer { out: &mut out, ids }.object(&REQUEST, traces_data, 0);
    out
}

/// Writes only the list of ResourceSpans, `[{...},...]`, for answers that have it under another name.
pub fn write_resource_spans_array(out: &mut String, traces_data: &[u8], ids: Ids) {
    let mut writer = Writer { out, ids };
    writer.out.push('[');
    let mut rest = traces_data;
    let mut first = true;
    while let Some(value) = next_field(&mut rest) {
        if let (1, Raw::Bytes(message)) = value {
            writer.comma(&mut first);
            writer.object(&RESOURCE_SPANS, message, 0);
        }
    }
    writer.out.push(']');
}

/// What was found of a field in a message.
#[derive(Clone, Copy, Default)]
struct Found<'a> {
    /// How often; of a oneof, since another of its fields came.
    count: usize,
    /// The message from where it came first.
    from: &'a [u8],
    last: Option<Raw<'a>>,
}

struct Writer<'o> {
    out: &'o mut String,
    ids: Ids,
}

impl Writer<'_> {
    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(',');
        }
    }

    /// Writes a message whose values are at `depth`.
    fn object(&mut self, message: &'static Message, body: &[u8], depth: u32) {
        let depth = depth + u32::from(message.nests);
        if depth > MAX_DEPTH {
            self.out.push_str("{}");
            return;
        }
        let mut found = [Found::default(); MAX_FIELDS];
        let mut rest = body;
        loop {
            let before = rest;
            let Some((number, raw)) = next_field(&mut rest) else { break };
            let Some((at, field)) = message.by_number(number) else { continue };
            if field.label == Label::OneOf && found[at].count == 0 {
                found = [Found::default(); MAX_FIELDS];
            }
            let found = &mut found[at];
            if found.count == 0 {
                found.from = before;
            }
            found.count += 1;
            found.last = Some(raw);
        }

        self.out.push('{');
        let mut first = true;
        for (field, found) in message.fields.iter().zip(found) {
            let Some(last) = found.last else { continue };
            if field.label == Label::One && is_zero(field, last) {
                continue;
            }
            self.comma(&mut first);
            self.out.push('"');
            self.out.push_str(field.name);
            self.out.push_str("\":");
            match (field.label, field.kind, last) {
                (Label::Many, ..) => self.list(field, found, depth),
                (_, Kind::Message(message), Raw::Bytes(_)) if found.count > 1 => {
                    // Protobuf merges them, and so does putting one after the other.
                    let parts: Vec<&[u8]> = of_field(field, found).collect();
                    self.object(message, &parts.concat(), depth);
                }
                _ => self.value(field, last, depth),
            }
        }
        self.out.push('}');
    }

    fn list(&mut self, field: &Field, found: Found<'_>, depth: u32) {
        self.out.push('[');
        let mut first = true;
        for element in of_field(field, found) {
            self.comma(&mut first);
            self.value(field, Raw::Bytes(element), depth);
        }
        self.out.push(']');
    }

    fn value(&mut self, field: &Field, raw: Raw<'_>, depth: u32) {
        let done = match (field.kind, raw) {
            (Kind::Text, Raw::Bytes(text)) => {
                text::write(self.out, &String::from_utf8_lossy(text));
                Ok(())
            }
            (Kind::Bytes, Raw::Bytes(bytes)) => self.base64(bytes),
            (Kind::Id(_), Raw::Bytes(id)) => match self.ids {
                Ids::Hex => {
                    self.out.push('"');
                    text::write_hex(self.out, id);
                    self.out.push('"');
                    Ok(())
                }
                Ids::Base64 => self.base64(id),
            },
            (Kind::Bool, Raw::Varint(value)) => write!(self.out, "{}", value != 0),
            (Kind::Double, Raw::Fixed64(bytes)) => self.double(f64::from_le_bytes(bytes)),
            (Kind::Int32, Raw::Varint(value)) => write!(self.out, "{}", value as i32),
            (Kind::Uint32, Raw::Varint(value)) => write!(self.out, "{}", value as u32),
            (Kind::Int64, Raw::Varint(value)) => write!(self.out, "\"{}\"", value as i64),
            (Kind::Fixed32, Raw::Fixed32(bytes)) => write!(self.out, "{}", u32::from_le_bytes(bytes)),
            (Kind::Fixed64, Raw::Fixed64(bytes)) => write!(self.out, "\"{}\"", u64::from_le_bytes(bytes)),
            (Kind::Enum(names), Raw::Varint(value)) => self.enumeration(names, value as i32),
            (Kind::Message(message), Raw::Bytes(body)) => {
                self.object(message, body, depth);
                Ok(())
            }
            // Another wire type than the field has.
            _ => write!(self.out, "null"),
        };
        debug_assert!(done.is_ok(), "writing to a String does not fail");
    }

    fn enumeration(&mut self, names: &[&str], value: i32) -> std::fmt::Result {
        match usize::try_from(value).ok().and_then(|at| names.get(at)) {
            Some(name) if self.ids == Ids::Base64 => write!(self.out, "\"{name}\""),
            _ => write!(self.out, "{value}"),
        }
    }

    fn double(&mut self, value: f64) -> std::fmt::Result {
        if value.is_nan() {
            self.out.write_str("\"NaN\"")
        } else if value.is_infinite() {
            self.out.write_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" })
        } else {
            // The shortest digits that are read back as the same number, and an exponent where there would be many.
            write!(self.out, "{value:?}")
        }
    }

    fn base64(&mut self, bytes: &[u8]) -> std::fmt::Result {
        self.out.push('"');
        BASE64.encode_string(bytes, self.out);
        self.out.write_char('"')
    }
}

/// All that a message has of a length-delimited field.
fn of_field<'a>(field: &Field, found: Found<'a>) -> impl Iterator<Item = &'a [u8]> {
    let (number, mut rest) = (field.number, found.from);
    std::iter::from_fn(move || {
        loop {
            if let (found, Raw::Bytes(bytes)) = next_field(&mut rest)?
                && found == number
            {
                return Some(bytes);
            }
        }
    })
    .take(found.count)
}

/// Whether a plain field has the value that it has when it is not there. Messages are there or not.
fn is_zero(field: &Field, raw: Raw<'_>) -> bool {
    match (field.kind, raw) {
        (Kind::Message(_), _) => false,
        (Kind::Uint32, Raw::Varint(value)) => value as u32 == 0,
        (Kind::Int32 | Kind::Enum(_), Raw::Varint(value)) => value as i32 == 0,
        (_, Raw::Varint(value)) => value == 0,
        (_, Raw::Fixed64(bytes)) => bytes == [0; 8],
        (_, Raw::Fixed32(bytes)) => bytes == [0; 4],
        (_, Raw::Bytes(bytes)) => bytes.is_empty(),
    }
}
