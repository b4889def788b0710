//! Digests, against prost as the judge of what is the same.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message;

use super::*;

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn request() -> ExportTraceServiceRequest {
    let event = |name: &str, time| span::Event {
        time_unix_nano: time,
        name: name.into(),
        attributes: vec![
            attribute("a", any_value::Value::BoolValue(false)),
            attribute("b", any_value::Value::StringValue(String::new())),
        ],
        dropped_attributes_count: 1,
    };
    let link = |id: u8| span::Link { trace_id: vec![id; 16], span_id: vec![id; 8], ..span::Link::default() };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        trace_state: "a=b".into(),
        flags: 0x101,
        name: "GET".into(),
        kind: 3,
        start_time_unix_nano: 5,
        end_time_unix_nano: 6,
        attributes: vec![
            attribute("int", any_value::Value::IntValue(-1)),
            attribute("double", any_value::Value::DoubleValue(0.5)),
        ],
        dropped_attributes_count: 4,
        events: vec![event("first", 1), event("second", 2)],
        dropped_events_count: 5,
        links: vec![link(1), link(2)],
        dropped_links_count: 6,
        status: Some(Status { message: "bad".into(), code: 2 }),
    };
    let scope = InstrumentationScope { name: "lib".into(), version: "1".into(), ..InstrumentationScope::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", any_value::Value::StringValue("x".into())),
                    attribute("host.name", any_value::Value::StringValue("y".into())),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans: vec![span], schema_url: "s".into() }],
            schema_url: "r".into(),
        }],
    }
}

fn digest(request: &ExportTraceServiceRequest) -> u64 {
    let mut digests = Vec::new();
    each_span_of_request(&request.encode_to_vec(), |span| digests.push(span)).unwrap();
    assert_eq!(digests.len(), 1);
    digests[0].digest
}

#[test]
fn any_change_of_a_span_its_scope_or_its_resource_changes_its_digest() {
    let original = digest(&request());
    type Change = fn(&mut Span);
    let changes: [Change; 25] = [
        |span| span.trace_id[15] ^= 1,
        |span| span.span_id[0] ^= 1,
        |span| span.parent_span_id.clear(),
        |span| span.trace_state.clear(),
        |span| span.flags = 1,
        |span| span.name.push('s'),
        |span| span.kind = 2,
        |span| span.start_time_unix_nano += 1,
        |span| std::mem::swap(&mut span.start_time_unix_nano, &mut span.end_time_unix_nano),
        |span| span.attributes[0].key = "Int".into(),
        |span| span.attributes[0].value = Some(AnyValue { value: Some(any_value::Value::IntValue(1)) }),
        |span| span.attributes[0].value = Some(AnyValue { value: Some(any_value::Value::StringValue("-1".into())) }),
        |span| span.attributes[1].value = None,
        |span| span.attributes.truncate(1),
        |span| span.attributes.push(span.attributes[0].clone()),
        |span| span.dropped_attributes_count = 0,
        |span| std::mem::swap(&mut span.dropped_attributes_count, &mut span.dropped_events_count),
        |span| span.events.reverse(),
        |span| span.events.truncate(1),
        |span| span.events[0].attributes[0].value = Some(AnyValue { value: Some(any_value::Value::BoolValue(true)) }),
        |span| span.events[1].attributes.truncate(1),
        |span| span.links.reverse(),
        |span| span.links[1].flags = 1,
        |span| span.status = None,
        |span| span.status.as_mut().unwrap().message.clear(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = request();
        change(&mut changed.resource_spans[0].scope_spans[0].spans[0]);
        assert_ne!(digest(&changed), original, "change {number}");
    }
    let around: [fn(&mut ResourceSpans); 6] = [
        |around| around.schema_url.clear(),
        |around| around.resource = None,
        |around| around.resource.as_mut().unwrap().attributes.truncate(1),
        |around| around.scope_spans[0].schema_url.clear(),
        |around| around.scope_spans[0].scope.as_mut().unwrap().version.clear(),
        |around| {
            let scope = &mut around.scope_spans[0];
            let url = std::mem::take(&mut scope.schema_url);
            scope.schema_url = std::mem::replace(&mut around.schema_url, url);
        },
    ];
    for (number, change) in around.iter().enumerate() {
        let mut changed = request();
        change(&mut changed.resource_spans[0]);
        assert_ne!(digest(&changed), original, "change {number} around the span");
    }
}

#[test]
fn another_encoding_of_the_same_span_has_the_same_digest() {
    let mut same = request();
    let around = &mut same.resource_spans[0];
    around.resource.as_mut().unwrap().attributes.reverse();
    let span = &mut around.scope_spans[0].spans[0];
    span.attributes.reverse();
    span.events[0].attributes.reverse();
    assert_eq!(digest(&same), digest(&request()));

    // Fields in another order, and a default spelled out.
    let mut plain = request();
    let span = &mut plain.resource_spans[0].scope_spans[0].spans[0];
    span.status = None;
    span.dropped_links_count = 0;
    let bytes = span.encode_to_vec();
    let (first, rest) = bytes.split_at(18);
    let turned = [rest, b"\x70\x00\x7a\x00".as_slice(), first].concat();
    assert_eq!(super::span(&turned, 9), super::span(&bytes, 9));
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let bytes = request().encode_to_vec();
    let refused = (1..bytes.len()).filter(|cut| each_span_of_request(&bytes[..*cut], |_| {}).is_err()).count();
    assert_eq!(refused, bytes.len() - 1);
    assert!(each_span_of_request(b"\x0b", |_| {}).is_err(), "groups are not used");
    assert!(each_span_of_request(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], |_| {}).is_err());
}
