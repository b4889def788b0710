//! Attributes on the wire: KeyValue and AnyValue.

use clew_common::otlp::wire::{BYTES, FIXED64, VARINT, bytes, key, key_of, put_varint, skip, varint};

/// A KeyValue.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: Value<'a>,
    /// Whether it says more than key and value do, or has no value.
    pub(super) odd: bool,
}

/// An AnyValue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// Without any value.
    Empty,
    String(&'a [u8]),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// An array, a list of pairs, bytes, whatever else: the message.
    Other(&'a [u8]),
}

const KEY: u32 = key_of(1, BYTES);
const VALUE: u32 = key_of(2, BYTES);

const STRING: u8 = key_of(1, BYTES) as u8;
const BOOL: u8 = key_of(2, VARINT) as u8;
const INT: u8 = key_of(3, VARINT) as u8;
const DOUBLE: u8 = key_of(4, FIXED64) as u8;

/// Reads a KeyValue. None when its framing is broken.
#[inline(always)]
pub(super) fn read(message: &[u8]) -> Option<Pair<'_>> {
    // As nearly every attribute is written: both fields, in order, short.
    if let [0x0A, key_len @ ..=0x7F, rest @ ..] = message
        && let Some((key, [0x12, value_len, value @ ..])) = rest.split_at_checked(usize::from(*key_len))
        && value.len() < 0x80
        && value.len() == usize::from(*value_len)
    {
        return Some(Pair { key, value: any_value(value), odd: false });
    }
    any_pair(message)
}

#[inline(never)]
fn any_pair(mut rest: &[u8]) -> Option<Pair<'_>> {
    let (mut name, mut value): (Option<&[u8]>, Option<&[u8]>) = (None, None);
    let mut odd = false;
    while !rest.is_empty() {
        match key(&mut rest)? {
            KEY => odd |= name.replace(bytes(&mut rest)?).is_some(),
            VALUE => odd |= value.replace(bytes(&mut rest)?).is_some(),
            key => {
                skip(&mut rest, key)?;
                odd = true;
            }
        }
    }
    Some(Pair {
        key: name.unwrap_or_default(),
        value: any_value(value.unwrap_or_default()),
        odd: odd || value.is_none(),
    })
}

/// Reads an AnyValue: one whose only field is a plain value, anything else as it is.
#[inline(always)]
fn any_value(message: &[u8]) -> Value<'_> {
    let Some((&first, mut rest)) = message.split_first() else { return Value::Empty };
    // Each returns by itself: a value that is chosen first and looked at then goes through memory, for a tenth of the time
    // that a span takes.
    match first {
        STRING => {
            if let Some(text) = bytes(&mut rest)
                && rest.is_empty()
            {
                return Value::String(text);
            }
        }
        INT => {
            if let Some(value) = varint(&mut rest)
                && rest.is_empty()
            {
                return Value::Int(value as i64);
            }
        }
        BOOL => {
            if let Some(value) = varint(&mut rest)
                && rest.is_empty()
            {
                return Value::Bool(value != 0);
            }
        }
        DOUBLE => {
            if let Ok(value) = rest.try_into() {
                return Value::Double(f64::from_le_bytes(value));
            }
        }
        _ => {}
    }
    Value::Other(message)
}

/// Writes a KeyValue as field `field` of a message; `scratch` is overwritten.
pub(super) fn put(out: &mut Vec<u8>, field: u32, key: &[u8], value: Value<'_>, scratch: &mut Vec<u8>) {
    scratch.clear();
    match value {
        Value::Empty => {}
        Value::String(text) => put_bytes(scratch, 1, text),
        Value::Bool(value) => scratch.extend([BOOL, u8::from(value)]),
        Value::Int(value) => {
            scratch.push(INT);
            put_varint(scratch, value as u64);
        }
        Value::Double(value) => {
            scratch.push(DOUBLE);
            scratch.extend(value.to_le_bytes());
        }
        Value::Other(message) => scratch.extend_from_slice(message),
    }
    let length = bytes_len(key) + bytes_len(scratch);
    put_varint(out, key_of(field, BYTES).into());
    put_varint(out, length as u64);
    put_bytes(out, 1, key);
    put_bytes(out, 2, scratch);
}

/// Writes a field that is a length and bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, key_of(field, BYTES).into());
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How long a field with a number under 16 is.
pub(super) fn bytes_len(bytes: &[u8]) -> usize {
    1 + clew_common::otlp::wire::varint_len(bytes.len() as u64) + bytes.len()
}
