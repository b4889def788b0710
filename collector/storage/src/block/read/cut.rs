//! Cuts the rows that are asked for out of a page. A page has thousands of rows and a trace a few: what reads on then need not
//! go through the others one by one.

use std::{cell::RefCell, ops::Range};

use bytes::Bytes;
use memchr::memmem::Finder;
use parquet::{
    basic::{Encoding, Type},
    column::page::Page,
    errors::{ParquetError, Result as ParquetResult},
    schema::types::ColumnDescriptor,
};
use zstd::zstd_safe::{self, DCtx, InBuffer, OutBuffer, ResetDirective};

use super::{
    header::{Header, Kind},
    hybrid::{count, nth_zero, values},
    scratch::Scratch,
};
use crate::block::write::hybrid;

/// A page of data, of which the levels are decompressed.
pub struct DataPage<'a> {
    column: &'a ColumnDescriptor,
    /// Levels, and where nothing else is said values.
    bytes: Bytes,
    /// All of it, still compressed, and how many bytes it has then.
    packed: Option<(Bytes, usize)>,
    repetitions: Range<usize>,
    definitions: Range<usize>,
    /// How many levels it has: values and nulls.
    levels: usize,
    encoding: Encoding,
}

/// A dictionary, decompressed: values in the PLAIN encoding.
pub struct Dictionary {
    bytes: Bytes,
    /// Where every [`STRIDE`]th string is, with its length; none for values of a fixed size.
    strings: Vec<u32>,
}

/// So many strings are looked through for one. A place for each would be a third of what a dictionary takes.
const STRIDE: usize = 16;

/// Some rows of a page.
#[derive(Clone)]
pub struct Piece {
    /// How many.
    pub rows: usize,
    /// Whether one of them has a value (or, in a column of lists, a list).
    pub any: bool,
    /// The levels of a column of lists; empty in others.
    repetitions: Vec<u32>,
    /// The levels of a column that may have nulls, or of lists; empty in others.
    pub definitions: Vec<u32>,
    /// The values that are not null, in the PLAIN encoding.
    pub plain: Vec<u8>,
}

impl Piece {
    /// The same rows of another leaf of the same lists, which has no values at all. This one has a value wherever there is an element.
    pub fn without_values(&self) -> Self {
        Self { plain: Vec::new(), ..self.clone() }
    }

    /// As a page of the column, for the parquet crate's readers.
    pub fn page(&self, column: &ColumnDescriptor) -> Page {
        let (max_definition, max_repetition) = (column.max_def_level(), column.max_rep_level());
        let mut buf = Vec::new();
        if max_repetition > 0 {
            hybrid(&self.repetitions, bits_of(max_repetition) as u8, &mut buf);
        }
        let repetition_bytes = buf.len();
        let (mut levels, mut nulls) = (self.rows, 0);
        if max_definition > 0 {
            hybrid(&self.definitions, bits_of(max_definition) as u8, &mut buf);
            levels = self.definitions.len();
            nulls = self.definitions.iter().filter(|definition| **definition < max_definition as u32).count();
        }
        let definition_bytes = buf.len() - repetition_bytes;
        buf.extend_from_slice(&self.plain);
        Page::DataPageV2 {
            buf: buf.into(),
            num_values: levels as u32,
            encoding: Encoding::PLAIN,
            num_nulls: nulls as u32,
            num_rows: self.rows as u32,
            def_levels_byte_len: definition_bytes as u32,
            rep_levels_byte_len: repetition_bytes as u32,
            is_compressed: false,
            statistics: None,
        }
    }
}

impl<'a> DataPage<'a> {
    /// Takes a page with its header. `whole`: most likely its values are wanted too.
    pub fn open(column: &'a ColumnDescriptor, page: &Bytes, whole: bool) -> ParquetResult<Self> {
        let (Header { kind, raw_bytes, .. }, body) = open(page)?;
        let (levels, encoding) = match kind {
            Kind::Dictionary { .. } => return Err(wrong("a dictionary lies where values should be")),
            Kind::Data { values, encoding } | Kind::DataV2 { values, encoding, .. } => (values, encoding),
        };
        let of = |bytes: Bytes, (repetitions, definitions): Levels, packed| Self {
            column,
            bytes,
            packed,
            repetitions,
            definitions,
            levels,
            encoding,
        };
        if !whole
            && let Kind::Data { .. } = kind
            && column.max_def_level() > 0
            && let Some(first) = first_block(&body)?
            // Very many have more than a block.
            && let Some(levels) = levels_of(&kind, column, &first)
        {
            return Ok(of(first, levels, Some((body, raw_bytes))));
        }
        let bytes = match plain_bytes(&kind) {
            None => body,
            Some(plain) => glance(&body, plain, raw_bytes)?,
        };
        let levels = levels_of(&kind, column, &bytes).ok_or_else(|| wrong("a page's levels are cut short"))?;
        Ok(of(bytes, levels, None))
    }

