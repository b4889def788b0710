//! A 64-bit digest of everything that one span says: its fields, its scope and its resource.
//!
//! Two encodings of the same span have the same digest: the order of fields and of attributes, and scalars that are
//! spelled out though they hold the default, make no difference. The order of events and of links does. A span that
//! lost, gained or changed anything has another digest, up to chance (2^-64).

use xxhash_rust::xxh3::xxh3_64;

use super::wire::{Fields, Malformed, Value};

/// One span of a message, with its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpanDigest {
    /// The trace that the span belongs to; zeros when the span's id is not 16 bytes.
    pub(crate) trace_id: [u8; 16],
    /// The span's own id; zeros when it is not 8 bytes.
    pub(crate) span_id: [u8; 8],
    /// Digest of the span, its scope and its resource.
    pub(crate) digest: u64,
}

/// How the fields of a message enter its digest.
struct Shape {
    /// A repeated field of key-value pairs, whose order makes no difference; 0 for none.
    attributes: u32,
    /// Fields that are messages.
    messages: &'static [Inner],
}

/// A field that is a message.
struct Inner {
    number: u32,
    shape: Shape,
    /// It may occur several times, and then the order makes a difference.
    repeated: bool,
}

const fn flat(attributes: u32) -> Shape {
    Shape { attributes, messages: &[] }
}

const RESOURCE: Shape = flat(1);
const SCOPE: Shape = flat(3);
const SPAN: Shape = Shape {
    attributes: 9,
    messages: &[
        Inner { number: 11, shape: flat(3), repeated: true },  // events
        Inner { number: 13, shape: flat(4), repeated: true },  // links
        Inner { number: 15, shape: flat(0), repeated: false }, // status
    ],
};

/// Calls `found` with every span of an encoded `ExportTraceServiceRequest` (or `TracesData`, which is the same bytes).
pub(crate) fn each_span_of_request(bytes: &[u8], mut found: impl FnMut(SpanDigest)) -> Result<(), Malformed> {
    for field in Fields::of(bytes) {
        if let (1, Value::Bytes(resource_spans)) = field? {
            each_span(resource_spans, &mut found)?;
        }
    }
    Ok(())
}

/// Calls `found` with every span of an encoded `ResourceSpans`.
pub(crate) fn each_span(resource_spans: &[u8], found: &mut impl FnMut(SpanDigest)) -> Result<(), Malformed> {
    let resource = container(resource_spans, &RESOURCE)?;
    for field in Fields::of(resource_spans) {
        if let (2, Value::Bytes(scope_spans)) = field? {
            let scope = mix(resource, container(scope_spans, &SCOPE)?);
            for field in Fields::of(scope_spans) {
                if let (2, Value::Bytes(bytes)) = field? {
                    found(span(bytes, scope)?);
                }
            }
        }
    }
    Ok(())
}

fn span(bytes: &[u8], around: u64) -> Result<SpanDigest, Malformed> {
    let mut span = SpanDigest { trace_id: [0; 16], span_id: [0; 8], digest: 0 };
    let digest = message(bytes, &SPAN, |number, value| match (number, value) {
        (1, Value::Bytes(id)) => span.trace_id = id.try_into().unwrap_or_default(),
        (2, Value::Bytes(id)) => span.span_id = id.try_into().unwrap_or_default(),
        _ => {}
    })?;
    span.digest = mix(around, digest);
    Ok(span)
}

/// `ResourceSpans` and `ScopeSpans` alike: field 1 describes the source, field 3 is its schema.
fn container(bytes: &[u8], shape: &Shape) -> Result<u64, Malformed> {
    let (mut described, mut schema) = (0, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, Value::Bytes(source)) => described = flat_message(source, shape)?,
            (3, Value::Bytes(url)) if !url.is_empty() => schema = xxh3_64(url),
            _ => {}
        }
    }
    Ok(mix(described, schema))
}

/// Digest of one message; 0 for one that says nothing. Tells `seen` of every field.
fn message<'a>(bytes: &'a [u8], shape: &Shape, mut seen: impl FnMut(u32, Value<'a>)) -> Result<u64, Malformed> {
    let mut sum = 0u64;
    let mut positions = [0u64; 3];
    for field in Fields::of(bytes) {
        let (number, value) = field?;
        let inner = shape.messages.iter().zip(&mut positions).find(|(inner, _)| inner.number == number);
        if let (Value::Bytes(bytes), Some((inner, position))) = (value, inner) {
            *position += u64::from(inner.repeated);
            let digest = flat_message(bytes, &inner.shape)?;
            // A single message that says nothing is as good as none; an empty event is an event.
            if inner.repeated || digest != 0 {
                sum = sum.wrapping_add(mix(mix(u64::from(number), *position), digest));
            }
        } else if number == shape.attributes || !value.is_default() {
            sum = sum.wrapping_add(mix(u64::from(number), scalar(value)));
        }
        seen(number, value);
    }
    Ok(sum)
}

/// Apart from `message` so that its closure's type does not recur without end.
fn flat_message(bytes: &[u8], shape: &Shape) -> Result<u64, Malformed> {
    message(bytes, shape, |_, _| {})
}

fn scalar(value: Value<'_>) -> u64 {
    match value {
        Value::Varint(value) | Value::Fixed64(value) => value,
        Value::Fixed32(value) => u64::from(value),
        Value::Bytes(bytes) => xxh3_64(bytes),
    }
}

/// Mixes two words into one. Not symmetric: `mix(a, b)` is not `mix(b, a)`. The finaliser is that of SplitMix64.
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ b;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
