//! Jaeger's model as messages of jaeger.api_v2.

use bytes::Bytes;
use clew_proto::jaeger::api_v2::{KeyValue, Log, Process, Span, SpanRef, SpanRefType, ValueType};
use prost_types::{Duration, Timestamp};

use crate::jaeger::{
    model,
    tag::{Tag, Value},
};

const SECOND_NS: u64 = 1_000_000_000;

/// The spans of a trace, each with its process and, the first one, with what is odd about the trace.
pub fn spans(trace: model::Trace<'_>) -> Vec<Span> {
    let processes: Vec<Process> = trace.processes.iter().map(process).collect();
    let span = |one: model::Span<'_>| Span { process: Some(processes[one.process].clone()), ..span(one) };
    let mut spans: Vec<Span> = trace.spans.into_iter().map(span).collect();
    if let Some(first) = spans.first_mut() {
        first.warnings.extend(trace.warnings);
    }
    spans
}

fn span(span: model::Span<'_>) -> Span {
    let log = |log: model::Log<'_>| Log { timestamp: Some(timestamp(log.time_ns)), fields: tags(&log.fields) };
    let reference = |reference: model::Reference<'_>| SpanRef {
        trace_id: Bytes::copy_from_slice(reference.trace_id),
        span_id: Bytes::copy_from_slice(reference.span_id),
        ref_type: if reference.follows { SpanRefType::FollowsFrom } else { SpanRefType::ChildOf }.into(),
    };
    let (seconds, nanos) = ((span.duration_ns / SECOND_NS) as i64, (span.duration_ns % SECOND_NS) as i32);
    Span {
        trace_id: Bytes::copy_from_slice(span.trace_id),
        span_id: Bytes::copy_from_slice(span.id),
        operation_name: span.name.to_owned(),
        references: span.references.into_iter().map(reference).collect(),
        flags: span.flags,
        start_time: Some(timestamp(span.start_ns)),
        duration: Some(Duration { seconds, nanos }),
        tags: tags(&span.tags),
        logs: span.logs.into_iter().map(log).collect(),
        process: None,
        process_id: String::new(),
        warnings: span.warnings.into_iter().map(str::to_owned).collect(),
    }
}

fn process(process: &model::Process<'_>) -> Process {
    Process { service_name: process.service.to_owned(), tags: tags(&process.tags) }
}

fn tags(tags: &[Tag<'_>]) -> Vec<KeyValue> {
    tags.iter().map(tag).collect()
}

fn tag(Tag { key, value }: &Tag<'_>) -> KeyValue {
    let of = |v_type: ValueType| KeyValue { key: (*key).to_owned(), v_type: v_type.into(), ..Default::default() };
    match value {
        Value::Text(text) => KeyValue { v_str: text.to_string(), ..of(ValueType::String) },
        Value::Bool(v_bool) => KeyValue { v_bool: *v_bool, ..of(ValueType::Bool) },
        Value::Int(v_int64) => KeyValue { v_int64: *v_int64, ..of(ValueType::Int64) },
        Value::Float(v_float64) => KeyValue { v_float64: *v_float64, ..of(ValueType::Float64) },
        Value::Bytes(bytes) => KeyValue { v_binary: Bytes::copy_from_slice(bytes), ..of(ValueType::Binary) },
    }
}

/// A time in nanoseconds since 1970.
pub fn timestamp(ns: u64) -> Timestamp {
    Timestamp { seconds: (ns / SECOND_NS) as i64, nanos: (ns % SECOND_NS) as i32 }
}
