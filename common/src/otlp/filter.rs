//! Drops spans from a request and keeps everything around the others: resources, scopes, schema URLs, unknown fields.

use std::ops::Range;

use super::{
    walk::{BadSpan, CHILD, RESOURCE_SPANS},
    wire::{BYTES, Field, Reader, bytes, key, key_of, put_varint, skip, varint_len},
};

/// A span within a request.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// The bytes of the Span message in the request.
    pub range: Range<usize>,
    /// These bytes.
    pub bytes: &'a [u8],
}

impl<'a> Span<'a> {
    /// The trace id, if the span has one of 16 bytes. Each span that passed `walk::check` has.
    #[inline]
    pub fn trace_id(&self) -> Option<&'a [u8; 16]> {
        const TRACE_ID: u32 = key_of(1, BYTES);
        // Every known SDK writes it first.
        if let [0x0A, 16, rest @ ..] = self.bytes {
            return rest.first_chunk();
        }
        let mut rest = self.bytes;
        while !rest.is_empty() {
            match key(&mut rest)? {
                TRACE_ID => return bytes(&mut rest)?.try_into().ok(),
                key => skip(&mut rest, key)?,
            }
        }
        None
    }
}

/// The request with only the spans that `keep` wants; it is asked once for each span, in order. A ResourceSpans or
/// ScopeSpans without spans is dropped, so nothing is left of a request without any.
///
/// The request has passed `walk::check`. Of one that has not, what follows a broken place in a message is dropped.
pub fn filter(request: &[u8], mut keep: impl FnMut(Span<'_>) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let any = outer(Reader::new(request), RESOURCE_SPANS, &mut out, |resource_spans, out| {
        outer(resource_spans, CHILD, out, |scope_spans, out| spans(scope_spans, out, &mut keep))
    });
    if !any {
        out.clear();
    }
    out
}

/// The request without its bad spans, as `walk::check` reported them.
pub fn without(request: &[u8], bad: &[BadSpan]) -> Vec<u8> {
    let mut bad = bad.iter().map(|span| span.range.start).peekable();
    filter(request, |span| {
        while bad.next_if(|start| *start < span.range.start).is_some() {}
        bad.next_if_eq(&span.range.start).is_none()
    })
}

/// What the request has of a trace; empty if nothing.
pub fn of_trace(request: &[u8], trace_id: &[u8; 16]) -> Vec<u8> {
    filter(request, |span| span.trace_id() == Some(trace_id))
}

/// Copies a request or a ResourceSpans. `inner` writes the inside of a message in its field `child` and says whether
/// there is a span in it; it goes with its message if not. Says whether there is a span in all of it.
fn outer<'a>(
    mut message: Reader<'a>,
    child: u32,
    out: &mut Vec<u8>,
    mut inner: impl FnMut(Reader<'a>, &mut Vec<u8>) -> bool,
) -> bool {
    let mut any = false;
    while let Some(field) = message.field(child) {
        match field {
            Field::Child(from) => {
                let start = out.len();
                put_varint(out, child.into());
                let length_at = out.len();
                // What comes out is no longer than what went in, so its length has room in as many bytes.
                out.resize(length_at + varint_len(from.rest.len() as u64), 0);
                let body_at = out.len();
                if inner(from, out) {
                    any = true;
                    set_length(out, length_at, body_at);
                } else {
                    out.truncate(start);
                }
            }
            Field::Other(bytes) => out.extend_from_slice(bytes),
        }
    }
    any
}

/// Copies a ScopeSpans with the spans to keep. Says whether there are any.
fn spans(mut message: Reader<'_>, out: &mut Vec<u8>, keep: &mut impl FnMut(Span<'_>) -> bool) -> bool {
    let mut any = false;
    // Neighbours that are kept are copied as one.
    let mut run = message.rest;
    loop {
        let before = message.rest;
        let field = message.field(CHILD);
        let kept = match &field {
            Some(Field::Child(span)) => {
                let start = span.at();
                let kept = keep(Span { range: start..start + span.rest.len(), bytes: span.rest });
                any |= kept;
                kept
            }
            Some(Field::Other(_)) => true,
            None => false,
        };
        if !kept {
            out.extend_from_slice(&run[..run.len() - before.len()]);
            run = message.rest;
        }
        if field.is_none() {
            return any;
        }
    }
}

