use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue as Attribute, any_value::Value},
    trace::v1::{
        ResourceSpans, ScopeSpans, TracesData,
        span::{Event, Link},
    },
};
use prost::Message;

use super::*;

fn attribute(key: &str, text: &str) -> Attribute {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    Attribute { key: key.to_owned(), value, ..Attribute::default() }
}

fn made(span: otlp::Span) -> Span {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    of_otlp(&TracesData { resource_spans }.encode_to_vec().into()).unwrap().spans.remove(0)
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
        let span = made(otlp::Span { links: links.into_iter().map(link).collect(), ..child() });
        span.references.into_iter().map(|one| (one.trace_id[0], one.span_id[0], one.ref_type)).collect::<Vec<_>>()
    };
    let (child_of, follows) = (SpanRefType::ChildOf.into(), SpanRefType::FollowsFrom.into());
    assert_eq!(references(vec![]), [(7, 1, child_of)]);
    assert_eq!(references(vec![(7, 1, "follows_from")]), [(7, 1, follows)]);
    assert_eq!(references(vec![(7, 1, "child_of"), (7, 3, "child_of")]), [(7, 1, child_of), (7, 3, child_of)]);
    assert_eq!(references(vec![(8, 1, "follows_from")]), [(7, 1, child_of), (8, 1, follows)]);
}

#[test]
fn an_attribute_event_stands_for_the_name_of_an_event() {
    let fields = |name: &str, attributes: Vec<Attribute>| {
        let event = Event { name: name.to_owned(), attributes, ..Event::default() };
        let log = made(otlp::Span { events: vec![event], ..child() }).logs.remove(0);
        log.fields.into_iter().map(|field| (field.key, field.v_str)).collect::<Vec<_>>()
    };
    let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
    assert_eq!(fields("tick", vec![attribute("n", "1")]), [pair("event", "tick"), pair("n", "1")]);
    assert_eq!(fields("tick", vec![attribute("event", "tock")]), [pair("event", "tock")]);
    assert_eq!(fields("", vec![]), []);
}
