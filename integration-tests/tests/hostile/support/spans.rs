//! Makes spans.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};

/// A trace id that nobody has.
pub fn id() -> [u8; 16] {
    rand::random()
}

/// A good span of a trace.
pub fn span(trace: [u8; 16]) -> Span {
    Span {
        trace_id: trace.to_vec(),
        span_id: rand::random::<[u8; 8]>().to_vec(),
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_795_000_000_000_000_000,
        end_time_unix_nano: 1_795_000_000_010_000_000,
        ..Span::default()
    }
}

/// A text attribute.
pub fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// An attribute.
pub fn attribute(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A request of one resource.
pub fn request(spans: impl IntoIterator<Item = Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![text("service.name", "hostile")], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans: spans.into_iter().collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }],
    }
}

/// Noise repeats after so many bytes: too far for the compressors that are used here to look back.
const NOISE_BYTES: usize = 1 << 20;

/// A span of a trace with so many bytes of text that no compression makes much smaller than half.
pub fn heavy(trace: [u8; 16], bytes: usize) -> Span {
    let mut noise = String::with_capacity(bytes + 64);
    while noise.len() < bytes.min(NOISE_BYTES) {
        noise.push_str(&hex::encode(rand::random::<[u8; 32]>()));
    }
    let mut text = noise.repeat(bytes.div_ceil(noise.len().max(1)));
    text.truncate(bytes);
    Span { attributes: vec![self::text("noise", text)], ..span(trace) }
}
