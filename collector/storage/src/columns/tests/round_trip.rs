//! What went in comes out.

use clew_common::otlp::walk;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use proptest::prelude::*;
use prost::Message;

use super::{arbitrary, columns, has_raw, otlp, pair, request, span, spans, text, wrapped};
use crate::columns::{Builder, pair::put_bytes, write_otlp};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_request_comes_out_of_columns_as_it_went_in(request in arbitrary::request()) {
        let bytes = request.encode_to_vec();
        prop_assert_eq!(spans(&otlp(&columns(&bytes))), spans(&bytes));
    }

    #[test]
    fn a_builder_that_was_used_makes_the_same_columns(before in arbitrary::request(), request in arbitrary::request()) {
        let bytes = request.encode_to_vec();
        let mut builder = Builder::new();
        builder.add(&before.encode_to_vec()).unwrap();
        builder.finish().unwrap();
        builder.add(&bytes).unwrap();
        let spans = builder.finish().unwrap();
        let fresh = columns(&bytes);
        prop_assert_eq!(spans.batch, fresh.batch);
        prop_assert_eq!(spans.resources, fresh.resources);
    }

    #[test]
    fn bytes_that_were_not_checked_never_panic(
        bytes in arbitrary::request().prop_flat_map(|request| arbitrary::mutated(request.encode_to_vec()))
    ) {
        let mut builder = Builder::new();
        let added = builder.add(&bytes);
        if let Ok(walk::Checked { bad, .. }) = walk::check(&bytes, |_| ()) && bad.is_empty() {
            prop_assert!(added.is_ok());
        }
        if let Ok(columns) = builder.finish() {
            let out = otlp(&columns);
            if walk::check(&bytes, |_| ()).is_ok_and(|checked| checked.bad.is_empty()) {
                prop_assert_eq!(spans(&out), spans(&bytes));
            }
        }
    }
}

/// Checks that a request comes out as it went in, and whether columns alone say all of it.
#[track_caller]
fn survives(request: &TracesData, in_columns: bool) {
    let bytes = request.encode_to_vec();
    let columns = columns(&bytes);
    assert_eq!(spans(&otlp(&columns)), spans(&bytes));
    assert_eq!(has_raw(&columns), !in_columns);
}

#[test]
fn odd_values_are_kept_in_columns() {
    let of = |value| AnyValue { value: Some(value) };
    let values = vec![
        Value::DoubleValue(f64::NAN),
        Value::DoubleValue(-0.0),
        Value::DoubleValue(f64::NEG_INFINITY),
        Value::IntValue(i64::MIN),
        Value::IntValue(0),
        Value::BoolValue(false),
        text(""),
        text("é\0🦀"),
        Value::BytesValue(vec![]),
        Value::BytesValue(vec![0xFF, 0]),
        Value::ArrayValue(ArrayValue::default()),
        Value::ArrayValue(ArrayValue { values: vec![AnyValue::default(), of(text("")), of(Value::IntValue(1))] }),
        Value::KvlistValue(KeyValueList::default()),
        Value::KvlistValue(KeyValueList {
            values: vec![
                KeyValue { key: "none".to_owned(), ..KeyValue::default() },
                pair("a", Value::KvlistValue(KeyValueList { values: vec![pair("", text("b"))] })),
            ],
        }),
    ];
    let attributes: Vec<KeyValue> =
        values.iter().enumerate().map(|(at, value)| pair(&at.to_string(), value.clone())).collect();
    let mut all = span(attributes.clone());
    all.events = vec![Event { attributes: attributes.clone(), ..Event::default() }, Event::default()];
    all.links = vec![Link { attributes, ..Link::default() }, Link::default()];
    // Then each value with the same key: only one of the types can have the column.
    let each = values.into_iter().map(|value| span(vec![pair("k", value), pair("empty", text(""))]));
    survives(&request([all].into_iter().chain(each).collect()), true);
    let empty = KeyValue { key: "k".to_owned(), value: Some(AnyValue::default()), ..KeyValue::default() };
    survives(&request(vec![span(vec![empty])]), true);
}

