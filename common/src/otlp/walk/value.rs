//! Checks attributes and what has them besides spans: resources and scopes.

use super::{
    super::wire::{BYTES, FIXED64, VARINT, bytes, key, key_of, skip, take, varint},
    Flaw, MAX_DEPTH,
};

/// Checks a string.
#[inline(always)]
pub(super) fn utf8(text: &[u8]) -> Result<(), Flaw> {
    if is_short_ascii(text) { Ok(()) } else { other_utf8(text) }
}

#[inline(never)]
fn other_utf8(text: &[u8]) -> Result<(), Flaw> {
    simdutf8::basic::from_utf8(text).map(drop).map_err(|_| Flaw::Utf8)
}

/// Whether the text has up to 64 bytes, all of them ASCII, as nearly every string of a span has. The words that are read
/// overlap, so that there is one branch for each size and no loop.
#[inline(always)]
fn is_short_ascii(text: &[u8]) -> bool {
    const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080_8080_8080;
    let count = text.len();
    let high = if count >= 16 {
        let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) else { return false };
        let mut high = u128::from_ne_bytes(*first) | u128::from_ne_bytes(*last);
        if count > 32 {
            if count > 64 {
                return false;
            }
            let (Some(second), Some(third)) = (text[16..].first_chunk(), text[..count - 16].last_chunk()) else {
                return false;
            };
            high |= u128::from_ne_bytes(*second) | u128::from_ne_bytes(*third);
        }
        high
    } else if count >= 8 {
        let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) else { return false };
        u128::from(u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last))
    } else if count >= 4 {
        let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) else { return false };
        u128::from(u32::from_ne_bytes(*first) | u32::from_ne_bytes(*last))
    } else {
        u128::from(text.iter().fold(0, |high, byte| high | byte))
    };
    high & HIGH == 0
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

/// How many bytes an InstrumentationScope has besides its name and its version, up to where its framing is broken.
pub(super) fn scope_attributes(mut rest: &[u8]) -> u64 {
    const NAME: u32 = key_of(1, BYTES);
    const VERSION: u32 = key_of(2, BYTES);
    let mut attributes = 0;
    while !rest.is_empty() {
        let before = rest.len();
        match key(&mut rest) {
            Some(NAME | VERSION) => {
                if bytes(&mut rest).is_none() {
                    break;
                }
            }
            Some(key) if skip(&mut rest, key).is_some() => attributes += (before - rest.len()) as u64,
            _ => break,
        }
    }
    attributes
}

/// Checks a KeyValue whose value is at `depth`.
#[inline]
pub(super) fn key_value(body: &[u8], depth: u32) -> Result<(), Flaw> {
    if is_short_text(body) { Ok(()) } else { any_key_value(body, depth) }
}

/// Whether this is a KeyValue as SDKs write most: a key, then a value, a string; short and in ASCII. Then its keys and
/// lengths are ASCII too, so that one look at all of its bytes is enough.
#[inline(always)]
fn is_short_text(body: &[u8]) -> bool {
    let [0x0A, key_len, after_key @ ..] = body else { return false };
    let Some([0x12, value_len, value @ ..]) = after_key.get(usize::from(*key_len)..) else { return false };
    let [0x0A, text_len, text @ ..] = value else { return false };
    usize::from(*value_len) == value.len() && usize::from(*text_len) == text.len() && is_short_ascii(body)
}

fn any_key_value(mut rest: &[u8], depth: u32) -> Result<(), Flaw> {
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
