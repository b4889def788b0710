use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::otlp::{
    arbitrary, filter,
    json::schema::{self, Kind},
    wire,
};

fn span(byte: u8) -> Span {
    Span { trace_id: vec![byte; 16], span_id: vec![byte; 8], name: "GET /".into(), ..Span::default() }
}

fn scope_spans(spans: Vec<Span>) -> ScopeSpans {
    ScopeSpans { spans, ..ScopeSpans::default() }
}

fn request_of(scope_spans: Vec<ScopeSpans>) -> TracesData {
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    request_of(vec![scope_spans(spans)]).encode_to_vec()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A field of a message: its number and its body.
fn wrapped(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    wire::put_varint(&mut out, body.len() as u64);
    out.extend_from_slice(body);
    out
}

/// A request with these bytes as its only span.
fn request_of_span(span: &[u8]) -> Vec<u8> {
    wrapped(1, &wrapped(2, &wrapped(2, span)))
}

fn reasons(request: &[u8]) -> (u32, Vec<Reason>) {
    let checked = check(request, |_| ()).expect("well framed");
    (checked.spans, checked.bad.into_iter().map(|span| span.reason).collect())
}

#[test]
fn good_spans_are_counted_and_reported_in_order() {
    let mut seen = Vec::new();
    let checked = check(&request(vec![span(1), span(2), span(1)]), |id| seen.push(id[0]));
    assert_eq!(checked, Ok(Checked { spans: 3, bad: vec![] }));
    assert_eq!(seen, [1, 2, 1]);
}

#[test]
fn an_empty_request_is_good() {
    assert_eq!(check(&[], |_| ()), Ok(Checked::default()));
}

#[test]
fn ids_of_the_wrong_size_or_of_zeros_make_one_span_bad() {
    let cases = [
        (Span { trace_id: vec![1; 15], ..span(1) }, Reason::TraceId),
        (Span { trace_id: vec![1; 17], ..span(1) }, Reason::TraceId),
        (Span { trace_id: vec![], ..span(1) }, Reason::TraceId),
        (Span { trace_id: vec![0; 16], ..span(1) }, Reason::TraceId),
        (Span { span_id: vec![1; 7], ..span(1) }, Reason::SpanId),
        (Span { span_id: vec![], ..span(1) }, Reason::SpanId),
        (Span { span_id: vec![0; 8], ..span(1) }, Reason::SpanId),
        (Span { parent_span_id: vec![1; 9], ..span(1) }, Reason::ParentSpanId),
        (Span { links: vec![Link { trace_id: vec![1; 8], ..Link::default() }], ..span(1) }, Reason::LinkId),
        (Span { links: vec![Link { span_id: vec![1; 16], ..Link::default() }], ..span(1) }, Reason::LinkId),
    ];
    for (bad, reason) in cases {
        let bad_bytes = bad.encode_to_vec();
        let request = request(vec![span(1), bad, span(2)]);
        let checked = check(&request, |_| ()).expect("well framed");
        assert_eq!(checked.spans, 2, "{reason}");
        assert_eq!(checked.bad.len(), 1, "{reason}");
        assert_eq!(checked.bad[0].reason, reason);
        assert_eq!(request[checked.bad[0].range.clone()], bad_bytes);
    }
}

#[test]
fn an_all_zero_parent_and_empty_link_ids_are_kept() {
    let odd = Span { parent_span_id: vec![0; 8], links: vec![Link::default()], ..span(1) };
    assert_eq!(reasons(&request(vec![odd])), (1, vec![]));
}

#[test]
fn of_an_id_that_comes_twice_the_last_counts() {
    let good = span(1).encode_to_vec();
    let bad = Span { span_id: vec![1; 7], ..Span::default() }.encode_to_vec();
    assert_eq!(reasons(&request_of_span(&[bad.clone(), good.clone()].concat())), (1, vec![]));
    assert_eq!(reasons(&request_of_span(&[good, bad].concat())), (0, vec![Reason::SpanId]));
}

#[test]
fn a_span_that_names_two_traces_is_bad_and_one_that_names_its_trace_twice_is_not() {
    let two = |first, second| request_of_span(&[span(first).encode_to_vec(), span(second).encode_to_vec()].concat());
    assert_eq!(reasons(&two(1, 2)), (0, vec![Reason::TraceId]));
    assert_eq!(reasons(&two(1, 1)), (1, vec![]));
}

#[test]
fn a_string_that_is_not_utf8_costs_what_it_belongs_to_and_no_more() {
    const MARK: &str = "MARK-THIS";
    let mark = || MARK.to_owned();
    let value = || vec![attribute("k", Value::StringValue(mark()))];
    let key = || vec![attribute(MARK, Value::BoolValue(true))];
    let own = Reason::Span(Flaw::Utf8);
    let spans = [
        Span { name: mark(), ..span(2) },
        Span { trace_state: mark(), ..span(2) },
        Span { attributes: value(), ..span(2) },
        Span { attributes: key(), ..span(2) },
        Span { status: Some(Status { message: mark(), ..Status::default() }), ..span(2) },
        Span { events: vec![Event { name: mark(), ..Event::default() }], ..span(2) },
        Span { events: vec![Event { attributes: value(), ..Event::default() }], ..span(2) },
        Span { links: vec![Link { trace_state: mark(), ..Link::default() }], ..span(2) },
        Span { links: vec![Link { attributes: key(), ..Link::default() }], ..span(2) },
    ];
    let mut cases: Vec<(TracesData, Vec<Reason>)> = Vec::new();
    for marked in spans {
        cases.push((request_of(vec![scope_spans(vec![span(1), marked]), scope_spans(vec![span(3)])]), vec![own]));
    }
    let scopes = [
        InstrumentationScope { name: mark(), ..InstrumentationScope::default() },
        InstrumentationScope { version: mark(), ..InstrumentationScope::default() },
        InstrumentationScope { attributes: value(), ..InstrumentationScope::default() },
    ];
    let scope = Reason::Scope(Flaw::Utf8);
    for marked in scopes {
        let bad = ScopeSpans { scope: Some(marked), ..scope_spans(vec![span(1)]) };
        cases.push((request_of(vec![bad, scope_spans(vec![span(2), span(3)])]), vec![scope]));
    }
    let bad = ScopeSpans { schema_url: mark(), ..scope_spans(vec![span(1)]) };
    cases.push((request_of(vec![bad, scope_spans(vec![span(2), span(3)])]), vec![scope]));
    let entity_ref = EntityRef { id_keys: vec![mark()], ..EntityRef::default() };
    let resources = [
        (Resource { attributes: value(), ..Resource::default() }, String::new()),
        (Resource { entity_refs: vec![entity_ref], ..Resource::default() }, String::new()),
        (Resource::default(), mark()),
    ];
    for (marked, schema_url) in resources {
        let mut request = request_of(vec![scope_spans(vec![span(1)]), scope_spans(vec![span(2)])]);
        request.resource_spans[0].resource = Some(marked);
        request.resource_spans[0].schema_url = schema_url;
        request.resource_spans.extend(request_of(vec![scope_spans(vec![span(3), span(3)])]).resource_spans);
        cases.push((request, vec![Reason::Resource(Flaw::Utf8); 2]));
    }
    for (request, expected) in cases {
        let mut bytes = request.encode_to_vec();
        assert_eq!(reasons(&bytes).1, vec![], "{request:?}");
        let at = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes()).expect("marked");
        bytes[at + 3] = 0xFF;
        assert_eq!(reasons(&bytes), (2, expected), "{request:?}");
    }
}

