//! Page headers, in Thrift's compact protocol. The parquet crate writes none with checksums.
//!
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>

use parquet::basic::Encoding;

use super::encode::{varint, zigzag};

const STRUCT: u8 = 12;
const I32: u8 = 5;
const TRUE: u8 = 1;
const FALSE: u8 = 2;

/// What a page is.
pub enum Kind {
    /// DICTIONARY_PAGE.
    Dictionary { values: usize, sorted: bool },
    /// DATA_PAGE: levels are compressed with the values.
    Data { values: usize, encoding: Encoding },
    /// DATA_PAGE_V2: levels are not compressed.
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

/// Appends the header of a page of which `raw_bytes` became `body`.
pub fn page_header(kind: &Kind, raw_bytes: usize, body: &[u8], out: &mut Vec<u8>) {
    let mut header = Fields { out, last: 0 };
    header.int(
        1,
        match kind {
            Kind::Data { .. } => 0,
            Kind::Dictionary { .. } => 2,
            Kind::DataV2 { .. } => 3,
        },
    );
    header.int(2, raw_bytes);
    header.int(3, body.len());
    header.signed(4, i64::from(crc32fast::hash(body) as i32));
    match *kind {
        Kind::Dictionary { values, sorted } => header.nested(7, |inner| {
            inner.int(1, values);
            inner.int(2, code(Encoding::PLAIN));
            inner.bool(3, sorted);
        }),
        Kind::Data { values, encoding } => header.nested(5, |inner| {
            inner.int(1, values);
            inner.int(2, code(encoding));
            inner.int(3, code(Encoding::RLE));
            inner.int(4, code(Encoding::RLE));
        }),
        Kind::DataV2 { values, nulls, rows, encoding, definition_bytes, repetition_bytes, compressed } => {
            header.nested(8, |inner| {
                inner.int(1, values);
                inner.int(2, nulls);
                inner.int(3, rows);
                inner.int(4, code(encoding));
                inner.int(5, definition_bytes);
                inner.int(6, repetition_bytes);
                inner.bool(7, compressed);
            });
        }
    }
    header.out.push(0);
}

fn code(encoding: Encoding) -> usize {
    match encoding {
        Encoding::PLAIN => 0,
        Encoding::RLE_DICTIONARY => 8,
        Encoding::BYTE_STREAM_SPLIT => 9,
        // Levels and booleans.
        _ => 3,
    }
}

/// The fields of a struct, in ascending order.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    last: u8,
}

impl Fields<'_> {
    fn field(&mut self, id: u8, kind: u8) {
        self.out.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    fn signed(&mut self, id: u8, value: i64) {
        self.field(id, I32);
        zigzag(value, self.out);
    }

    fn int(&mut self, id: u8, value: usize) {
        self.field(id, I32);
        varint((value as u64) << 1, self.out);
    }

    fn bool(&mut self, id: u8, value: bool) {
        self.field(id, if value { TRUE } else { FALSE });
    }

    fn nested(&mut self, id: u8, fill: impl FnOnce(&mut Fields<'_>)) {
        self.field(id, STRUCT);
        fill(&mut Fields { out: self.out, last: 0 });
        self.out.push(0);
    }
}
