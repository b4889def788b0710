//! Protobuf's framing: keys, varints, lengths. The rules are prost's, but for groups, which are refused.

/// The wire type of integers (encoding guide of protobuf, "Message Structure").
pub const VARINT: u32 = 0;
/// The wire type of eight bytes.
pub const FIXED64: u32 = 1;
/// The wire type of a length and as many bytes: strings, bytes, messages.
pub const BYTES: u32 = 2;
/// The wire type of four bytes.
pub const FIXED32: u32 = 5;

/// The key of a field: its number and its wire type.
pub const fn key_of(number: u32, wire_type: u32) -> u32 {
    number << 3 | wire_type
}

/// Takes a varint. None when it is cut short, longer than ten bytes, or over 64 bits.
#[inline(always)]
pub fn varint(rest: &mut &[u8]) -> Option<u64> {
    match rest.split_first() {
        Some((&first, after)) if first < 0x80 => {
            *rest = after;
            Some(first.into())
        }
        _ => long_varint(rest),
    }
}

fn long_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            if at == 9 && byte > 1 {
                return None;
            }
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes a field's key. None when it is not a u32. Field number 0 and unknown wire types pass: `skip` refuses them.
#[inline(always)]
pub fn key(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint(rest)?).ok()
}

/// Takes `count` bytes.
#[inline(always)]
pub fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

/// Takes a length and as many bytes.
#[inline(always)]
pub fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = usize::try_from(varint(rest)?).ok()?;
    take(rest, count)
}

/// Takes the value of a field that is not looked at. None for field number 0, groups and unknown wire types.
#[inline]
pub fn skip(rest: &mut &[u8], key: u32) -> Option<()> {
    if key < key_of(1, 0) {
        return None;
    }
    match key & 7 {
        VARINT => varint(rest).map(drop),
        FIXED64 => take(rest, 8).map(drop),
        BYTES => bytes(rest).map(drop),
        FIXED32 => take(rest, 4).map(drop),
        _ => None,
    }
}

/// What a field has on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    /// An integer, a bool or an enum.
    Varint(u64),
    /// Eight bytes, little endian.
    Fixed64([u8; 8]),
    /// Four bytes, little endian.
    Fixed32([u8; 4]),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

/// Takes a field: its number and its value. None at the end, or where it is broken.
#[inline]
pub fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Raw<'a>)> {
    let key = key(rest)?;
    let raw = match key & 7 {
        VARINT => Raw::Varint(varint(rest)?),
        FIXED64 => Raw::Fixed64(take(rest, 8)?.try_into().ok()?),
        BYTES => Raw::Bytes(bytes(rest)?),
        FIXED32 => Raw::Fixed32(take(rest, 4)?.try_into().ok()?),
        _ => return None,
    };
    (key >= key_of(1, 0)).then_some((key >> 3, raw))
}

/// Visits the fields of a message. None when it is broken, or as soon as a visit says so.
#[inline]
pub fn each_field<'a>(mut message: &'a [u8], mut visit: impl FnMut(u32, Raw<'a>) -> Option<()>) -> Option<()> {
    while !message.is_empty() {
        let (number, raw) = next_field(&mut message)?;
        visit(number, raw)?;
    }
    Some(())
}

/// Writes a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a varint takes.
pub const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A field of a message.
#[derive(Debug)]
pub enum Field<'a> {
    /// A message in the field that was asked for.
    Child(Reader<'a>),
    /// Another field: its bytes, with its key.
    Other(&'a [u8]),
}

/// The rest of a message, with its place in the request.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// What has not been taken.
    pub rest: &'a [u8],
    /// Where in the request the message ends.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads a whole request.
    pub fn new(request: &'a [u8]) -> Self {
        Self { rest: request, end: request.len() }
    }

    /// Where in the request the rest starts.
    #[inline]
    pub fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Whether all of the message has been taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes a field's key.
    #[inline]
    pub fn key(&mut self) -> Option<u32> {
        key(&mut self.rest)
    }

    /// Takes a message within this one.
    #[inline]
    pub fn message(&mut self) -> Option<Reader<'a>> {
        let rest = bytes(&mut self.rest)?;
        Some(Reader { rest, end: self.at() })
    }

    /// Takes a field and tells those with the key `child`, a message, from others. None at the end, or where it is broken.
    #[inline]
    pub fn field(&mut self, child: u32) -> Option<Field<'a>> {
        let before = self.rest;
        if before.is_empty() {
            return None;
        }
        let key = self.key()?;
        if key == child {
            return self.message().map(Field::Child);
        }
        self.skip(key)?;
        Some(Field::Other(&before[..before.len() - self.rest.len()]))
    }

    /// Takes the value of a field that is not looked at.
    #[inline]
    pub fn skip(&mut self, key: u32) -> Option<()> {
        skip(&mut self.rest, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_as_prost_reads_them() {
        let cases: [&[u8]; 12] = [
            &[],
            &[0],
            &[0x7F],
            &[0x80],
            &[0x80, 0],
            &[0x80, 0x80, 0],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
            &[0xFF; 9],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0xAC, 0x02, 0x05],
        ];
        for case in cases {
            let (mut ours, mut theirs) = (case, case);
            assert_eq!(varint(&mut ours), prost::encoding::decode_varint(&mut theirs).ok(), "{case:x?}");
            if varint(&mut { case }).is_some() {
                assert_eq!(ours, theirs, "{case:x?}");
            }
        }
    }

    #[test]
    fn varints_are_written_in_their_shortest_form() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut ours = Vec::new();
                put_varint(&mut ours, value);
                let mut theirs = Vec::new();
                prost::encoding::encode_varint(value, &mut theirs);
                assert_eq!(ours, theirs);
                assert_eq!(varint_len(value), ours.len());
            }
        }
    }
}
