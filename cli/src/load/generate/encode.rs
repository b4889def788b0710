//! Writes protobuf into reused buffers.

pub(crate) use clew_common::otlp::wire::{put_varint as varint, varint_len};

/// Tag of an attribute within a span (field 9).
pub(crate) const SPAN_ATTRIBUTE: u8 = 0x4a;
/// Tag of an attribute within a resource (field 1).
pub(crate) const RESOURCE_ATTRIBUTE: u8 = 0x0a;
/// Tag of an attribute within an event (field 3).
pub(crate) const EVENT_ATTRIBUTE: u8 = 0x1a;
/// Tag of an attribute within a link (field 4).
pub(crate) const LINK_ATTRIBUTE: u8 = 0x22;

/// Appends a string, bytes or message field.
pub(crate) fn bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends an eight-byte field.
pub(crate) fn fixed64(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a varint field.
pub(crate) fn integer(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    varint(out, value);
}

/// Appends attributes under one tag.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) tag: u8,
}

impl Attributes<'_> {
    /// A key whose value takes `length` bytes.
    fn key(&mut self, key: &str, length: usize) {
        let pair = 1 + varint_len(key.len() as u64) + key.len() + 1 + varint_len(length as u64) + length;
        self.out.reserve(2 + 10 + pair);
        integer(self.out, self.tag, pair as u64);
        bytes(self.out, 0x0a, key.as_bytes());
        integer(self.out, 0x12, length as u64);
    }

    /// A string.
    pub(crate) fn string(&mut self, key: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.key(key, 1 + varint_len(value.len() as u64) + value.len());
        bytes(self.out, 0x0a, value);
    }

    /// A 64-bit integer.
    pub(crate) fn int(&mut self, key: &str, value: i64) {
        self.key(key, 1 + varint_len(value as u64));
        integer(self.out, 0x18, value as u64);
    }

    /// A boolean.
    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 2);
        integer(self.out, 0x10, u64::from(value));
    }

    /// A double.
    pub(crate) fn double(&mut self, key: &str, value: f64) {
        self.key(key, 9);
        fixed64(self.out, 0x21, value.to_bits());
    }

    /// An array of short strings.
    pub(crate) fn strings(&mut self, key: &str, values: &[Text]) {
        let value_len = |value: &Text| 2 + value.as_ref().len();
        let array: usize = values.iter().map(|value| 2 + value_len(value)).sum();
        self.key(key, 1 + varint_len(array as u64) + array);
        integer(self.out, 0x2a, array as u64);
        for value in values {
            integer(self.out, 0x0a, value_len(value) as u64);
            bytes(self.out, 0x0a, value.as_ref());
        }
    }
}

/// A string that is put together without the formatting machinery, which would take most of the time of a span. It holds
/// at most 120 bytes; what is beyond is left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    bytes: [u8; 120],
    length: usize,
}

impl Text {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 120], length: 0 }
    }

    /// Appends a string.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        self
    }

    /// Appends a decimal number.
    pub(crate) fn number(self, mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.ascii(&digits[at..])
    }

    /// Appends the last `digits` (at most 16) hexadecimal digits of a number.
    pub(crate) fn hex(self, number: u64, digits: usize) -> Self {
        let all: [u8; 16] = std::array::from_fn(|i| b"0123456789abcdef"[(number >> (60 - 4 * i)) as usize & 15]);
        self.ascii(&all[16 - digits.min(16)..])
    }

    /// Appends the four numbers of an address in 10.0.0.0/8.
    pub(crate) fn address(self, host: u32) -> Self {
        let [_, b, c, d] = host.to_be_bytes();
        self.text("10.").number(b.into()).text(".").number(c.into()).text(".").number(d.into())
    }

    /// Appends a UUID of version 4 made from two numbers.
    pub(crate) fn uuid(self, high: u64, low: u64) -> Self {
        let uuid = self.hex(high >> 32, 8).text("-").hex(high >> 16, 4).text("-4").hex(high, 3);
        uuid.text("-a").hex(low >> 48, 3).text("-").hex(low, 12)
    }

    fn ascii(mut self, ascii: &[u8]) -> Self {
        let room = &mut self.bytes[self.length..];
        let length = ascii.len().min(room.len());
        room[..length].copy_from_slice(&ascii[..length]);
        self.length += length;
        self
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
