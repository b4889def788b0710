//! Cuts the rows that are asked for out of a page. A page has thousands of rows and a trace a few: what reads on then need not
//! go through the others one by one.

use std::{cell::RefCell, ops::Range};

use bytes::Bytes;
use parquet::{
    basic::{Encoding, Type},
    column::page::Page,
    errors::{ParquetError, Result as ParquetResult},
    schema::types::ColumnDescriptor,
};

use super::{
    header::{Header, Kind},
    hybrid::{count, nth_zero, values},
};
use crate::block::write::hybrid;

/// A page of data, decompressed.
pub struct DataPage<'a> {
    column: &'a ColumnDescriptor,
    bytes: Bytes,
    repetitions: Range<usize>,
    definitions: Range<usize>,
    /// How many levels it has: values and nulls.
    levels: usize,
    encoding: Encoding,
}

/// A dictionary, decompressed: values in the PLAIN encoding.
pub struct Dictionary {
    bytes: Bytes,
    /// Where each string begins and ends; none for values of a fixed size.
    strings: Vec<Range<u32>>,
}

/// Some rows of a page.
pub struct Piece {
    /// Nothing but these rows, without a dictionary.
    pub page: Page,
    /// Whether one of them has a value (or, in a column of lists, a list).
    pub any: bool,
}

impl<'a> DataPage<'a> {
    /// Takes a page with its header.
    pub fn open(column: &'a ColumnDescriptor, page: &Bytes) -> ParquetResult<Self> {
        let (kind, body) = open(page)?;
        let mut at = 0;
        let mut levels_of = |is_there: bool| {
            let Some(length) = is_there.then(|| body.get(at..at + 4)) else { return Some(at..at) };
            let start = at + 4;
            let end = start.checked_add(u32::from_le_bytes(length?.try_into().ok()?) as usize)?;
            at = end;
            (end <= body.len()).then_some(start..end)
        };
        let (levels, encoding, ranges) = match kind {
            Kind::Dictionary { .. } => return Err(wrong("a dictionary lies where values should be")),
            Kind::Data { values, encoding } => {
                let ranges = levels_of(column.max_rep_level() > 0).zip(levels_of(column.max_def_level() > 0));
                (values, encoding, ranges.map(|ranges| (ranges, at)))
            }
            Kind::DataV2 { values, encoding, definition_bytes, repetition_bytes, .. } => {
                let end = repetition_bytes.saturating_add(definition_bytes);
                let ranges = (0..repetition_bytes, repetition_bytes..end);
                (values, encoding, (end <= body.len()).then_some((ranges, end)))
            }
        };
        let ((repetitions, definitions), end) = ranges.ok_or_else(|| wrong("a page's levels are cut short"))?;
        // Values are what comes after the levels.
        let definitions = if definitions.is_empty() { end..end } else { definitions };
        Ok(Self { column, bytes: body, repetitions, definitions, levels, encoding })
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.definitions.end..]
    }

    /// The ids of a column of ids without nulls.
    pub fn ids(&self) -> &[[u8; 16]] {
        self.body().as_chunks().0
    }

    /// Some rows, which the page has.
    pub fn cut(&self, rows: Range<usize>, dictionary: Option<&Dictionary>) -> ParquetResult<Piece> {
        let (max_definition, max_repetition) = (self.column.max_def_level(), self.column.max_rep_level());
        let bits = |most: i16| 16 - most.leading_zeros();
        let (mut body, mut repetition_bytes) = (Vec::new(), 0);
        // The levels of the rows: in lists a row has one level or more, where its first one repeats nothing.
        let levels = if max_repetition == 0 {
            rows.clone()
        } else {
            let (all, bits) = (&self.bytes[self.repetitions.clone()], bits(max_repetition));
            let place = |row: usize| nth_zero(all, bits, self.levels, row);
            let levels = place(rows.start)..if rows.is_empty() { place(rows.start) } else { place(rows.end) };
            hybrid(&values(all, bits, levels.clone()), bits as u8, &mut body);
            repetition_bytes = body.len();
            levels
        };
        let (mut found, mut any) = (rows.clone(), true);
        if max_definition > 0 {
            let (all, bits, most) =
                (&self.bytes[self.definitions.clone()], bits(max_definition), max_definition as u32);
            let here = values(all, bits, levels.clone());
            any = here.iter().any(|definition| *definition > 0);
            let there = here.iter().filter(|definition| **definition == most).count();
            let before = if there > 0 { count(all, bits, levels.start, most) } else { 0 };
            found = before..before + there;
            hybrid(&here, bits as u8, &mut body);
        }
        let definition_bytes = body.len() - repetition_bytes;
        let there = found.len();
        self.values(found, dictionary, &mut body).ok_or_else(|| wrong("a page has fewer values than it says"))?;
        let page = Page::DataPageV2 {
            buf: body.into(),
            num_values: levels.len() as u32,
            encoding: Encoding::PLAIN,
            num_nulls: (levels.len() - there) as u32,
            num_rows: rows.len() as u32,
            def_levels_byte_len: definition_bytes as u32,
            rep_levels_byte_len: repetition_bytes as u32,
            is_compressed: false,
            statistics: None,
        };
        Ok(Piece { page, any })
    }

    /// Appends some values as PLAIN. None when they are not there.
    fn values(&self, range: Range<usize>, dictionary: Option<&Dictionary>, out: &mut Vec<u8>) -> Option<()> {
        if range.is_empty() {
            return Some(());
        }
        let body = self.body();
        match (self.encoding, self.column.physical_type(), width(self.column)) {
            (Encoding::RLE_DICTIONARY, _, width) => {
                let (bits, keys) = body.split_first()?;
                let found = values(keys, u32::from(*bits).min(32), range.clone());
                let dictionary = dictionary.filter(|_| found.len() == range.len())?;
                found.iter().try_for_each(|key| dictionary.append(*key as usize, width, out))
            }
            (Encoding::PLAIN, Type::BYTE_ARRAY, _) => {
                let mut rest = body;
                (0..range.start).try_for_each(|_| string(&mut rest).map(drop))?;
                let from = body.len() - rest.len();
                range.into_iter().try_for_each(|_| string(&mut rest).map(drop))?;
                out.extend_from_slice(&body[from..body.len() - rest.len()]);
                Some(())
            }
            (Encoding::PLAIN, Type::BOOLEAN, _) => {
                let bits: Option<Vec<u8>> = range.map(|at| body.get(at / 8).map(|byte| byte >> (at % 8) & 1)).collect();
                let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | bit << at);
                out.extend(bits?.chunks(8).map(byte));
                Some(())
            }
            (Encoding::PLAIN, _, Some(width)) => {
                out.extend_from_slice(body.get(range.start * width..range.end * width)?);
                Some(())
            }
            (Encoding::BYTE_STREAM_SPLIT, _, Some(width)) => {
                let stream = body.len() / width;
                if range.end > stream {
                    return None;
                }
                range.for_each(|at| out.extend((0..width).map(|byte| body[byte * stream + at])));
                Some(())
            }
            // Blocks have no others.
            _ => None,
        }
    }
}