#[test]
fn odd_spans_are_kept_in_columns() {
    let times = [(0, 0), (u64::MAX, 0), (5, 3), (u64::MAX, u64::MAX), (1 << 63, 1)];
    let mut odd: Vec<Span> = times
        .into_iter()
        .map(|(start_time_unix_nano, end_time_unix_nano)| Span {
            start_time_unix_nano,
            end_time_unix_nano,
            kind: -7,
            flags: u32::MAX,
            dropped_attributes_count: u32::MAX,
            ..span(vec![])
        })
        .collect();
    odd.push(Span { status: Some(Status::default()), ..span(vec![]) });
    odd.push(Span { status: Some(Status { code: -1, message: "no".to_owned() }), ..span(vec![]) });
    let link = Link { trace_id: vec![0; 16], span_id: vec![0; 8], trace_state: "a=b".to_owned(), ..Link::default() };
    odd.push(Span {
        links: vec![link],
        events: vec![Event { time_unix_nano: u64::MAX, ..Event::default() }],
        ..span(vec![])
    });
    survives(&request(odd), true);
}

#[test]
fn what_columns_cannot_say_has_its_bytes() {
    let key = || "k".to_owned();
    let no_value = KeyValue { key: key(), ..KeyValue::default() };
    let by_number = KeyValue { key_strindex: 3, ..pair("k", text("v")) };
    let twice = vec![pair("k", text("first")), pair("k", Value::IntValue(2)), pair("k", text("third"))];
    for attributes in [vec![no_value.clone()], vec![by_number], twice] {
        survives(&request(vec![span(attributes)]), false);
    }
    let zero_parent = Span { parent_span_id: vec![0; 8], ..span(vec![]) };
    survives(&request(vec![zero_parent]), false);
    let in_event = Event { attributes: vec![no_value], ..Event::default() };
    survives(&request(vec![Span { events: vec![in_event], ..span(vec![]) }]), false);
}

#[test]
fn fields_that_are_unknown_or_given_twice_come_back_byte_for_byte() {
    let field = |number, bytes: &[u8]| {
        let mut field = Vec::new();
        put_bytes(&mut field, number, bytes);
        field
    };
    let whole = span(vec![pair("k", text("v"))]).encode_to_vec();
    let odd_tails: [Vec<u8>; 9] = [
        field(5, b"again").repeat(2),
        field(15, &[]).repeat(2),
        field(100, b"from a later version"),
        field(11, &field(9, b"in an event")),
        field(13, &field(9, b"in a link")),
        field(15, &field(4, b"in the status")),
        field(15, &field(1, b"retired")),
        field(9, &[field(1, b"other"), field(2, &[]), field(4, b"in an attribute")].concat()),
        field(9, &[field(1, b"a"), field(1, b"b"), field(2, &[])].concat()),
    ];
    for tail in odd_tails {
        let message = [whole.as_slice(), &tail].concat();
        let request = wrapped(&message);
        let columns = columns(&request);
        assert!(has_raw(&columns), "{tail:x?}");
        assert_eq!(otlp(&columns), request, "{tail:x?}");
    }
}

#[test]
fn a_value_that_is_two_is_kept_as_it_is() {
    // A oneof of which two are given: decoders take the last, bytes keep both.
    let value = [0x0A, 1, b'x', 0x10, 1];
    let mut attribute = vec![0x0A, 1, b'k', 0x12, value.len() as u8];
    attribute.extend(value);
    let mut message = span(vec![]).encode_to_vec();
    put_bytes(&mut message, 9, &attribute);
    let request = wrapped(&message);
    let columns = columns(&request);
    assert!(!has_raw(&columns));
    assert_eq!(otlp(&columns), request);
}

#[test]
fn a_large_value_and_many_attributes_on_a_span_are_kept() {
    let large = span(vec![pair("k", text(&"x".repeat(16 << 20))), pair("b", Value::BytesValue(vec![1; 1 << 20]))]);
    let many = (0..1000).map(|at| pair(&format!("key {at}"), if at % 2 == 0 { text("") } else { Value::IntValue(at) }));
    survives(&request(vec![large, span(many.collect())]), true);
}

