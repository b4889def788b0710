//! Least and greatest values, for whoever wants to skip pages.

use std::ops::Range;

use parquet::{
    basic::Type,
    data_type::{ByteArray, FixedLenByteArray},
    file::statistics::{Statistics, ValueStatistics},
};

use super::values::Packed;

/// Longer strings are cut: a bound need not be exact.
const MAX_BYTES: usize = 64;

/// Of some values that are not null, as PLAIN has them but without lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: Vec<u8>,
    pub max: Vec<u8>,
    /// Whether they are values themselves.
    pub exact: bool,
}

impl Bounds {
    /// None without values, for values that have no order (NaN among them), and for those that are too dear to compare.
    pub fn of(packed: &Packed<'_>, range: Range<usize>) -> Option<Self> {
        if range.is_empty() {
            return None;
        }
        packed.bounds(range)
    }

    /// Of strings: cut to a prefix.
    pub fn of_strings(min: &[u8], max: &[u8]) -> Option<Self> {
        let exact = min.len() <= MAX_BYTES && max.len() <= MAX_BYTES;
        let min = prefix(min).to_vec();
        let max = if max.len() <= MAX_BYTES { max.to_vec() } else { above(prefix(max))? };
        Some(Self { min, max, exact })
    }
}

/// The start of a string, cut between characters.
fn prefix(value: &[u8]) -> &[u8] {
    if value.len() <= MAX_BYTES {
        return value;
    }
    let mut end = MAX_BYTES;
    while end > MAX_BYTES - 4 && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &value[..end]
}

/// A string that is greater than all that start with `prefix`.
fn above(prefix: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(prefix).ok()?;
    for (at, last) in text.char_indices().rev() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            let mut above = text[..at].to_owned();
            above.push(next);
            return Some(above.into_bytes());
        }
    }
    None
}

/// For the footer.
pub fn chunk(physical: Type, bounds: Option<Bounds>, nulls: u64) -> Option<Statistics> {
    let nulls = Some(nulls);
    let exact = bounds.as_ref().is_none_or(|bounds| bounds.exact);
    let (min, max) = bounds.map(|bounds| (bounds.min, bounds.max)).unzip();
    let word = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)));
    Some(match physical {
        Type::INT64 => Statistics::int64(word(min), word(max), None, nulls, false),
        Type::DOUBLE => {
            let double = |bytes| word(bytes).map(|bits| f64::from_bits(bits as u64));
            Statistics::double(double(min), double(max), None, nulls, false)
        }
        Type::INT32 => {
            let word =
                |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
            Statistics::int32(word(min), word(max), None, nulls, false)
        }
        Type::BOOLEAN => {
            let bit = |bytes: Option<Vec<u8>>| bytes.map(|bytes| bytes == [1]);
            Statistics::boolean(bit(min), bit(max), None, nulls, false)
        }
        Type::BYTE_ARRAY => {
            let value = ValueStatistics::new(min.map(ByteArray::from), max.map(ByteArray::from), None, nulls, false);
            Statistics::ByteArray(value.with_min_is_exact(exact).with_max_is_exact(exact))
        }
        Type::FIXED_LEN_BYTE_ARRAY => {
            let of = |bytes: Option<Vec<u8>>| bytes.map(|bytes| FixedLenByteArray::from(ByteArray::from(bytes)));
            Statistics::fixed_len_byte_array(of(min), of(max), None, nulls, false)
        }
        // The schema has none.
        Type::FLOAT | Type::INT96 => return None,
    })
}
