//! A trace as an answer: the parts that were found, put together, each span once.

use std::collections::HashSet;

use bytes::Bytes;
use clew_common::otlp::{
    filter,
    wire::{BYTES, Field, Reader, key_of},
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

const RESOURCE_SPANS: u32 = key_of(1, BYTES);
/// ScopeSpans in a ResourceSpans, and Span in a ScopeSpans.
const CHILD: u32 = key_of(2, BYTES);
/// A span's id.
const SPAN_ID: u32 = key_of(2, BYTES);
/// An attribute of a span.
const ATTRIBUTE: u32 = key_of(9, BYTES);

/// Puts parts of OTLP TracesData together. A span that comes again exactly as before, with the same resource and scope,
/// is dropped; one that has the same id and other content stays.
pub fn merge(parts: &[Bytes]) -> Bytes {
    if are_distinct(parts) {
        return match parts {
            [whole] => whole.clone(),
            parts => parts.concat().into(),
        };
    }
    let mut seen = HashSet::new();
    let mut merged = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        let identities = identities(part);
        let repeats: Vec<bool> = identities.into_iter().map(|identity| !seen.insert(identity)).collect();
        if repeats.contains(&true) {
            let mut repeats = repeats.into_iter();
            merged.extend_from_slice(&filter::filter(part, |_| !repeats.next().unwrap_or(false)));
        } else {
            merged.extend_from_slice(part);
        }
    }
    merged.into()
}

/// Whether no two spans have the same id. It is mostly so, and costs a tenth of comparing all that they are.
fn are_distinct(parts: &[Bytes]) -> bool {
    let mut seen = HashSet::new();
    let mut distinct = true;
    for part in parts {
        each_span(part, |_, _, mut span| {
            let id = std::iter::from_fn(|| span.field(SPAN_ID)).find_map(|field| match field {
                Field::Child(id) => Some(id.rest),
                Field::Other(_) => None,
            });
            distinct &= seen.insert(id);
        });
    }
    distinct
}

/// For each span, in order, a hash of all that it is: its bytes and everything around them.
fn identities(part: &[u8]) -> Vec<u128> {
    let mut identities = Vec::new();
    let (mut around, mut of_resource, mut of_scope) = (None, 0, 0);
    each_span(part, |resource, scope, span| {
        let place = (resource.rest.as_ptr(), scope.rest.as_ptr());
        if around != Some(place) {
            (around, of_resource, of_scope) = (Some(place), surroundings(resource), surroundings(scope));
        }
        let mut identity = Xxh3::new();
        identity.update(&of_resource.to_le_bytes());
        identity.update(&of_scope.to_le_bytes());
        identity.update(&content(span).to_le_bytes());
        identities.push(identity.digest128());
    });
    identities
}

/// Visits the spans of a part, each with its ResourceSpans and ScopeSpans.
fn each_span<'a>(part: &'a [u8], mut visit: impl FnMut(Reader<'a>, Reader<'a>, Reader<'a>)) {
    each_child(Reader::new(part), RESOURCE_SPANS, |resource| {
        each_child(resource, CHILD, |scope| each_child(scope, CHILD, |span| visit(resource, scope, span)));
    });
}

fn each_child<'a>(mut message: Reader<'a>, child: u32, mut visit: impl FnMut(Reader<'a>)) {
    while let Some(field) = message.field(child) {
        if let Field::Child(child) = field {
            visit(child);
        }
    }
}

/// A hash of a span, in which attributes are a set: their order depends on the block that they come from.
fn content(mut span: Reader<'_>) -> u128 {
    let mut attributes = 0u128;
    let mut hash = Xxh3::new();
    while let Some(field) = span.field(ATTRIBUTE) {
        match field {
            Field::Child(attribute) => attributes = attributes.wrapping_add(xxh3_128(attribute.rest)),
            Field::Other(bytes) => hash.update(bytes),
        }
    }
    hash.update(&attributes.to_le_bytes());
    hash.digest128()
}

/// A hash of a message's fields other than its children.
fn surroundings(mut message: Reader<'_>) -> u128 {
    let mut hash = Xxh3::new();
    while let Some(field) = message.field(CHILD) {
        if let Field::Other(bytes) = field {
            hash.update(bytes);
        }
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value::Value},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
    };
    use prost::Message;

    use super::*;

    fn part(service: &str, spans: &[(u8, &str)]) -> Bytes {
        let name = AnyValue { value: Some(Value::StringValue(service.to_owned())) };
        let attributes = vec![KeyValue { key: "service.name".to_owned(), value: Some(name), ..Default::default() }];
        let span = |(id, name): &(u8, &str)| Span {
            trace_id: vec![1; 16],
            span_id: vec![*id; 8],
            name: (*name).to_owned(),
            ..Default::default()
        };
        TracesData {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes, ..Default::default() }),
                scope_spans: vec![ScopeSpans { spans: spans.iter().map(span).collect(), ..Default::default() }],
                ..Default::default()
            }],
        }
        .encode_to_vec()
        .into()
    }

    #[test]
    fn the_order_of_attributes_does_not_make_another_span() {
        let span = |keys: [&str; 2]| Span {
            trace_id: vec![1; 16],
            attributes: keys.map(|key| KeyValue { key: key.to_owned(), ..Default::default() }).to_vec(),
            ..Default::default()
        };
        let part = |keys| {
            let scope_spans = vec![ScopeSpans { spans: vec![span(keys)], ..Default::default() }];
            let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
            Bytes::from(TracesData { resource_spans }.encode_to_vec())
        };
        assert_eq!(names(&merge(&[part(["a", "b"]), part(["b", "a"])])).len(), 1);
        assert_eq!(names(&merge(&[part(["a", "b"]), part(["a", "a"])])).len(), 2);
    }

    fn names(merged: &[u8]) -> Vec<String> {
        let data = TracesData::decode(merged).unwrap();
        let scopes = data.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
    }

    #[test]
    fn an_exact_duplicate_is_dropped_and_other_content_stays() {
        let merged = merge(&[
            part("a", &[(1, "x"), (2, "y"), (1, "x")]),
            part("a", &[(1, "x"), (1, "z")]),
            part("b", &[(1, "x")]),
        ]);
        assert_eq!(names(&merged), ["x", "y", "z", "x"]);
        assert!(merge(&[]).is_empty());
    }
}