    /// The values, as they are encoded.
    fn body(&self) -> ParquetResult<Bytes> {
        let start = self.definitions.end;
        match &self.packed {
            None => Ok(self.bytes.slice(start..)),
            Some((packed, raw_bytes)) => {
                let all = glance(packed, 0, *raw_bytes)?;
                if all.get(..start) != self.bytes.get(..start) {
                    return Err(wrong("a page's levels are cut short"));
                }
                Ok(all.slice(start..))
            }
        }
    }

    /// The ids of a column of ids without nulls.
    pub fn ids(&self) -> &[[u8; 16]] {
        self.bytes[self.definitions.end..].as_chunks().0
    }

    /// Whether its values have certain bytes somewhere.
    pub fn has(&self, finder: &Finder<'_>) -> ParquetResult<bool> {
        Ok(finder.find(&self.body()?).is_some())
    }

    /// The rows of a page of texts that have the one that a finder looks for, with its length before it. None when texts are not in
    /// the page as they are.
    pub fn rows_with(&self, finder: &Finder<'_>) -> ParquetResult<Option<Vec<u32>>> {
        if self.encoding != Encoding::PLAIN || self.column.max_rep_level() > 0 || self.column.max_def_level() > 1 {
            return Ok(None);
        }
        let body = self.body()?;
        let mut hits = finder.find_iter(&body).peekable();
        if hits.peek().is_none() {
            return Ok(Some(Vec::new()));
        }
        // The bytes of a length and a text may also be in the middle of another text.
        let (mut rest, mut value, mut places) = (&body[..], 0, Vec::new());
        for hit in hits {
            while body.len() - rest.len() < hit {
                string(&mut rest).ok_or_else(|| wrong("a page has fewer values than it says"))?;
                value += 1;
            }
            if body.len() - rest.len() == hit {
                places.push(value);
            }
        }
        if self.column.max_def_level() == 0 {
            return Ok(Some(places));
        }
        let definitions = values(&self.bytes[self.definitions.clone()], 1, 0..self.levels);
        let there: Vec<u32> =
            (0..).zip(definitions).filter(|(_, definition)| *definition == 1).map(|(row, _)| row).collect();
        let row = |value: u32| there.get(value as usize).copied();
        let rows = places.into_iter().map(row).collect::<Option<_>>();
        rows.map(Some).ok_or_else(|| wrong("a page has more values than it says"))
    }

    /// Some rows, which the page has.
    pub fn cut(&self, rows: Range<usize>, dictionary: Option<&Dictionary>) -> ParquetResult<Piece> {
        let (max_definition, max_repetition) = (self.column.max_def_level(), self.column.max_rep_level());
        // The levels of the rows: in lists a row has one level or more, where its first one repeats nothing.
        let (levels, repetitions) = if max_repetition == 0 {
            (rows.clone(), Vec::new())
        } else {
            let (all, bits) = (&self.bytes[self.repetitions.clone()], bits_of(max_repetition));
            let place = |row: usize| nth_zero(all, bits, self.levels, row);
            let levels = place(rows.start)..if rows.is_empty() { place(rows.start) } else { place(rows.end) };
            (levels.clone(), values(all, bits, levels))
        };
        let (mut found, mut any, mut definitions) = (levels.clone(), true, Vec::new());
        if max_definition > 0 {
            let (all, bits, most) =
                (&self.bytes[self.definitions.clone()], bits_of(max_definition), max_definition as u32);
            definitions = values(all, bits, levels.clone());
            if definitions.len() < levels.len() {
                return Err(wrong("a page has fewer levels than it says"));
            }
            any = definitions.iter().any(|definition| *definition > 0);
            let there = definitions.iter().filter(|definition| **definition == most).count();
            let before = if there > 0 { count(all, bits, levels.start, most) } else { 0 };
            found = before..before + there;
        }
        let mut plain = Vec::new();
        if !found.is_empty() {
            let values = self.body()?;
            self.values(&values, found, dictionary, &mut plain)
                .ok_or_else(|| wrong("a page has fewer values than it says"))?;
        }
        Ok(Piece { rows: rows.len(), any, repetitions, definitions, plain })
    }