#[test]
fn spans_keep_their_own_resource_and_scope() {
    let resource = |name: &str| Resource { attributes: vec![pair("service.name", text(name))], ..Resource::default() };
    let scope = |name: &str| InstrumentationScope { name: name.to_owned(), ..InstrumentationScope::default() };
    let with_fields = InstrumentationScope {
        version: "1".to_owned(),
        attributes: vec![pair("a", text("b"))],
        dropped_attributes_count: 3,
        ..scope("s")
    };
    let scopes = [None, Some(scope("")), Some(scope("s")), Some(with_fields)];
    let resources = [None, Some(Resource::default()), Some(resource("a")), Some(resource("b")), Some(resource("a"))];
    let mut resource_spans = Vec::new();
    for resource in &resources {
        for schema_url in ["", "https://example.com/1"] {
            let scope_spans = scopes.iter().flat_map(|scope| {
                ["", "https://example.com/2"].map(|url| ScopeSpans {
                    scope: scope.clone(),
                    spans: vec![span(vec![]); 2],
                    schema_url: url.to_owned(),
                })
            });
            resource_spans.push(ResourceSpans {
                resource: resource.clone(),
                scope_spans: scope_spans.collect(),
                schema_url: schema_url.to_owned(),
            });
        }
    }
    let bytes = TracesData { resource_spans }.encode_to_vec();
    let columns = columns(&bytes);
    assert_eq!(spans(&otlp(&columns)), spans(&bytes));
    assert_eq!(columns.resources.len(), 8);
    assert_eq!(TracesData::decode(&*otlp(&columns)).unwrap().resource_spans.len(), 8);
}

#[test]
fn a_resource_or_scope_in_pieces_is_what_a_decoder_makes_of_them() {
    let piece = |key: &str| Resource { attributes: vec![pair(key, text("x"))], ..Resource::default() }.encode_to_vec();
    let scope = |name: &str| InstrumentationScope { name: name.to_owned(), ..InstrumentationScope::default() };
    let mut scope_spans = Vec::new();
    for field in [scope("first").encode_to_vec(), scope("second").encode_to_vec()] {
        put_bytes(&mut scope_spans, 1, &field);
    }
    put_bytes(&mut scope_spans, 2, &span(vec![]).encode_to_vec());
    let mut resource_spans = Vec::new();
    put_bytes(&mut resource_spans, 1, &piece("a"));
    put_bytes(&mut resource_spans, 2, &scope_spans);
    put_bytes(&mut resource_spans, 1, &piece("b"));
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &resource_spans);
    assert_eq!(spans(&otlp(&columns(&request))), spans(&request));
}

#[test]
fn rows_are_written_in_the_order_asked_for() {
    let named = |name: &str| Span { name: name.to_owned(), ..span(vec![]) };
    let columns = columns(&request(vec![named("a"), named("b"), named("c")]).encode_to_vec());
    let mut out = Vec::new();
    write_otlp(&columns.batch, &[2, 0], |_| None, &mut out).unwrap();
    assert_eq!(out, request(vec![named("c"), named("a")]).encode_to_vec());
    assert!(write_otlp(&columns.batch, &[3], |_| None, &mut out).is_err());
    assert!(write_otlp(&columns.batch.project(&[0, 1]).unwrap(), &[0], |_| None, &mut out).is_err());
}

#[test]
fn broken_bytes_are_refused_and_leave_nothing_behind() {
    let good = request(vec![span(vec![])]).encode_to_vec();
    let mut builder = Builder::new();
    for bad in [&good[..good.len() - 1], &[0x0A, 1], &[0x0B]] {
        builder.add(&good).unwrap();
        assert!(builder.add(bad).is_err(), "{bad:x?}");
        assert_eq!(builder.rows(), 0);
    }
    let not_text = wrapped(&[span(vec![]).encode_to_vec(), vec![0x2A, 1, 0xFF]].concat());
    builder.add(&not_text).unwrap();
    assert!(builder.finish().is_err());
    builder.add(&good).unwrap();
    assert_eq!(builder.finish().unwrap().batch.num_rows(), 1);
}
