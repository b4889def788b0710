//! Spans that are good and odd.

use clew_common::otlp::wire::put_varint;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use prost::Message;

/// A time within what nanoseconds of 63 bits can say.
pub const NOW: u64 = 1_795_000_000_000_000_000;

/// An ordinary span of a trace.
pub fn span(trace: u8, span: u32) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: [[trace; 4], span.to_be_bytes()].concat(),
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: NOW + u64::from(span),
        end_time_unix_nano: NOW + 1000 + u64::from(span),
        ..Span::default()
    }
}

/// An attribute.
pub fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

/// A message of one resource.
pub fn message(spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource { attributes: vec![pair("service.name", text("odd"))], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }],
    }
    .encode_to_vec()
}

/// Messages that every format keeps to the byte.
pub fn messages() -> Vec<Vec<u8>> {
    vec![times(), values(), families(), message(vec![full(4)]), around(), large(), deep()]
}

fn times() -> Vec<u8> {
    let times = [
        (0, 0),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, 0),
        (NOW, NOW - 1),
        (1, 2),
        (i64::MAX as u64, i64::MAX as u64 + 1),
        (1 << 63, 5),
    ];
    let odd = (0..).zip(times).map(|(number, (start, end))| Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        events: vec![Event { time_unix_nano: end, ..Event::default() }],
        ..span(1, number)
    });
    message(odd.collect())
}

fn values() -> Vec<u8> {
    let list = |values: Vec<Value>| {
        let values = values.into_iter().map(|value| AnyValue { value: Some(value) }).collect();
        Value::ArrayValue(ArrayValue { values })
    };
    let texts = ["<script>", "\0\u{1}\u{1b}[31m", "\u{202e}evil\u{2028}", "'\"`;--\\", "line\r\nline\n", "🦀", ""];
    let mut values: Vec<Value> = texts.map(text).into();
    values.extend([i64::MIN, -1, 0, 1 << 53, i64::MAX].map(Value::IntValue));
    let doubles = [0.0, -0.0, f64::MIN_POSITIVE / 2.0, 1e308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e23];
    values.extend(doubles.map(Value::DoubleValue));
    values.extend([Value::BoolValue(false), Value::BoolValue(true), Value::BytesValue((0..=255).collect())]);
    values.push(Value::BytesValue(Vec::new()));
    values.extend([list(vec![]), list(vec![text("a"), Value::IntValue(1), list(vec![])])]);
    values.push(Value::KvlistValue(KeyValueList { values: vec![pair("k", text("v")), pair("k", text("w"))] }));
    let each = values.iter().enumerate().map(|(at, value)| pair(&format!("key.{at}"), value.clone()));
    // One key with values of all types, in a span each.
    let mut spans: Vec<Span> = (1..)
        .zip(&values)
        .map(|(number, value)| Span { attributes: vec![pair("same.key", value.clone())], ..span(2, number) })
        .collect();
    spans.push(Span { attributes: each.collect(), ..span(2, 0) });
    // A key twice, an empty key, an attribute without a value, and one with an empty value.
    let empty = KeyValue { key: "none".to_owned(), ..KeyValue::default() };
    let hollow = KeyValue { key: "hollow".to_owned(), value: Some(AnyValue::default()), ..KeyValue::default() };
    let attributes = vec![pair("k", text("1")), pair("k", text("2")), pair("", text("no key")), empty, hollow];
    spans.push(Span { attributes, ..span(2, 1000) });
    spans.push(Span { name: texts.concat(), trace_state: "a=1,b=2".to_owned(), ..span(2, 1001) });
    message(spans)
}

/// Parents that are there, are not there, are zeros, the span itself, each other; and ids that come twice.
fn families() -> Vec<u8> {
    let id = |number: u32| span(3, number).span_id;
    let child = |number: u32, parent: Vec<u8>| Span { parent_span_id: parent, ..span(3, number) };
    let mut spans =
        vec![span(3, 0), child(1, id(0)), child(2, id(1)), child(3, id(3)), child(4, id(5)), child(5, id(4))];
    spans.extend([child(6, vec![0; 8]), child(7, vec![0xEE; 8])]);
    spans.push(Span { name: "the same id".to_owned(), ..child(2, id(1)) });
    spans.push(Span { name: String::new(), kind: 77, ..child(8, id(2)) });
    message(spans)
}

