//! What JSON has for ids, bytes and numbers.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::schema::Kind;

const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// The alphabet that proto3's JSON writes, and reads with or without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, PADDING);

/// Bytes from base64 of either alphabet.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let engine = if text.contains(['-', '_']) { &BASE64_URL } else { &BASE64 };
    engine.decode(text).map_err(|error| format!("not base64: {error}"))
}

/// An id of `size` bytes from hex, or from padded base64 where the length says so: 24 characters for 16 bytes, 12 for 8.
///
/// Hex of another length is taken as it is: then only that span is bad.
pub(super) fn id(text: &str, size: usize) -> Result<Vec<u8>, String> {
    if text.len() == size.div_ceil(3) * 4 && text.ends_with('=') {
        return bytes(text);
    }
    hex::decode(text).map_err(|error| format!("an id has to be {} hex digits: {error}", 2 * size))
}

/// A value of an enum by its name.
pub(super) fn enumeration(kind: Kind, text: &str) -> Option<i128> {
    let Kind::Enum(names) = kind else { return None };
    names.iter().position(|name| *name == text).and_then(|at| i128::try_from(at).ok())
}

/// An integer from JSON's text for one, which may be written as 1.0e3.
pub(super) fn integer(text: &str) -> Option<i128> {
    text.parse::<i64>()
        .map(i128::from)
        .or_else(|_| text.parse::<u64>().map(i128::from))
        .ok()
        .or_else(|| text.parse().ok().and_then(integral))
}

/// An integer from a float that is one. What is out of all ranges becomes i128's least or greatest; so does -2^63, which
/// is what integers just under the range of 64 bits are read as, while the one that is in range is read exactly.
pub(super) fn integral(float: f64) -> Option<i128> {
    match float {
        _ if float.fract() != 0.0 => None,
        ..=-9_223_372_036_854_775_808.0 => Some(i128::MIN),
        _ => Some(float as i128),
    }
}

/// A double from text.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust's parser knows more names for these than JSON.
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) => {
            text.parse().ok()
        }
        _ => None,
    }
}

/// The name and the range of a kind of integer.
pub(super) fn range(kind: Kind) -> (&'static str, i128, i128) {
    match kind {
        Kind::Uint32 | Kind::Fixed32 => ("a 32-bit number", 0, u32::MAX.into()),
        Kind::Fixed64 => ("a 64-bit number", 0, u64::MAX.into()),
        Kind::Int64 => ("a signed 64-bit number", i64::MIN.into(), i64::MAX.into()),
        _ => ("a signed 32-bit number", i32::MIN.into(), i32::MAX.into()),
    }
}
