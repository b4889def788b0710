//! Random trace requests, for tests: every field, odd values too, and mutations of their bytes.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use proptest::{collection::vec, option, prelude::*};

/// A request that decodes, all of whose spans are good.
pub(crate) fn request() -> impl Strategy<Value = TracesData> {
    vec(resource_spans(), 0..3).prop_map(|resource_spans| TracesData { resource_spans })
}

/// Changes the bytes of a message: cuts them short, flips, inserts and deletes some.
pub(super) fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..5u8, interesting_byte());
    vec(change, 1..4).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, what, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match what {
                0 => bytes.truncate(at),
                1 => bytes[at] = byte,
                2 => bytes[at] ^= 1 << (byte & 7),
                3 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

fn interesting_byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(0x0A), Just(0x12), Just(0x7F), Just(0x80), Just(0xFF)]
}

fn resource_spans() -> impl Strategy<Value = ResourceSpans> {
    (option::of(resource()), vec(scope_spans(), 0..3), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url })
}

fn resource() -> impl Strategy<Value = Resource> {
    let entity_ref = (text(), text(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef { schema_url, r#type, id_keys, description_keys },
    );
    (attributes(), number(), vec(entity_ref, 0..2)).prop_map(|(attributes, dropped_attributes_count, entity_refs)| {
        Resource { attributes, dropped_attributes_count, entity_refs }
    })
}

fn scope_spans() -> impl Strategy<Value = ScopeSpans> {
    let scope =
        (text(), text(), attributes(), number()).prop_map(|(name, version, attributes, dropped_attributes_count)| {
            InstrumentationScope { name, version, attributes, dropped_attributes_count }
        });
    (option::of(scope), vec(span(), 0..5), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    })
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (trace_id(), id(8), option::of(id(8)), text(), number());
    let what = (text(), -2..7i32, time(), time());
    let lists = (attributes(), number(), vec(event(), 0..3), number(), vec(link(), 0..3), number());
    let status = option::of((text(), -1..4i32).prop_map(|(message, code)| Status { message, code }));
    (ids, what, lists, status).prop_map(|(ids, what, lists, status)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2.unwrap_or_default(),
        trace_state: ids.3,
        flags: ids.4,
        name: what.0,
        kind: what.1,
        start_time_unix_nano: what.2,
        end_time_unix_nano: what.3,
        attributes: lists.0,
        dropped_attributes_count: lists.1,
        events: lists.2,
        dropped_events_count: lists.3,
        links: lists.4,
        dropped_links_count: lists.5,
        status,
    })
}

fn event() -> impl Strategy<Value = Event> {
    (time(), text(), attributes(), number()).prop_map(|(time_unix_nano, name, attributes, dropped_attributes_count)| {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    })
}

fn link() -> impl Strategy<Value = Link> {
    (option::of(id(16)), option::of(id(8)), text(), attributes(), number(), number()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
            trace_id: trace_id.unwrap_or_default(),
            span_id: span_id.unwrap_or_default(),
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(key_value(value()), 0..5)
}

fn key_value(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = KeyValue> {
    (text(), option::weighted(0.9, value), prop_oneof![9 => Just(0), 1 => any::<i32>()])
        .prop_map(|(key, value, key_strindex)| KeyValue { key, value, key_strindex })
}

fn value() -> impl Strategy<Value = AnyValue> {
    let of = |value| AnyValue { value: Some(value) };
    let plain = prop_oneof![
        Just(AnyValue { value: None }),
        text().prop_map(move |text| of(Value::StringValue(text))),
        any::<bool>().prop_map(move |value| of(Value::BoolValue(value))),
        prop_oneof![any::<i64>(), -200..200i64].prop_map(move |value| of(Value::IntValue(value))),
        double().prop_map(move |value| of(Value::DoubleValue(value))),
        vec(any::<u8>(), 0..20).prop_map(move |value| of(Value::BytesValue(value))),
        any::<i32>().prop_map(move |value| of(Value::StringValueStrindex(value))),
    ];
    plain.prop_recursive(4, 12, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(move |values| of(Value::ArrayValue(ArrayValue { values }))),
            vec(key_value(inner), 0..3).prop_map(move |values| of(Value::KvlistValue(KeyValueList { values }))),
        ]
    })
}

/// Any number, with the odd ones more often. NaN has one form, as it has in JSON.
fn double() -> impl Strategy<Value = f64> {
    const ODD: [f64; 9] = [0.0, -0.0, 1.0, -1e300, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    prop_oneof![prop::sample::select(&ODD[..]), any::<f64>()]
        .prop_map(|value| if value.is_nan() { f64::NAN } else { value })
}

/// Few traces, so that some spans share one.
fn trace_id() -> impl Strategy<Value = Vec<u8>> {
    (1..4u8).prop_map(|byte| vec![byte; 16])
}

fn id(size: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), size).prop_filter("zeros are no id", |id| id.iter().any(|byte| *byte != 0))
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 1 => any::<u32>()]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]
}

/// Of the lengths where the check of strings takes another path, and of ASCII or not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ -~]{1,20}",
        "[ -~]{30,70}",
        "[ -~]{0,70}[é漢🦀]",
        "\\PC{0,12}",
        vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect()),
        "a{126,130}",
    ]
}