#[test]
fn a_bad_byte_is_found_at_each_place_of_a_string_of_each_length() {
    for length in 1..140 {
        let good = Span { attributes: vec![attribute("k", Value::StringValue("x".repeat(length)))], ..span(1) };
        let bytes = request(vec![good]);
        let end = bytes.len();
        for at in end - length..end {
            let mut bytes = bytes.clone();
            bytes[at] = 0x80;
            assert_eq!(reasons(&bytes), (0, vec![Reason::Span(Flaw::Utf8)]), "byte {at} of {length}");
        }
    }
}

#[test]
fn what_is_wrong_around_the_spans_is_known_before_a_span_is_reported() {
    // A broken schema URL that follows the spans.
    let scope_spans = [wrapped(2, &span(1).encode_to_vec()), wrapped(3, b"\xFF")].concat();
    let request = wrapped(1, &wrapped(2, &scope_spans));
    let checked = check(&request, |_| panic!("reported")).expect("well framed");
    assert_eq!(checked.bad[0].reason, Reason::Scope(Flaw::Utf8));
    // A broken resource that follows them.
    let resource_spans = [wrapped(2, &wrapped(2, &span(1).encode_to_vec())), wrapped(1, b"\xFF")].concat();
    let checked = check(&wrapped(1, &resource_spans), |_| panic!("reported")).expect("well framed");
    assert_eq!(checked.bad[0].reason, Reason::Resource(Flaw::Framing));
}