    /// Appends some values as PLAIN. None when they are not there.
    fn values(
        &self,
        body: &[u8],
        range: Range<usize>,
        dictionary: Option<&Dictionary>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
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
        let (Header { kind, raw_bytes, .. }, body) = open(page)?;
        let Kind::Dictionary { values, .. } = kind else { return Err(wrong("a page is no dictionary")) };
        let bytes = inflated(&body, 0, raw_bytes)?;
        let mut strings = Vec::new();
        if column.physical_type() == Type::BYTE_ARRAY {
            let mut rest = &bytes[..];
            for at in 0..values {
                if at % STRIDE == 0 {
                    strings.push((bytes.len() - rest.len()) as u32);
                }
                string(&mut rest).ok_or_else(|| wrong("a dictionary is cut short"))?;
            }
        }
        Ok(Self { bytes, strings })
    }

    /// Whether its values have certain bytes somewhere.
    pub fn has(&self, finder: &Finder<'_>) -> bool {
        finder.find(&self.bytes).is_some()
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + 4 * self.strings.len()
    }

    fn append(&self, key: usize, width: Option<usize>, out: &mut Vec<u8>) -> Option<()> {
        match width {
            Some(width) => out.extend_from_slice(self.bytes.get(key.checked_mul(width)?..key.checked_add(1)? * width)?),
            None => {
                let mut rest = self.bytes.get(*self.strings.get(key / STRIDE)? as usize..)?;
                (0..key % STRIDE).try_for_each(|_| string(&mut rest).map(drop))?;
                let from = rest;
                let length = string(&mut rest)?.len();
                out.extend_from_slice(&from[..4 + length]);
            }
        }
        Some(())
    }
}

/// Bits of a level of which this is the most.
fn bits_of(most: i16) -> u32 {
    16 - most.leading_zeros()
}

/// Where repetitions and definitions are; values come after them.
type Levels = (Range<usize>, Range<usize>);

/// Where the levels of a page are; None when it ends before they do.
fn levels_of(kind: &Kind, column: &ColumnDescriptor, bytes: &[u8]) -> Option<Levels> {
    if let Kind::DataV2 { definition_bytes, repetition_bytes, .. } = kind {
        let end = repetition_bytes.saturating_add(*definition_bytes);
        return (end <= bytes.len()).then_some((0..*repetition_bytes, *repetition_bytes..end));
    }
    let next = |at: usize, most: i16| {
        if most == 0 {
            return Some(at..at);
        }
        let length = bytes.get(at..)?.first_chunk()?;
        let end = (at + 4).checked_add(u32::from_le_bytes(*length) as usize)?;
        (end <= bytes.len()).then_some(at + 4..end)
    };
    let repetitions = next(0, column.max_rep_level())?;
    let definitions = next(repetitions.end, column.max_def_level())?;
    Some((repetitions, definitions))
}

/// Bytes of each value; None where they differ, or are fewer than one.
pub fn width(column: &ColumnDescriptor) -> Option<usize> {
    match column.physical_type() {
        Type::INT32 | Type::FLOAT => Some(4),
        Type::INT64 | Type::DOUBLE => Some(8),
        Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).ok().filter(|width| *width > 0),
        Type::BOOLEAN | Type::BYTE_ARRAY | Type::INT96 => None,
    }
}

/// The next string of PLAIN ones.
pub fn string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(value)
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

