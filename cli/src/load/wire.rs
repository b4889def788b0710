//! Iterates over the protobuf fields of a message without decoding them into structs.

use clew_common::otlp::wire;

/// The bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub(crate) struct Malformed;

/// What a field holds, by wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// An integer, a bool or an enum.
    Varint(u64),
    /// Eight little-endian bytes.
    Fixed64(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Four little-endian bytes.
    Fixed32(u32),
}

impl Value<'_> {
    /// Whether proto3 leaves such a value out where the field is no oneof.
    pub(crate) fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => *value == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Fixed32(value) => *value == 0,
        }
    }
}

/// Iterates over the fields of one message. After an error it yields nothing more.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of the message in `bytes`.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = wire::key(&mut self.rest)?;
        let value = match key & 7 {
            wire::VARINT => Value::Varint(wire::varint(&mut self.rest)?),
            wire::FIXED64 => Value::Fixed64(u64::from_le_bytes(wire::take(&mut self.rest, 8)?.try_into().ok()?)),
            wire::BYTES => Value::Bytes(wire::bytes(&mut self.rest)?),
            wire::FIXED32 => Value::Fixed32(u32::from_le_bytes(wire::take(&mut self.rest, 4)?.try_into().ok()?)),
            _ => return None,
        };
        (key >> 3 != 0).then_some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Malformed))
    }
}