#[test]
fn broken_framing_around_spans_makes_the_request_malformed() {
    let good = request(vec![span(1)]);
    let cases: [(&str, Vec<u8>); 9] = [
        ("a length past the end", good[..good.len() - 1].to_vec()),
        ("a group", vec![0x0B, 0x0C]),
        ("field number 0", vec![0x02, 0x00]),
        ("a varint of eleven bytes", vec![0xFF; 11]),
        ("a ResourceSpans that is a number", vec![0x08, 0x01]),
        ("a ScopeSpans that is a number", wrapped(1, &[0x10, 0x01])),
        ("a Span that is a number", wrapped(1, &wrapped(2, &[0x10, 0x01]))),
        ("a schema URL that is a number", wrapped(1, &wrapped(2, &[0x18, 0x01]))),
        ("a span longer than its scope", wrapped(1, &wrapped(2, &[0x12, 0x05, 0x00]))),
    ];
    for (name, bytes) in cases {
        let error = check(&bytes, |_| ()).expect_err(name);
        assert!(error.at <= bytes.len(), "{name}: {error}");
        assert!(TracesData::decode(&*bytes).is_err() || name == "a group", "{name}");
    }
}

#[test]
fn a_broken_resource_or_scope_without_spans_is_not_let_through() {
    assert!(check(&wrapped(1, &wrapped(1, b"\xFF")), |_| ()).is_err());
    assert!(check(&wrapped(1, &wrapped(2, &wrapped(1, b"\xFF"))), |_| ()).is_err());
}

#[test]
fn groups_and_unknown_wire_types_make_one_span_bad() {
    let good = span(1).encode_to_vec();
    for tail in [&[0xA3, 0x06, 0xA4, 0x06][..], &[0xA4, 0x06], &[0xA6, 0x06], &[0xA7, 0x06], &[0x00, 0x00]] {
        let request = request_of_span(&[&good, tail].concat());
        assert_eq!(reasons(&request), (0, vec![Reason::Span(Flaw::Framing)]), "{tail:x?}");
    }
}

#[test]
fn unknown_fields_are_let_through_at_every_level() {
    // Field 100 as a number, as 8 bytes, as a string that is not UTF-8, as 4 bytes.
    let unknown = b"\xA0\x06\x01\xA1\x0612345678\xA2\x06\x01\xFF\xA5\x061234";
    let with = |number, body: &[u8]| [&wrapped(number, &[body, unknown].concat())[..], unknown].concat();
    let value = with(9, &with(2, &with(5, &with(1, &[]))));
    let parts = [span(1).encode_to_vec(), value, with(11, &[]), with(13, &[]), with(15, &[])].concat();
    let request = with(1, &[with(1, &[]), with(2, &[with(1, &[]), with(2, &parts)].concat())].concat());
    assert_eq!(reasons(&request), (1, vec![]));
    assert!(TracesData::decode(&*request).is_ok());
}