/// A span with every field.
pub fn full(trace: u8) -> Span {
    let link = |trace_id: Vec<u8>, span_id: Vec<u8>| Link { trace_id, span_id, ..Link::default() };
    let links = vec![
        link(vec![], vec![]),
        link(vec![0; 16], vec![1; 8]),
        Link {
            trace_state: "x=y".to_owned(),
            attributes: vec![pair("why", text("because")), pair("why", Value::IntValue(2))],
            dropped_attributes_count: 7,
            flags: 0x301,
            ..link(vec![9; 16], vec![8; 8])
        },
    ];
    let event = Event {
        time_unix_nano: NOW,
        name: "exception".to_owned(),
        attributes: vec![pair("b", Value::BytesValue(vec![0xFF])), pair("a", Value::DoubleValue(f64::NAN))],
        dropped_attributes_count: u32::MAX,
    };
    Span {
        trace_state: "vendor=1".to_owned(),
        parent_span_id: vec![5; 8],
        flags: 0x0101,
        attributes: vec![pair("z", text("last")), pair("a", Value::BoolValue(true))],
        dropped_attributes_count: 1,
        events: vec![event, Event::default()],
        dropped_events_count: 2,
        links,
        dropped_links_count: u32::MAX,
        status: Some(Status { message: "it broke".to_owned(), code: 2 }),
        ..span(trace, 1)
    }
}

/// Spans in odd resources and scopes: without any, with empty ones, with the same but for a schema URL.
fn around() -> Vec<u8> {
    let empty_status = Span { status: Some(Status::default()), ..span(5, 1) };
    let scope = |name: &str, version: &str| InstrumentationScope {
        name: name.to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let attributes = vec![pair("scope.key", text("v")), pair("scope.key", Value::IntValue(1))];
    let full = InstrumentationScope { attributes, dropped_attributes_count: 3, ..scope("", "1") };
    let scopes = [None, Some(InstrumentationScope::default()), Some(scope("a", "")), Some(scope("a", "1")), Some(full)];
    let resource = |attributes: Vec<KeyValue>, dropped: u32| Resource {
        attributes,
        dropped_attributes_count: dropped,
        ..Resource::default()
    };
    let odd = vec![pair("service.name", Value::IntValue(1)), pair("b", text("")), pair("service.name", text("second"))];
    let resources = [None, Some(resource(vec![], 0)), Some(resource(vec![], 5)), Some(resource(odd, 0))];
    let mut number = 10;
    let mut resource_spans = Vec::new();
    for (resource, url) in resources.iter().zip(["", "http://a", "http://a", ""]) {
        let scope_spans = scopes.iter().zip(["", "", "http://b", "", "http://b"]).map(|(scope, url)| {
            number += 2;
            let spans = vec![span(5, number), Span { start_time_unix_nano: 0, ..span(5, number + 1) }];
            ScopeSpans { scope: scope.clone(), spans, schema_url: url.to_owned() }
        });
        let scope_spans = scope_spans.collect();
        resource_spans.push(ResourceSpans { resource: resource.clone(), scope_spans, schema_url: url.to_owned() });
    }
    resource_spans.push(ResourceSpans {
        scope_spans: vec![ScopeSpans { spans: vec![empty_status], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    });
    TracesData { resource_spans }.encode_to_vec()
}

/// More than a message should have, in one span and in many.
fn large() -> Vec<u8> {
    let wide = (0..5_000).map(|number| pair(&format!("key.{number}"), text("value")));
    let bytes: Vec<u8> = (0..5 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let heavy = vec![pair("bytes", Value::BytesValue(bytes)), pair(&"k".repeat(1 << 18), text("a long key"))];
    let mut spans = vec![
        Span { attributes: wide.collect(), ..span(6, 0) },
        Span { attributes: heavy, name: "n".repeat(1 << 18), ..span(6, 1) },
    ];
    spans.extend((0..5000).map(|number| Span { name: "n".repeat(300), ..span(7, number) }));
    message(spans)
}

/// A value as deep as is taken: deeper than prost decodes.
fn deep() -> Vec<u8> {
    let mut value = AnyValue { value: Some(Value::IntValue(1)) };
    for _ in 1..64 {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let deep = KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() };
    message(vec![Span { attributes: vec![deep], ..span(8, 0) }])
}

/// A message with fields of a later version of OTLP, for which JSON has no names; and the same without them.
pub fn newer() -> [Vec<u8>; 2] {
    let around = |tag: u8, body: &[u8]| {
        let mut out = vec![tag];
        put_varint(&mut out, body.len() as u64);
        [&out, body].concat()
    };
    let span = span(9, 0).encode_to_vec();
    let of = |span: &[u8]| around(0x0A, &around(0x12, &around(0x12, span)));
    [of(&[&span[..], b"\xA2\x06\x03new"].concat()), of(&span)]
}
