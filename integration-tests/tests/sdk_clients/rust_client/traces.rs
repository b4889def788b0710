//! The traces of `clients/README.md`.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Array, Context, InstrumentationScope, KeyValue, Value,
    trace::{
        Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, TracerProvider,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, TracerProviderBuilder},
};

const UNICODE: &str =
    "žluťoučký kůň 🐎 日本語 \u{202e}right to left\u{202c} \u{0} \u{1b}[31m \r\n\t\"quoted\" <script>";

static NOW: LazyLock<Duration> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(now.as_secs())
});

fn at(ms: u64, ns: u64) -> SystemTime {
    UNIX_EPOCH + *NOW + Duration::from_nanos(123_456_789 + ms * 1_000_000 + ns)
}

fn values() -> Vec<KeyValue> {
    vec![
        KeyValue::new("string", "plain"),
        KeyValue::new("string.empty", ""),
        KeyValue::new("string.unicode", UNICODE),
        KeyValue::new("string.long", "0123456789abcdef".repeat(4096)),
        KeyValue::new("bool.true", true),
        KeyValue::new("bool.false", false),
        KeyValue::new("int", 42),
        KeyValue::new("int.zero", 0),
        KeyValue::new("int.max", i64::MAX),
        KeyValue::new("int.min", i64::MIN),
        KeyValue::new("double", 0.1),
        KeyValue::new("double.whole", 3.0),
        KeyValue::new("double.zero.negative", -0.0),
        KeyValue::new("double.nan", f64::NAN),
        KeyValue::new("double.infinity", f64::INFINITY),
        KeyValue::new("double.infinity.negative", f64::NEG_INFINITY),
        KeyValue::new("double.max", f64::MAX),
        KeyValue::new("double.subnormal", f64::from_bits(1)),
        KeyValue::new("strings", Value::Array(Array::String(vec!["a".into(), "".into(), UNICODE.into()]))),
        KeyValue::new("bools", Value::Array(Array::Bool(vec![true, false]))),
        KeyValue::new("ints", Value::Array(Array::I64(vec![0, -1, i64::MAX, i64::MIN]))),
        KeyValue::new("doubles", Value::Array(Array::F64(vec![0.5, -0.0, f64::NAN, f64::NEG_INFINITY]))),
        KeyValue::new("array.empty", Value::Array(Array::I64(vec![]))),
        KeyValue::new("", "a key that is empty"),
        KeyValue::new("key with spaces, ünicode and \"quotes\"", 1),
    ]
}

/// The provider with every kind of resource attribute.
pub fn shop() -> TracerProviderBuilder {
    let attributes = [
        KeyValue::new("service.name", "clew-rust"),
        KeyValue::new("service.version", "1.2.3"),
        KeyValue::new("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
        KeyValue::new("process.pid", 4321),
        KeyValue::new("process.command_args", Value::Array(Array::String(vec!["shop".into(), "".into()]))),
        KeyValue::new("host.weight", 0.75),
        KeyValue::new("host.spot", false),
        KeyValue::new("deployment.note", UNICODE),
        KeyValue::new("empty", ""),
    ];
    let resource =
        Resource::builder_empty().with_schema_url(attributes, "https://opentelemetry.io/schemas/1.37.0").build();
    SdkTracerProvider::builder().with_resource(resource)
}

/// The provider with tight limits. This SDK has none for the length of strings.
pub fn depot() -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().with_service_name("clew-rust-depot").build())
        .with_max_attributes_per_span(3)
        .with_max_events_per_span(2)
        .with_max_links_per_span(1)
        .with_max_attributes_per_event(1)
        .with_max_attributes_per_link(1)
}

/// Makes them all.
pub fn make(shop: &SdkTracerProvider, depot: &SdkTracerProvider) {
    let scope = InstrumentationScope::builder("clew.checkout")
        .with_version("2.0.0-rc.1")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([
            KeyValue::new("scope.string", "s"),
            KeyValue::new("scope.int", 7),
            KeyValue::new("scope.flag", true),
            KeyValue::new("scope.list", Value::Array(Array::String(vec!["x".into(), "y".into()]))),
        ])
        .build();
    let tracer = shop.tracer_with_scope(scope);
    let plain = shop.tracer("clew.plain");
    let producer = checkout(&tracer);
    shipment(&plain, producer);
    every_value(&plain);
    limits(&depot.tracer_with_scope(InstrumentationScope::builder("clew.limits").with_version("1").build()));
    times(&tracer);
}

fn builder(name: &'static str, kind: SpanKind, start: SystemTime) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind).with_start_time(start)
}

