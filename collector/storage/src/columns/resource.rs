//! What spans share: the Resource.

use bytes::Bytes;
use clew_common::otlp::wire::{BYTES, bytes, key, key_of, skip};
use xxhash_rust::xxh3::Xxh3Default;

use super::pair::{self, Pair, Value};

/// A Resource, with the schema URL that its ResourceSpans had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// A hash of the rest: see [`Resource::new`].
    pub id: u64,
    /// The message as it came. None when the ResourceSpans had none.
    pub message: Option<Bytes>,
    /// Empty when there was none.
    pub schema_url: String,
}

impl Resource {
    /// A resource and its id: XXH3-64 of the schema URL's length (8 bytes, little-endian), the schema URL, a byte that
    /// is 1 when there is a message, and the message. It is the same in all batches and blocks.
    pub fn new(schema_url: String, message: Option<Bytes>) -> Self {
        Self { id: id(&schema_url, message.as_deref()), message, schema_url }
    }

    /// The value of `service.name`, when it has one that is a string.
    pub fn service_name(&self) -> Option<&str> {
        service_name(self.message.as_deref()?).and_then(|name| str::from_utf8(name).ok())
    }
}

/// See [`Resource::new`].
pub(super) fn id(schema_url: &str, message: Option<&[u8]>) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&(schema_url.len() as u64).to_le_bytes());
    hash.update(schema_url.as_bytes());
    hash.update(&[u8::from(message.is_some())]);
    hash.update(message.unwrap_or_default());
    hash.digest()
}

/// The value of the first attribute `service.name` that is a string.
pub(super) fn service_name(message: &[u8]) -> Option<&[u8]> {
    attributes(message).find_map(|pair| match pair.value {
        Value::String(name) if pair.key == b"service.name" => Some(name),
        _ => None,
    })
}

/// The attributes of a Resource, up to where its framing is broken.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    const ATTRIBUTE: u32 = key_of(1, BYTES);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            match key(&mut rest)? {
                ATTRIBUTE => return pair::read(bytes(&mut rest)?),
                key => skip(&mut rest, key)?,
            }
        }
        None
    })
}