/// A span with an attribute whose value is nested `levels` deep; `step` is the fields from one value to the next.
fn nested(levels: usize, step: &[u8]) -> Vec<u8> {
    // From the inside out, and so back to front.
    let mut reversed: Vec<u8> = Vec::new();
    let mut wrap = |number: u8| {
        let mut header = vec![number << 3 | 2];
        wire::put_varint(&mut header, reversed.len() as u64);
        reversed.extend(header.iter().rev());
    };
    for _ in 1..levels {
        step.iter().rev().for_each(|number| wrap(*number));
    }
    wrap(2);
    wrap(9);
    reversed.reverse();
    [span(1).encode_to_vec(), reversed].concat()
}

#[test]
fn values_may_be_nested_up_to_the_limit() {
    let limit = MAX_DEPTH as usize;
    for step in [&[5, 1][..], &[6, 1, 2]] {
        assert_eq!(reasons(&request_of_span(&nested(limit, step))), (1, vec![]));
        let too_deep = [request_of_span(&nested(limit + 1, step)), request(vec![span(2)])].concat();
        assert_eq!(reasons(&too_deep), (1, vec![Reason::Span(Flaw::TooDeep)]));
    }
}

#[test]
fn ten_million_messages_within_each_other_cost_only_their_span() {
    for (levels, step) in [(5_000_000, &[5, 1][..]), (3_333_334, &[6, 1, 2])] {
        let hostile = [request_of_span(&nested(levels, step)), request(vec![span(2)])].concat();
        assert_eq!(reasons(&hostile), (1, vec![Reason::Span(Flaw::TooDeep)]));
    }
}

#[test]
fn a_request_with_too_many_bad_spans_is_refused_as_a_whole() {
    let bad = wrapped(2, &[]);
    let request = |count: usize| wrapped(1, &wrapped(2, &bad.repeat(count)));
    assert_eq!(check(&request(MAX_BAD_SPANS), |_| ()).expect("at the limit").bad.len(), MAX_BAD_SPANS);
    assert!(check(&request(MAX_BAD_SPANS + 1), |_| ()).is_err());
}

/// Whether reading this message with the table of fields would come across a group. Ends where a field is broken.
fn has_group(message: &schema::Message, mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(key) = wire::key(&mut rest) else { return false };
        if matches!(key & 7, 3 | 4) {
            return true;
        }
        let mut value = rest;
        if wire::skip(&mut rest, key).is_none() {
            return false;
        }
        if let (wire::BYTES, Some((_, field))) = (key & 7, message.by_number(key >> 3))
            && let Kind::Message(message) = field.kind
            && has_group(message, wire::bytes(&mut value).unwrap_or_default())
        {
            return true;
        }
    }
    false
}

/// Checks that prost refuses what `check` cannot read, and nothing else.
fn agrees_with_prost(bytes: &[u8]) {
    let checked = check(bytes, |_| ());
    let readable = checked.as_ref().is_ok_and(|checked| {
        let is_id = |reason| matches!(reason, Reason::TraceId | Reason::SpanId | Reason::ParentSpanId | Reason::LinkId);
        checked.bad.iter().all(|span| is_id(span.reason))
    });
    match TracesData::decode(bytes) {
        Err(error) => assert!(!readable, "{error} and {checked:?} in {bytes:x?}"),
        Ok(_) => assert!(readable || has_group(&schema::REQUEST, bytes), "{checked:?} in {bytes:x?}"),
    }
}