fn remote(trace_id: TraceId, span_id: u64, flags: TraceFlags, state: &[(&'static str, &'static str)]) -> SpanContext {
    let state = TraceState::from_key_value(state.iter().copied()).unwrap_or_default();
    SpanContext::new(trace_id, SpanId::from(span_id), flags, true, state)
}

fn checkout(tracer: &SdkTracer) -> SpanContext {
    let state = [("vendor", "opaque:1;a.b"), ("tenant@system", "00f067aa0ba902b7")];
    let trace_id = RandomIdGenerator::default().new_trace_id();
    let caller = remote(trace_id, 0x00f0_67aa_0ba9_02b7, TraceFlags::SAMPLED, &state);
    let mut server = builder("POST /checkout", SpanKind::Server, at(0, 0))
        .with_attributes([
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.response.status_code", 200),
        ])
        .start_with_context(tracer, &Context::new().with_remote_span_context(caller));
    server.set_status(Status::Ok);
    let in_server = Context::new().with_span(server);

    let mut price = builder("price the cart", SpanKind::Internal, at(1, 1)).start_with_context(tracer, &in_server);
    price.set_attribute(KeyValue::new("cart.items", 3));
    price.end_with_timestamp(at(3, 2));

    let mut pay = builder("POST /pay", SpanKind::Client, at(4, 0)).start_with_context(tracer, &in_server);
    let retry = vec![KeyValue::new("attempt", 1), KeyValue::new("backoff", 0.25)];
    pay.add_event_with_timestamp("retry", at(5, 1), retry);
    pay.add_event_with_timestamp("no attributes", at(5, 2), vec![]);
    pay.record_error(&std::io::Error::other("card declined: 💳"));
    pay.set_status(Status::error("card declined"));
    pay.end_with_timestamp(at(7, 0));

    let mut producer = builder("orders publish", SpanKind::Producer, at(8, 0)).start_with_context(tracer, &in_server);
    producer.end_with_timestamp(at(9, 0));
    in_server.span().end_with_timestamp(at(10, 999_999));
    producer.span_context().clone()
}

fn shipment(tracer: &SdkTracer, producer: SpanContext) {
    let far_trace = TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128);
    let far = remote(far_trace, 2, TraceFlags::SAMPLED, &[("far", "away")]);
    let unsampled = remote(far_trace, 3, TraceFlags::NOT_SAMPLED, &[]);
    let mut span = builder("orders process", SpanKind::Consumer, at(20, 0))
        .with_links(vec![
            Link::new(producer, vec![KeyValue::new("messaging.batch", 1)], 0),
            Link::with_context(far),
            Link::new(unsampled, vec![KeyValue::new("why", "not sampled")], 0),
        ])
        .start_with_context(tracer, &Context::new());
    span.end_with_timestamp(at(30, 0));
}

fn every_value(tracer: &SdkTracer) {
    let linked = remote(TraceId::from(1), 2, TraceFlags::SAMPLED, &[]);
    let mut span = builder("values", SpanKind::Internal, at(40, 0))
        .with_attributes(values())
        .with_links(vec![Link::new(linked, values(), 0)])
        .start_with_context(tracer, &Context::new());
    span.add_event_with_timestamp("values", at(41, 0), values());
    span.end_with_timestamp(at(42, 0));
}

fn limits(tracer: &SdkTracer) {
    let three = || vec![KeyValue::new("a", 1), KeyValue::new("b", 2), KeyValue::new("c", 3)];
    let mut span = builder("limits", SpanKind::Internal, at(50, 0)).start_with_context(tracer, &Context::new());
    for index in 1..5 {
        span.add_link(remote(TraceId::from(3), index, TraceFlags::SAMPLED, &[]), three());
    }
    for index in 0..10 {
        span.set_attribute(KeyValue::new(format!("attribute.{index}"), index));
    }
    for index in 0..5 {
        span.add_event_with_timestamp(format!("event {index}"), at(51, index), three());
    }
    span.end_with_timestamp(at(60, 0));
}

fn times(tracer: &SdkTracer) {
    let root = builder("", SpanKind::Internal, at(70, 0)).start_with_context(tracer, &Context::new());
    let in_root = Context::new().with_span(root);
    for (name, start, end) in [
        ("no duration".to_owned(), at(71, 0), at(71, 0)),
        ("one nanosecond".to_owned(), at(72, 0), at(72, 1)),
        ("ends before it starts".to_owned(), at(74, 0), at(73, 0)),
        ("long ".repeat(2000), at(75, 0), at(76, 0)),
        (UNICODE.to_owned(), at(77, 0), at(78, 0)),
    ] {
        let mut span = SpanBuilder::from_name(name).with_start_time(start).start_with_context(tracer, &in_root);
        span.end_with_timestamp(end);
    }
    in_root.span().end_with_timestamp(at(80, 0));
}
