use clew_common::ids::TraceId;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue as Attribute, any_value},
    trace::v1::{
        self as otlp, ResourceSpans, ScopeSpans, TracesData,
        span::{Event, Link},
    },
};
use prost::Message;

use super::*;

fn attribute(key: &str, text: &str) -> Attribute {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    Attribute { key: key.to_owned(), value, ..Attribute::default() }
}

/// A trace of one span, as bytes.
fn bytes_of(span: otlp::Span) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    TracesData { resource_spans }.encode_to_vec()
}

fn child() -> otlp::Span {
    otlp::Span { trace_id: vec![7; 16], span_id: vec![2; 8], parent_span_id: vec![1; 8], ..otlp::Span::default() }
}

#[test]
fn a_link_to_the_parent_says_what_the_reference_to_it_is() {
    let references = |links: Vec<(u8, u8, &str)>| {
        let link = |(trace, span, kind): (u8, u8, &str)| Link {
            trace_id: vec![trace; 16],
            span_id: vec![span; 8],
            attributes: vec![attribute("opentracing.ref_type", kind)],
            ..Link::default()
        };
        let bytes = bytes_of(otlp::Span { links: links.into_iter().map(link).collect(), ..child() });
        let span = of_otlp(&bytes).unwrap().spans.remove(0);
        span.references.into_iter().map(|one| (one.trace_id[0], one.span_id[0], one.follows)).collect::<Vec<_>>()
    };
    let (child_of, follows) = (false, true);
    assert_eq!(references(vec![]), [(7, 1, child_of)]);
    assert_eq!(references(vec![(7, 1, "follows_from")]), [(7, 1, follows)]);
    assert_eq!(references(vec![(7, 1, "child_of"), (7, 3, "child_of")]), [(7, 1, child_of), (7, 3, child_of)]);
    assert_eq!(references(vec![(8, 1, "follows_from")]), [(7, 1, child_of), (8, 1, follows)]);
}

#[test]
fn an_attribute_event_stands_for_the_name_of_an_event() {
    let fields = |name: &str, attributes: Vec<Attribute>| {
        let event = Event { name: name.to_owned(), attributes, ..Event::default() };
        let bytes = bytes_of(otlp::Span { events: vec![event], ..child() });
        let log = of_otlp(&bytes).unwrap().spans.remove(0).logs.remove(0);
        let pair = |field: Tag<'_>| (field.key.to_owned(), field.borrowed().unwrap().to_owned());
        log.fields.into_iter().map(pair).collect::<Vec<_>>()
    };
    let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
    assert_eq!(fields("tick", vec![attribute("n", "1")]), [pair("event", "tick"), pair("n", "1")]);
    assert_eq!(fields("tick", vec![attribute("event", "tock")]), [pair("event", "tock")]);
    assert_eq!(fields("", vec![]), []);
}

#[test]
fn only_what_is_nested_too_deeply_is_left_out_and_that_is_said() {
    let nested = |depth: usize| {
        let wrap = |value| AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values: vec![value] })) };
        let value = (0..depth).fold(AnyValue { value: Some(any_value::Value::IntValue(7)) }, |value, _| wrap(value));
        Attribute { key: format!("deep{depth}"), value: Some(value), ..Attribute::default() }
    };
    let event = Event { attributes: vec![nested(300), attribute("n", "1")], ..Event::default() };
    let attributes = vec![nested(2), nested(200), attribute("a", "b")];
    let bytes = bytes_of(otlp::Span { attributes, events: vec![event], ..child() });
    let trace = of_otlp(&bytes).unwrap();
    assert_eq!(trace.warnings, ["2 attributes are nested too deeply to be shown"]);
    let tags = &trace.spans[0].tags;
    assert_eq!(tags.iter().map(|tag| tag.key).collect::<Vec<_>>(), ["deep2", "a"]);
    assert_eq!(tags[0].value, Value::Text("[[7]]".into()));
    assert_eq!(trace.spans[0].logs[0].fields.len(), 1);
}

#[test]
fn a_trace_that_is_cut_anywhere_is_read_or_refused() {
    let link = Link { trace_id: vec![1; 16], span_id: vec![3; 8], ..Link::default() };
    let event = Event { name: "tick".to_owned(), attributes: vec![attribute("n", "1")], ..Event::default() };
    let span = otlp::Span { events: vec![event], links: vec![link], attributes: vec![attribute("a", "b")], ..child() };
    let bytes = bytes_of(span);
    assert!((1..bytes.len()).all(|end| of_otlp(&bytes[..end]).is_none()));
    let mut odd = bytes;
    for at in 0..odd.len() {
        for flip in [0x01, 0x80, 0xff] {
            odd[at] ^= flip;
            // What it says does not matter, only that it ends.
            drop(of_otlp(&odd).map(|trace| super::super::json::written(TraceId::new([1; 16]).unwrap(), &trace)));
            odd[at] ^= flip;
        }
    }
}
