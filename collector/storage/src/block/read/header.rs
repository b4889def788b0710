//! Page headers and page indexes of ids, from Thrift's compact protocol: as the block writer makes them.

use clew_common::otlp::wire;
use parquet::{
    basic::Encoding,
    errors::{ParquetError, Result as ParquetResult},
};

/// A page's header.
pub struct Header {
    pub kind: Kind,
    /// Bytes of the body before compression.
    pub raw_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
}

/// What a page is.
pub enum Kind {
    Dictionary {
        values: usize,
    },
    /// Levels are compressed with the values.
    Data {
        values: usize,
        encoding: Encoding,
    },
    /// Levels are not compressed, and come first.
    DataV2 {
        values: usize,
        nulls: usize,
        rows: usize,
        encoding: Encoding,
        definition_bytes: usize,
        repetition_bytes: usize,
        compressed: bool,
    },
}

impl Header {
    /// Reads a header from the start of a page; also says how long it is.
    pub fn parse(page: &[u8]) -> ParquetResult<(Self, usize)> {
        let mut rest = page;
        let header = Self::read(&mut rest).ok_or_else(|| ParquetError::General("a page has no header".to_owned()))?;
        Ok((header, page.len() - rest.len()))
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let (mut raw_bytes, mut body_bytes, mut kind) = (0, 0, None);
        each_field(rest, |id, value| {
            match (id, value) {
                (2, Value::Int(bytes)) => raw_bytes = i32::try_from(bytes).ok()? as usize,
                (3, Value::Int(bytes)) => body_bytes = bytes,
                (5, Value::Struct(ints)) => kind = Some(Kind::Data { values: ints[1], encoding: encoding(ints[2])? }),
                (7, Value::Struct(ints)) => kind = Some(Kind::Dictionary { values: ints[1] }),
                (8, Value::Struct(ints)) => {
                    kind = Some(Kind::DataV2 {
                        values: ints[1],
                        nulls: ints[2],
                        rows: ints[3],
                        encoding: encoding(ints[4])?,
                        definition_bytes: ints[5],
                        repetition_bytes: ints[6],
                        compressed: ints[7] == 1,
                    });
                }
                _ => {}
            }
            Some(())
        })?;
        Some(Self { kind: kind?, raw_bytes, body_bytes })
    }
}

/// The least and the greatest id of each page, from its column's ColumnIndex. None when it is none, a page has only nulls, or ids are
/// not of 16 bytes. The parquet crate reads the indexes of all columns or none.
pub fn bounds_of_ids(mut index: &[u8]) -> Option<Vec<([u8; 16], [u8; 16])>> {
    let (rest, mut last) = (&mut index, 0);
    let null_pages = list(rest, &mut last, 1)?;
    let (null_pages, after) = rest.split_at_checked(null_pages)?;
    *rest = after;
    // 1 is true, whatever else is false.
    if null_pages.contains(&1) {
        return None;
    }
    let mut ids = |field| {
        let count = list(rest, &mut last, field)?;
        let next = |_| {
            let bytes = usize::try_from(wire::varint(rest)?).ok()?;
            let (id, after) = rest.split_at_checked(bytes)?;
            *rest = after;
            id.try_into().ok()
        };
        (0..count).map(next).collect::<Option<Vec<[u8; 16]>>>()
    };
    let (least, greatest) = (ids(2)?, ids(3)?);
    (least.len() == null_pages.len() && greatest.len() == least.len())
        .then(|| least.into_iter().zip(greatest).collect())
}

/// How many elements a list has that is the next field.
fn list(rest: &mut &[u8], last: &mut u8, field: u8) -> Option<usize> {
    const LIST: u8 = 9;
    const LONG: usize = 15;
    next_field(rest, last)?.filter(|next| *next == (field, LIST))?;
    let (byte, after) = rest.split_first()?;
    *rest = after;
    match usize::from(byte >> 4) {
        LONG => usize::try_from(wire::varint(rest)?).ok(),
        count => Some(count),
    }
}

enum Value {
    Int(usize),
    /// Its integers and truth values, by field.
    Struct([usize; 8]),
}

fn each_field(rest: &mut &[u8], mut field: impl FnMut(u8, Value) -> Option<()>) -> Option<()> {
    let mut last = 0;
    while let Some((id, kind)) = next_field(rest, &mut last)? {
        let value = match kind {
            12 => {
                let (mut ints, mut last) = ([0; 8], 0);
                while let Some((id, kind)) = next_field(rest, &mut last)? {
                    *ints.get_mut(usize::from(id))? = int(rest, kind)?;
                }
                Value::Struct(ints)
            }
            kind => Value::Int(int(rest, kind)?),
        };
        field(id, value)?;
    }
    Some(())
}

/// The next field's number and kind; the inner None is the end of the struct.
fn next_field(rest: &mut &[u8], last: &mut u8) -> Option<Option<(u8, u8)>> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    if *byte == 0 {
        return Some(None);
    }
    // Longer jumps are not written.
    if byte >> 4 == 0 {
        return None;
    }
    *last = last.checked_add(byte >> 4)?;
    Some(Some((*last, byte & 15)))
}

fn int(rest: &mut &[u8], kind: u8) -> Option<usize> {
    match kind {
        1 => Some(1),
        2 => Some(0),
        // Zigzag; a checksum may be negative, which is not looked at here.
        5 => wire::varint(rest).map(|zigzag| (zigzag >> 1) as usize),
        _ => None,
    }
}

fn encoding(code: usize) -> Option<Encoding> {
    Some(match code {
        0 => Encoding::PLAIN,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return None,
    })
}
