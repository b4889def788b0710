//! The spans of a small shop.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    trace::v1::{
        ResourceSpans, Span, Status,
        span::{Event, Link},
    },
};

use super::store::{self, Batch, attribute};

const MS: u64 = 1_000_000;
/// 2026-01-02T03:04:05Z
const START: u64 = 1_767_323_045_000_000_000;

pub fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

pub fn span(trace: u8, id: u8, parent: u8, name: &str, start_ms: u64, took_ms: u64) -> Span {
    let id_of = |id: u8| if id == 0 { vec![] } else { vec![0, 0, 0, 0, 0, 0, 0, id] };
    Span {
        trace_id: vec![trace; 16],
        span_id: id_of(id),
        parent_span_id: id_of(parent),
        name: name.to_owned(),
        start_time_unix_nano: START + start_ms * MS,
        end_time_unix_nano: START + (start_ms + took_ms) * MS,
        kind: i32::from(id % 4),
        ..Span::default()
    }
}

pub fn of(service: &str, zone: Option<&str>, span: Span) -> ResourceSpans {
    let zone = zone.map(|zone| attribute("zone", text(zone)));
    store::span(span, [attribute("service.name", text(service))].into_iter().chain(zone).collect())
}

/// Two traces of a shop: the first one in two blocks, or in one and in memory; a span of it was sent to two collectors.
pub fn shop() -> Vec<Batch> {
    let mut cart = span(1, 1, 0, "GET /cart", 0, 120);
    cart.attributes = vec![attribute("http.route", text("/cart")), attribute("size", Value::IntValue(3))];
    let mut query = span(1, 2, 1, "SELECT", 10, 40);
    query.attributes = vec![attribute("size", Value::IntValue(50)), attribute("ratio", Value::DoubleValue(0.5))];
    query.events = vec![
        Event {
            time_unix_nano: START + 20 * MS,
            name: "row".to_owned(),
            attributes: vec![attribute("n", Value::IntValue(7))],
            ..Event::default()
        },
        Event { time_unix_nano: START + 21 * MS, name: "done".to_owned(), ..Event::default() },
    ];
    let mut pay = span(1, 3, 1, "charge", 60, 55);
    pay.status = Some(Status { code: 2, message: "card refused".to_owned() });
    pay.attributes = vec![attribute("size", text("large")), attribute("vip", Value::BoolValue(true))];
    let mut late = span(2, 4, 9, "late", 5_000, 1);
    let list =
        ArrayValue { values: vec![AnyValue { value: Some(text("a")) }, AnyValue { value: Some(Value::IntValue(2)) }] };
    late.attributes = vec![
        attribute("tags", Value::ArrayValue(list)),
        attribute("vip", Value::BoolValue(false)),
        attribute("ratio", Value::IntValue(2)),
        KeyValue {
            key: "vip.level".to_owned(),
            value: Some(AnyValue { value: Some(text("gold")) }),
            ..KeyValue::default()
        },
    ];
    late.links =
        vec![Link { trace_id: vec![1; 16], span_id: vec![0, 0, 0, 0, 0, 0, 0, 3], flags: 1, ..Link::default() }];
    let twice = of("bank", Some("eu"), pay);
    vec![
        Batch { place: 0, spans: vec![of("web", None, cart), of("db", Some("eu"), query)], may_duplicate: false },
        Batch { place: 1, spans: vec![twice.clone()], may_duplicate: false },
        Batch { place: 2, spans: vec![twice, of("web", None, late)], may_duplicate: true },
    ]
}