impl Dictionary {
    /// Takes a page with its header.
    pub fn open(column: &ColumnDescriptor, page: &Bytes) -> ParquetResult<Self> {
        let (kind, bytes) = open(page)?;
        let Kind::Dictionary { values, .. } = kind else { return Err(wrong("a page is no dictionary")) };
        let mut strings = Vec::new();
        if column.physical_type() == Type::BYTE_ARRAY {
            let mut rest = &bytes[..];
            for _ in 0..values {
                let value = string(&mut rest).ok_or_else(|| wrong("a dictionary is cut short"))?;
                let end = (bytes.len() - rest.len()) as u32;
                strings.push(end - value.len() as u32..end);
            }
        }
        Ok(Self { bytes, strings })
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + 8 * self.strings.len()
    }

    fn append(&self, key: usize, width: Option<usize>, out: &mut Vec<u8>) -> Option<()> {
        match width {
            Some(width) => out.extend_from_slice(self.bytes.get(key.checked_mul(width)?..key.checked_add(1)? * width)?),
            None => {
                let value = self.strings.get(key)?;
                let value = &self.bytes[value.start as usize..value.end as usize];
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
        }
        Some(())
    }
}

/// Bytes of each value; None where they differ, or are fewer than one.
fn width(column: &ColumnDescriptor) -> Option<usize> {
    match column.physical_type() {
        Type::INT32 | Type::FLOAT => Some(4),
        Type::INT64 | Type::DOUBLE => Some(8),
        Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).ok().filter(|width| *width > 0),
        Type::BOOLEAN | Type::BYTE_ARRAY | Type::INT96 => None,
    }
}

/// The next string of PLAIN ones.
fn string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(value)
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A page's kind, and its body, of which nothing is compressed any more.
fn open(page: &Bytes) -> ParquetResult<(Kind, Bytes)> {
    let (Header { kind, raw_bytes, body_bytes }, at) = Header::parse(page)?;
    let body = page.slice(at..);
    if body.len() != body_bytes {
        return Err(wrong("a page is not as long as it says"));
    }
    let body = match kind {
        Kind::DataV2 { compressed: false, .. } => body,
        Kind::DataV2 { definition_bytes, repetition_bytes, .. } => {
            inflate(&body, definition_bytes.saturating_add(repetition_bytes), raw_bytes)?
        }
        _ => inflate(&body, 0, raw_bytes)?,
    };
    Ok((kind, body))
}

/// The first `plain` bytes as they are, the others decompressed, together `raw_bytes`.
fn inflate(body: &[u8], plain: usize, raw_bytes: usize) -> ParquetResult<Bytes> {
    let (levels, packed) = body.split_at_checked(plain).ok_or_else(|| wrong("a page's levels are cut short"))?;
    let values = raw_bytes.checked_sub(plain).ok_or_else(|| wrong("a page is shorter than its levels"))?;
    if values == 0 {
        return Ok(Bytes::copy_from_slice(levels));
    }
    let inflated = ZSTD.with_borrow_mut(|zstd| {
        let zstd = match zstd {
            Some(zstd) => zstd,
            None => zstd.insert(zstd::bulk::Decompressor::new()?),
        };
        let mut raw = Vec::with_capacity(raw_bytes);
        raw.extend_from_slice(levels);
        if plain == 0 {
            zstd.decompress_to_buffer(packed, &mut raw)?;
        } else {
            raw.append(&mut zstd.decompress(packed, values)?);
        }
        Ok((raw.len() == raw_bytes).then_some(raw))
    });
    let inflated = inflated.map_err(|error: std::io::Error| ParquetError::External(error.into()))?;
    inflated.map(Bytes::from).ok_or_else(|| wrong("a page is not as long as it says"))
}