thread_local! {
    static ZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Works with this thread's decompressor.
fn with_zstd<T>(work: impl FnOnce(&mut DCtx<'static>) -> ParquetResult<T>) -> ParquetResult<T> {
    ZSTD.with_borrow_mut(|zstd| {
        let zstd = match zstd {
            Some(zstd) => zstd,
            None => zstd.insert(DCtx::try_create().ok_or_else(|| wrong("there is no memory to decompress a page"))?),
        };
        work(zstd)
    })
}

fn failed(code: usize) -> ParquetError {
    ParquetError::General(format!("a page cannot be decompressed: {}", zstd_safe::get_error_name(code)))
}

/// A page's header, and its body as it is in the file.
fn open(page: &Bytes) -> ParquetResult<(Header, Bytes)> {
    let (header, at) = Header::parse(page)?;
    let body = page.slice(at..);
    if body.len() != header.body_bytes {
        return Err(wrong("a page is not as long as it says"));
    }
    Ok((header, body))
}

/// A page as it was written, decompressed.
pub fn whole(page: &Bytes) -> ParquetResult<Page> {
    let (Header { kind, raw_bytes, .. }, body) = open(page)?;
    let buf = match plain_bytes(&kind) {
        None => body,
        Some(plain) => inflated(&body, plain, raw_bytes)?,
    };
    Ok(match kind {
        Kind::Dictionary { values } => {
            Page::DictionaryPage { buf, num_values: values as u32, encoding: Encoding::PLAIN, is_sorted: false }
        }
        Kind::Data { values, encoding } => Page::DataPage {
            buf,
            num_values: values as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        },
        Kind::DataV2 { values, nulls, rows, encoding, definition_bytes, repetition_bytes, .. } => Page::DataPageV2 {
            buf,
            num_values: values as u32,
            encoding,
            num_nulls: nulls as u32,
            num_rows: rows as u32,
            def_levels_byte_len: definition_bytes as u32,
            rep_levels_byte_len: repetition_bytes as u32,
            is_compressed: false,
            statistics: None,
        },
    })
}

/// With how many bytes a page's body begins that are not compressed; None: all of them are as they were.
fn plain_bytes(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::DataV2 { compressed: false, .. } => None,
        Kind::DataV2 { definition_bytes, repetition_bytes, .. } => {
            Some(definition_bytes.saturating_add(*repetition_bytes))
        }
        _ => Some(0),
    }
}

/// What [`inflate`] makes.
fn inflated(body: &[u8], plain: usize, raw_bytes: usize) -> ParquetResult<Bytes> {
    let mut raw = Vec::with_capacity(raw_bytes);
    inflate(body, plain, raw_bytes, &mut raw)?;
    Ok(raw.into())
}

/// The same for those who do not keep it.
fn glance(body: &[u8], plain: usize, raw_bytes: usize) -> ParquetResult<Bytes> {
    let mut raw = Scratch::with_room(raw_bytes);
    inflate(body, plain, raw_bytes, &mut raw)?;
    Ok(raw.into_bytes())
}

/// Puts a page's body, the first `plain` bytes as they are, the others decompressed, together `raw_bytes`, into an empty buffer that has
/// room for it.
fn inflate(body: &[u8], plain: usize, raw_bytes: usize, raw: &mut Vec<u8>) -> ParquetResult<()> {
    let (levels, packed) = body.split_at_checked(plain).ok_or_else(|| wrong("a page's levels are cut short"))?;
    let values = raw_bytes.checked_sub(plain).ok_or_else(|| wrong("a page is shorter than its levels"))?;
    if values > 0 {
        with_zstd(|zstd| zstd.decompress(raw, packed).map_err(failed))?;
    }
    if raw.len() != values {
        return Err(wrong("a page is not as long as it says"));
    }
    if plain > 0 {
        raw.splice(..0, levels.iter().copied());
    }
    Ok(())
}

/// What the first of several blocks of a zstd frame has; None when there are no others, or it is no such frame. Levels have a
/// block of their own, and most pages have no value where one looks.
///
/// Format: RFC 8878, sections 3.1.1.1 and 3.1.1.2.
fn first_block(frame: &[u8]) -> ParquetResult<Option<Bytes>> {
    let end = || {
        let descriptor = *frame.strip_prefix(&zstd_safe::MAGICNUMBER.to_le_bytes())?.first()?;
        let single_segment = descriptor >> 5 & 1;
        let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let content_size = [usize::from(single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
        let start = 5 + usize::from(1 - single_segment) + dictionary_id + content_size;
        let header: [u8; 3] = frame.get(start..start + 3)?.try_into().ok()?;
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let (is_last, is_run) = (header & 1 == 1, header >> 1 & 3 == 1);
        let length = if is_run { 1 } else { header as usize >> 3 };
        (!is_last).then_some(start + 3 + length).filter(|end| *end <= frame.len())
    };
    let Some(end) = end() else { return Ok(None) };
    let mut block = Scratch::with_room(zstd_safe::BLOCKSIZE_MAX as usize);
    with_zstd(|zstd| {
        zstd.reset(ResetDirective::SessionOnly).map_err(failed)?;
        let mut out = OutBuffer::around(&mut *block);
        zstd.decompress_stream(&mut out, &mut InBuffer::around(&frame[..end])).map_err(failed)
    })?;
    Ok(Some(block.into_bytes()))
}
