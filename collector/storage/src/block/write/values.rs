//! The values of a column chunk that are not null, and the encoding that suits them.

use std::ops::Range;

use hashbrown::HashMap;
use parquet::basic::Encoding;

use super::{
    encode::{byte_stream_split, hybrid, plain_strings, width_of},
    stats::Bounds,
};

/// A dictionary with more bytes is none: a lookup has to decompress it for a single value.
const MAX_DICTIONARY_BYTES: usize = 64 << 10;

/// The values, without nulls.
pub enum Values<'a> {
    I32(&'a [i32]),
    /// Small ones are more frequent.
    Numbers(&'a [i32]),
    I64(&'a [i64]),
    F64(&'a [f64]),
    /// 0 or 1.
    Bool(&'a [u8]),
    /// Sixteen bytes each, equal ones beside each other.
    Ids(&'a [[u8; 16]]),
    /// Eight random bytes each.
    Random(&'a [[u8; 8]]),
    /// Places in a table. A string may be in it twice.
    Keys {
        keys: &'a [u32],
        table: &'a [&'a [u8]],
    },
}

/// A dictionary page.
pub enum Dictionary<'a> {
    I32(Vec<i32>),
    I64(Vec<i64>),
    F64(Vec<f64>),
    Strings(Vec<&'a [u8]>),
}

/// Values with an encoding.
pub enum Packed<'a> {
    /// Keys into a dictionary that is sorted.
    Keys {
        keys: Vec<u32>,
        dictionary: Dictionary<'a>,
        width: u8,
    },
    Words32(&'a [i32]),
    Words64(&'a [i64]),
    Doubles(&'a [f64]),
    Bools(&'a [u8]),
    Ids(&'a [[u8; 16]]),
    Random(&'a [[u8; 8]]),
    Strings(Vec<&'a [u8]>),
}

impl<'a> Packed<'a> {
    /// Chooses by what the values are.
    pub fn of(values: &Values<'a>) -> Self {
        match values {
            Values::I32(values) => match distinct(values, |value| *value) {
                Some((keys, dictionary)) => Self::keys(keys, Dictionary::I32(dictionary)),
                None => Self::Words32(values),
            },
            Values::Numbers(values) => Self::Words32(values),
            Values::I64(values) => match distinct(values, |value| *value) {
                Some((keys, dictionary)) => Self::keys(keys, Dictionary::I64(dictionary)),
                None => Self::Words64(values),
            },
            Values::F64(values) => match distinct(values, |value| value.to_bits()) {
                Some((keys, dictionary)) => Self::keys(keys, Dictionary::F64(dictionary)),
                None => Self::Doubles(values),
            },
            Values::Bool(values) => Self::Bools(values),
            Values::Ids(values) => Self::Ids(values),
            Values::Random(values) => Self::Random(values),
            Values::Keys { keys, table } => match used(keys, table) {
                Some((keys, dictionary)) => Self::keys(keys, Dictionary::Strings(dictionary)),
                None => Self::Strings(keys.iter().map(|key| table[*key as usize]).collect()),
            },
        }
    }

    fn keys(keys: Vec<u32>, dictionary: Dictionary<'a>) -> Self {
        // Whole bytes, so that zstd sees what repeats.
        let width = match width_of(dictionary.len().saturating_sub(1) as u64) {
            0 => 1,
            width @ 1..=2 => width,
            3..=8 => 8,
            _ => 16,
        };
        Self::Keys { keys, dictionary, width }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Keys { keys, .. } => keys.len(),
            Self::Words32(values) => values.len(),
            Self::Words64(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Bools(values) => values.len(),
            Self::Ids(values) => values.len(),
            Self::Random(values) => values.len(),
            Self::Strings(values) => values.len(),
        }
    }

    pub fn dictionary(&self) -> Option<&Dictionary<'a>> {
        match self {
            Self::Keys { dictionary, .. } => Some(dictionary),
            _ => None,
        }
    }

    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Keys { .. } => Encoding::RLE_DICTIONARY,
            Self::Words32(_) | Self::Words64(_) | Self::Doubles(_) => Encoding::BYTE_STREAM_SPLIT,
            // pyarrow reads no DELTA_LENGTH_BYTE_ARRAY where the schema says dictionary.
            Self::Bools(_) | Self::Ids(_) | Self::Random(_) | Self::Strings(_) => Encoding::PLAIN,
        }
    }

    /// Whether trying is worth it.
    pub fn compresses(&self) -> bool {
        !matches!(self, Self::Random(_))
    }

    /// Whether looking for longer matches is worth it. Keys that are packed into a few bits have none: a higher level makes them larger.
    pub fn has_long_matches(&self) -> bool {
        !matches!(self, Self::Keys { .. } | Self::Bools(_))
    }

    /// About what a range takes before compression.
    pub fn raw_bytes(&self, range: Range<usize>) -> usize {
        match self {
            Self::Strings(values) => values[range].iter().map(|value| value.len() + 4).sum(),
            Self::Keys { width, .. } => range.len() * usize::from(*width) / 8,
            Self::Words32(_) => range.len() * 4,
            Self::Words64(_) | Self::Doubles(_) | Self::Random(_) => range.len() * 8,
            Self::Bools(_) => range.len() / 8,
            Self::Ids(_) => range.len() * 16,
        }
    }

    /// Appends a range's values as a page has them.
    pub fn encode(&self, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Self::Keys { keys, width, .. } => {
                out.push(*width);
                hybrid(&keys[range], *width, out);
            }
            Self::Words32(values) => split(&values[range], i32::to_le_bytes, out),
            Self::Words64(values) => split(&values[range], i64::to_le_bytes, out),
            Self::Doubles(values) => split(&values[range], f64::to_le_bytes, out),
            Self::Bools(values) => {
                let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | bit << at);
                out.extend(values[range].chunks(8).map(byte));
            }
            Self::Ids(values) => out.extend_from_slice(values[range].as_flattened()),
            Self::Random(values) => out.extend_from_slice(values[range].as_flattened()),
            Self::Strings(values) => plain_strings(&values[range], out),
        }
    }

    /// The least and the greatest of a range that is not empty.
    pub fn bounds(&self, range: Range<usize>) -> Option<Bounds> {
        fn of<T: Ord + Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Option<Bounds> {
            let (min, max) = (values.iter().min()?, values.iter().max()?);
            Some(Bounds { min: bytes(*min).to_vec(), max: bytes(*max).to_vec(), exact: true })
        }
        match self {
            Self::Keys { keys, dictionary, .. } => {
                let keys = &keys[range];
                dictionary.bounds(*keys.iter().min()? as usize, *keys.iter().max()? as usize)
            }
            Self::Words32(values) => of(&values[range], i32::to_le_bytes),
            Self::Words64(values) => of(&values[range], i64::to_le_bytes),
            Self::Doubles(values) => of_doubles(values[range].iter().copied()),
            Self::Bools(values) => of(&values[range], |bit| [bit]),
            // Sorted.
            Self::Ids(values) => {
                let values = &values[range];
                Some(Bounds { min: values.first()?.to_vec(), max: values.last()?.to_vec(), exact: true })
            }
            Self::Random(_) | Self::Strings(_) => None,
        }
    }
}

impl Dictionary<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Strings(values) => values.len(),
        }
    }

    /// Whether the values are in the order that readers expect.
    pub fn sorted(&self) -> bool {
        matches!(self, Self::Strings(_))
    }

    /// Appends all values as PLAIN.
    pub fn plain(&self, out: &mut Vec<u8>) {
        match self {
            Self::I32(values) => values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
            Self::I64(values) => values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
            Self::F64(values) => values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
            Self::Strings(values) => plain_strings(values, out),
        }
    }

    fn bounds(&self, min: usize, max: usize) -> Option<Bounds> {
        match self {
            Self::I32(values) => Some(Bounds {
                min: values[min].to_le_bytes().into(),
                max: values[max].to_le_bytes().into(),
                exact: true,
            }),
            Self::I64(values) => Some(Bounds {
                min: values[min].to_le_bytes().into(),
                max: values[max].to_le_bytes().into(),
                exact: true,
            }),
            // Sorted by their bits, so that all between are looked at: negative ones are the other way round.
            Self::F64(values) => of_doubles(values[min..=max].iter().copied()),
            Self::Strings(values) => Bounds::of_strings(values[min], values[max]),
        }
    }
}

/// None when one is no number. Zeros get the sign that makes the bound hold for both zeros.
fn of_doubles(values: impl Iterator<Item = f64>) -> Option<Bounds> {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        if value.is_nan() {
            return None;
        }
        min = min.min(value);
        max = max.max(value);
    }
    min = if min == 0.0 { -0.0 } else { min };
    max = if max == 0.0 { 0.0 } else { max };
    Some(Bounds { min: min.to_le_bytes().into(), max: max.to_le_bytes().into(), exact: true })
}

fn split<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N], out: &mut Vec<u8>) {
    let values: Vec<[u8; N]> = values.iter().map(|value| bytes(*value)).collect();
    byte_stream_split(&values, out);
}

