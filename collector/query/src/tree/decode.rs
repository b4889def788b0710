//! Decodes spans whose attributes may be nested deeper than prost follows.
//!
//! prost stops at 100 messages within messages; each level of an OTLP value takes two or three. What is nested deeper is
//! legal, and one such value must not hide a trace. So where prost refuses a message, its parts are decoded one by one,
//! and those that it still refuses are left out and counted.

use clew_common::otlp::wire::{BYTES, Reader, key_of};
use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::{DecodeError, Message};

/// Decodes one `ResourceSpans`; adds to `left_out` for each part that is nested too deeply.
pub(super) fn resource_spans(bytes: &[u8], left_out: &mut usize) -> Result<ResourceSpans, DecodeError> {
    let whole = ResourceSpans::decode(bytes);
    let (rest, [resources, scopes]) = match (&whole, split(bytes, [1, 2])) {
        (Err(_), Some(parts)) => parts,
        _ => return whole,
    };
    let mut decoded = ResourceSpans::decode(&*rest)?;
    for bytes in resources {
        decoded.resource = Some(resource(bytes, left_out)?);
    }
    for bytes in scopes {
        decoded.scope_spans.push(scope_spans(bytes, left_out)?);
    }
    Ok(decoded)
}

fn resource(bytes: &[u8], left_out: &mut usize) -> Result<Resource, DecodeError> {
    let Some((rest, [attributes])) = split(bytes, [1]) else { return Resource::decode(bytes) };
    Ok(Resource { attributes: readable(attributes, left_out), ..Resource::decode(&*rest)? })
}

fn scope_spans(bytes: &[u8], left_out: &mut usize) -> Result<ScopeSpans, DecodeError> {
    let Some((rest, [scopes, spans])) = split(bytes, [1, 2]) else { return ScopeSpans::decode(bytes) };
    let mut decoded = ScopeSpans::decode(&*rest)?;
    for bytes in scopes {
        decoded.scope = Some(scope(bytes, left_out)?);
    }
    for bytes in spans {
        decoded.spans.push(span(bytes, left_out)?);
    }
    Ok(decoded)
}

fn scope(bytes: &[u8], left_out: &mut usize) -> Result<InstrumentationScope, DecodeError> {
    let Some((rest, [attributes])) = split(bytes, [3]) else { return InstrumentationScope::decode(bytes) };
    let attributes = readable(attributes, left_out);
    Ok(InstrumentationScope { attributes, ..InstrumentationScope::decode(&*rest)? })
}

fn span(bytes: &[u8], left_out: &mut usize) -> Result<Span, DecodeError> {
    let Some((rest, [attributes, events, links])) = split(bytes, [9, 11, 13]) else { return Span::decode(bytes) };
    Ok(Span {
        attributes: readable(attributes, left_out),
        events: readable(events, left_out),
        links: readable(links, left_out),
        ..Span::decode(&*rest)?
    })
}

/// Decodes those that prost can.
fn readable<M: Message + Default>(messages: Vec<&[u8]>, left_out: &mut usize) -> Vec<M> {
    let all = messages.len();
    let readable: Vec<_> = messages.into_iter().filter_map(|bytes| M::decode(bytes).ok()).collect();
    *left_out += all - readable.len();
    readable
}

/// What is left of a message, and the messages that were taken out of it, by field.
type Parts<'a, const N: usize> = (Vec<u8>, [Vec<&'a [u8]>; N]);

/// Takes the fields with these numbers, which are messages, out of a message. None when it is broken.
fn split<const N: usize>(bytes: &[u8], numbers: [u32; N]) -> Option<Parts<'_, N>> {
    let (mut rest, mut taken) = (Vec::new(), [const { Vec::new() }; N]);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let before = reader.rest;
        let key = reader.key()?;
        match numbers.iter().position(|number| key == key_of(*number, BYTES)) {
            Some(place) => taken[place].push(reader.message()?.rest),
            None => {
                reader.skip(key)?;
                rest.extend_from_slice(&before[..before.len() - reader.rest.len()]);
            }
        }
    }
    Some((rest, taken))
}