/// Writes the length of `out[body_at..]` at `length_at`, and moves that to follow it if the length takes less room.
fn set_length(out: &mut Vec<u8>, length_at: usize, body_at: usize) {
    let body = out.len() - body_at;
    let moved_to = length_at + varint_len(body as u64);
    let mut left = body;
    for byte in &mut out[length_at..moved_to] {
        *byte = left as u8 | 0x80;
        left >>= 7;
    }
    out[moved_to - 1] &= 0x7F;
    out.copy_within(body_at.., moved_to);
    out.truncate(moved_to + body);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{Span as SpanMessage, TracesData};
    use proptest::prelude::*;
    use prost::Message;

    use super::{
        super::{arbitrary, walk::Reason},
        *,
    };

    /// What is expected of `filter`, on structs. `keep` gets the span and its place.
    fn model(mut request: TracesData, mut keep: impl FnMut(usize, &SpanMessage) -> bool) -> TracesData {
        let mut at = 0;
        for resource_spans in &mut request.resource_spans {
            for scope_spans in &mut resource_spans.scope_spans {
                scope_spans.spans.retain(|span| {
                    at += 1;
                    keep(at - 1, span)
                });
            }
            resource_spans.scope_spans.retain(|scope_spans| !scope_spans.spans.is_empty());
        }
        request.resource_spans.retain(|resource_spans| !resource_spans.scope_spans.is_empty());
        request
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn spans_are_dropped_and_the_rest_is_kept_as_it_was(
            request in arbitrary::request(), kept in prop::collection::vec(any::<bool>(), 60)
        ) {
            let bytes = request.encode_to_vec();
            let (mut at, mut bad) = (0, Vec::new());
            let left = filter(&bytes, |span| {
                assert_eq!(span.bytes, &bytes[span.range.clone()]);
                at += 1;
                if !kept[at - 1] {
                    bad.push(BadSpan { range: span.range, reason: Reason::SpanId });
                }
                kept[at - 1]
            });
            let expected = model(request, |at, _| kept[at]).encode_to_vec();
            prop_assert_eq!(&left, &expected);
            prop_assert_eq!(without(&bytes, &bad), expected);
        }

        #[test]
        fn of_a_trace_all_spans_are_found_with_their_resources(request in arbitrary::request()) {
            let bytes = request.encode_to_vec();
            for id in 0..5 {
                let expected = model(request.clone(), |_, span| span.trace_id == [id; 16]);
                prop_assert_eq!(of_trace(&bytes, &[id; 16]), expected.encode_to_vec());
            }
        }

        #[test]
        fn broken_requests_are_filtered_without_panics(
            bytes in arbitrary::request().prop_flat_map(|request| arbitrary::mutated(request.encode_to_vec())), odd: bool
        ) {
            let mut keep = odd;
            let left = filter(&bytes, |span| {
                span.trace_id();
                keep = !keep;
                keep
            });
            prop_assert!(left.len() <= bytes.len());
        }
    }

    #[test]
    fn unknown_fields_around_spans_are_kept_and_long_lengths_are_rewritten() {
        let unknown = b"\xA2\x06\x03new";
        let span = |id: u8| [&[0x12, 0x92, 0x80, 0x00, 0x0A, 0x10][..], &[id; 16]].concat();
        let scope_spans = [&unknown[..], &span(1), unknown, &span(2), &span(3), unknown].concat();
        let around = |number: u8, body: &[u8]| {
            [&unknown[..], &[number << 3 | 2, body.len() as u8 | 0x80, 0x80, 0x00], body, unknown].concat()
        };
        let request = around(1, &around(2, &scope_spans));

        let scope_spans = [&unknown[..], unknown, &span(2), unknown].concat();
        let around =
            |number: u8, body: &[u8]| [&unknown[..], &[number << 3 | 2, body.len() as u8], body, unknown].concat();
        assert_eq!(of_trace(&request, &[2; 16]), around(1, &around(2, &scope_spans)));
        assert!(of_trace(&request, &[4; 16]).is_empty());
    }

    #[test]
    fn a_trace_id_that_is_not_the_first_field_is_found() {
        let first = [&[0x12, 0x08][..], &[7; 8], &[0x0A, 0x10], &[9; 16]].concat();
        assert_eq!(Span { range: 0..0, bytes: &first }.trace_id(), Some(&[9; 16]));
        for bytes in [&[][..], &[0x0A], &[0x0A, 0x10, 1], &[0x0A, 0x0F], &[0x12, 0xFF], &first[..20]] {
            assert_eq!(Span { range: 0..0, bytes }.trace_id(), None, "{bytes:x?}");
        }
    }
}