/// Keys and a sorted dictionary, if there are few different values.
fn distinct<T: Copy, K: Copy + Ord + std::hash::Hash>(values: &[T], key: fn(&T) -> K) -> Option<(Vec<u32>, Vec<T>)> {
    let most = (MAX_DICTIONARY_BYTES / size_of::<T>()).min(values.len() / 4 + 1);
    if values.is_empty() {
        return None;
    }
    let mut places: HashMap<K, u32> = HashMap::new();
    let mut found: Vec<T> = Vec::new();
    let mut keys = Vec::with_capacity(values.len());
    let mut last: Option<(K, u32)> = None;
    for value in values {
        let this = key(value);
        let place = match last {
            Some((last, place)) if last == this => place,
            _ => *places.entry(this).or_insert_with(|| {
                found.push(*value);
                found.len() as u32 - 1
            }),
        };
        last = Some((this, place));
        if found.len() > most {
            return None;
        }
        keys.push(place);
    }
    let ranks = sort(&mut found, |a, b| key(a).cmp(&key(b)));
    keys.iter_mut().for_each(|key| *key = ranks[*key as usize]);
    Some((keys, found))
}

/// The part of a table that is used, sorted, and keys into it, if it is small enough for a dictionary.
fn used<'a>(keys: &[u32], table: &[&'a [u8]]) -> Option<(Vec<u32>, Vec<&'a [u8]>)> {
    let most = keys.len() / 2 + 1;
    if keys.is_empty() {
        return None;
    }
    let mut places = vec![u32::MAX; table.len()];
    let mut found: Vec<&[u8]> = Vec::new();
    let mut bytes = 0;
    for key in keys {
        let place = &mut places[*key as usize];
        if *place == u32::MAX {
            *place = found.len() as u32;
            let value = table[*key as usize];
            bytes += value.len() + 4;
            found.push(value);
            if bytes > MAX_DICTIONARY_BYTES || found.len() > most {
                return None;
            }
        }
    }
    let ranks = sort(&mut found, |a, b| a.cmp(b));
    Some((keys.iter().map(|key| ranks[places[*key as usize] as usize]).collect(), found))
}

/// Sorts, and says where each value went.
fn sort<T: Copy>(values: &mut Vec<T>, compare: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by(|a, b| compare(&values[*a as usize], &values[*b as usize]));
    let mut ranks = vec![0; order.len()];
    order.iter().zip(0..).for_each(|(from, rank)| ranks[*from as usize] = rank);
    *values = order.iter().map(|from| values[*from as usize]).collect();
    ranks
}
