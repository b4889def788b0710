//! Checks attributes and what has them besides spans: resources and scopes.

use super::{
    super::wire::{BYTES, FIXED64, VARINT, bytes, key, key_of, skip, take, varint},
    Flaw, MAX_DEPTH,
};

/// Checks a string.
#[inline(always)]
pub(super) fn utf8(text: &[u8]) -> Result<(), Flaw> {
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Flaw::Utf8),
    }
}

/// Checks the next field, a string.
#[inline(always)]
pub(super) fn string(rest: &mut &[u8]) -> Result<(), Flaw> {
    utf8(bytes(rest).ok_or(Flaw::Framing)?)
}

/// Checks a field that is none of the message's, whose highest number is `known`: one of those has a wrong wire type here.
#[inline]
pub(super) fn unknown(rest: &mut &[u8], key: u32, known: u32) -> Result<(), Flaw> {
    if key >> 3 <= known {
        return Err(Flaw::Framing);
    }
    skip(rest, key).ok_or(Flaw::Framing)
}

/// Checks a Resource.
pub(super) fn resource(mut rest: &[u8]) -> Result<(), Flaw> {
    const ATTRIBUTE: u32 = key_of(1, BYTES);
    const DROPPED: u32 = key_of(2, VARINT);
    const ENTITY_REF: u32 = key_of(3, BYTES);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            ATTRIBUTE => key_value(bytes(&mut rest).ok_or(Flaw::Framing)?, 1)?,
            DROPPED => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            ENTITY_REF => entity_ref(bytes(&mut rest).ok_or(Flaw::Framing)?)?,
            key => unknown(&mut rest, key, 3)?,
        }
    }
    Ok(())
}

/// Checks an EntityRef: four fields of strings.
fn entity_ref(mut rest: &[u8]) -> Result<(), Flaw> {
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            key if (1..=4).contains(&(key >> 3)) && key & 7 == BYTES => string(&mut rest)?,
            key => unknown(&mut rest, key, 4)?,
        }
    }
    Ok(())
}

/// Checks an InstrumentationScope.
pub(super) fn scope(mut rest: &[u8]) -> Result<(), Flaw> {
    const NAME: u32 = key_of(1, BYTES);
    const VERSION: u32 = key_of(2, BYTES);
    const ATTRIBUTE: u32 = key_of(3, BYTES);
    const DROPPED: u32 = key_of(4, VARINT);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            NAME | VERSION => string(&mut rest)?,
            ATTRIBUTE => key_value(bytes(&mut rest).ok_or(Flaw::Framing)?, 1)?,
            DROPPED => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            key => unknown(&mut rest, key, 4)?,
        }
    }
    Ok(())
}

/// Checks a KeyValue whose value is at `depth`.
pub(super) fn key_value(mut rest: &[u8], depth: u32) -> Result<(), Flaw> {
    const KEY: u32 = key_of(1, BYTES);
    const VALUE: u32 = key_of(2, BYTES);
    const KEY_STRINDEX: u32 = key_of(3, VARINT);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            KEY => string(&mut rest)?,
            VALUE => any_value(bytes(&mut rest).ok_or(Flaw::Framing)?, depth)?,
            KEY_STRINDEX => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            key => unknown(&mut rest, key, 3)?,
        }
    }
    Ok(())
}

/// Checks an AnyValue at `depth`.
fn any_value(mut rest: &[u8], depth: u32) -> Result<(), Flaw> {
    const STRING: u32 = key_of(1, BYTES);
    const BOOL: u32 = key_of(2, VARINT);
    const INT: u32 = key_of(3, VARINT);
    const DOUBLE: u32 = key_of(4, FIXED64);
    const ARRAY: u32 = key_of(5, BYTES);
    const KVLIST: u32 = key_of(6, BYTES);
    const RAW: u32 = key_of(7, BYTES);
    const STRING_STRINDEX: u32 = key_of(8, VARINT);
    if depth > MAX_DEPTH {
        return Err(Flaw::TooDeep);
    }
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            STRING => string(&mut rest)?,
            BOOL | INT | STRING_STRINDEX => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            DOUBLE => _ = take(&mut rest, 8).ok_or(Flaw::Framing)?,
            ARRAY => list(bytes(&mut rest).ok_or(Flaw::Framing)?, depth, any_value)?,
            KVLIST => list(bytes(&mut rest).ok_or(Flaw::Framing)?, depth, key_value)?,
            RAW => _ = bytes(&mut rest).ok_or(Flaw::Framing)?,
            key => unknown(&mut rest, key, 8)?,
        }
    }
    Ok(())
}

/// Checks an ArrayValue or a KeyValueList of a value at `depth`: field 1 holds the elements.
fn list(mut rest: &[u8], depth: u32, element: fn(&[u8], u32) -> Result<(), Flaw>) -> Result<(), Flaw> {
    const VALUES: u32 = key_of(1, BYTES);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            VALUES => element(bytes(&mut rest).ok_or(Flaw::Framing)?, depth + 1)?,
            key => unknown(&mut rest, key, 1)?,
        }
    }
    Ok(())
}