#[test]
fn any_byte_may_have_any_value() {
    let values = [
        Value::StringValue("some text".into()),
        Value::BoolValue(true),
        Value::IntValue(300),
        Value::DoubleValue(1.5),
        Value::BytesValue(vec![1, 2]),
    ];
    for value in values {
        let span = Span { attributes: vec![attribute("key", value)], kind: 2, ..span(1) };
        let bytes = request(vec![span]);
        for at in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                agrees_with_prost(&bytes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_good_request_is_good(request in arbitrary::request()) {
        let expected: Vec<Vec<u8>> = request.resource_spans.iter().flat_map(|it| &it.scope_spans)
            .flat_map(|it| &it.spans).map(|span| span.trace_id.clone()).collect();
        let mut seen = Vec::new();
        let checked = check(&request.encode_to_vec(), |id| seen.push(id.to_vec()));
        prop_assert_eq!(checked, Ok(Checked { spans: expected.len() as u32, bad: vec![] }));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn what_prost_refuses_is_found_and_what_is_found_prost_refuses(
        bytes in arbitrary::request().prop_flat_map(|request| arbitrary::mutated(request.encode_to_vec()))
    ) {
        agrees_with_prost(&bytes);
    }

    #[test]
    fn without_its_bad_spans_a_request_is_good(
        bytes in arbitrary::request().prop_flat_map(|request| arbitrary::mutated(request.encode_to_vec()))
    ) {
        if let Ok(Checked { spans, bad }) = check(&bytes, |_| ()) {
            let left = filter::without(&bytes, &bad);
            prop_assert_eq!(check(&left, |_| ()), Ok(Checked { spans, bad: vec![] }));
            prop_assert!(TracesData::decode(&*left).is_ok());
        }
    }
}

/// A request whose scope has so many bytes of attributes, with so many spans.
fn with_scope(attribute_bytes: usize, spans: usize) -> Vec<u8> {
    let attributes = vec![attribute("k", Value::StringValue("x".repeat(attribute_bytes)))];
    let scope = Some(InstrumentationScope { attributes, ..InstrumentationScope::default() });
    request_of(vec![ScopeSpans { scope, ..scope_spans(vec![span(1); spans]) }]).encode_to_vec()
}

#[test]
fn spans_past_the_room_for_their_scopes_attributes_are_refused_and_the_others_pass() {
    let request = with_scope(300_000, 250);
    let (good, bad) = reasons(&request);
    assert!(good >= 64 && bad.len() as u32 == 250 - good, "{good}");
    assert!(bad.iter().all(|reason| *reason == Reason::ScopeTooLarge));
    let left = filter::without(&request, &check(&request, |_| ()).unwrap().bad);
    assert_eq!(reasons(&left), (good, vec![]));
    // Joined with others it passes as a part of a batch.
    let batch = left.repeat(4);
    assert_eq!(check_batch(&batch, |_| ()).unwrap().spans, 4 * good);
    assert!(u64::from(4 * good) * 300_000 <= scope_bytes_of_batch(batch.len() as u64));
}

#[test]
fn attributes_of_scopes_as_they_are_used_cost_no_span() {
    for (attribute_bytes, spans) in [(0, 100_000), (500, 50_000), (1 << 20, 60), (16 << 20, 60)] {
        assert_eq!(reasons(&with_scope(attribute_bytes, spans)), (spans as u32, vec![]), "{attribute_bytes}");
    }
}

#[test]
fn whatever_is_joined_to_a_batch_fits_the_room_of_batches() {
    for attribute_bytes in [100, 1000, 5000, 11_000, 20_000, 100_000, 500_000, 1 << 20] {
        for spans in [1, 10, 100, 300, 1000, 10_000] {
            let request = with_scope(attribute_bytes, spans);
            let bad = check(&request, |_| ()).unwrap().bad;
            let left = filter::without(&request, &bad);
            let of_one = ((spans - bad.len()) * attribute_bytes) as u64;
            let joined = ((1 << 20) / left.len() as u64 + 1) * left.len() as u64;
            let times = joined / left.len() as u64;
            assert!(times * of_one <= scope_bytes_of_batch(joined), "{attribute_bytes} bytes, {spans} spans");
        }
    }
}
