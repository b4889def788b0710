//! A trace in the JSON of Jaeger's UI, which is not that of the messages: ids in hexadecimal, times in microseconds.

use base64::{Engine, engine::general_purpose::STANDARD};
use clew_common::ids::TraceId;
use clew_proto::jaeger::api_v2::{self, ValueType};
use serde::{Serialize, Serializer};

/// A trace, with its id.
///
/// # Errors
/// When it cannot be written.
pub fn written(id: TraceId, trace: &api_v2::Trace) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Trace {
        trace_id: digits(id.as_bytes()),
        spans: trace.spans.iter().map(span).collect(),
        processes: Processes(&trace.process_map),
        warnings: some(&trace.warnings),
    })
}

#[derive(Serialize)]
struct Trace<'a> {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<Span<'a>>,
    processes: Processes<'a>,
    warnings: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
    operation_name: &'a str,
    references: Vec<Reference>,
    start_time: i64,
    duration: i64,
    tags: Vec<Tag<'a>>,
    logs: Vec<Log<'a>>,
    #[serde(rename = "processID")]
    process_id: &'a str,
    warnings: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Serialize)]
struct Log<'a> {
    timestamp: i64,
    fields: Vec<Tag<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process<'a> {
    service_name: &'a str,
    tags: Vec<Tag<'a>>,
}

struct Processes<'a>(&'a [api_v2::trace::ProcessMapping]);

impl Serialize for Processes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|mapping| {
            let process = mapping.process.as_ref();
            let service_name = process.map_or("", |process| &process.service_name);
            let tags = process.map(|process| tags(&process.tags)).unwrap_or_default();
            (&mapping.process_id, Process { service_name, tags })
        }))
    }
}

#[derive(Serialize)]
struct Tag<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(&'a str),
    Made(String),
    Bool(bool),
    Int(i64),
    Float(f64),
}

/// The largest whole number that JavaScript has.
const MAX_SAFE: u64 = (1 << 53) - 1;

fn tags(tags: &[api_v2::KeyValue]) -> Vec<Tag<'_>> {
    tags.iter().map(tag).collect()
}

fn tag(tag: &api_v2::KeyValue) -> Tag<'_> {
    let (kind, value) = match tag.v_type() {
        ValueType::String => ("string", Value::Text(&tag.v_str)),
        ValueType::Bool => ("bool", Value::Bool(tag.v_bool)),
        // What JavaScript would round is a text.
        ValueType::Int64 if tag.v_int64.unsigned_abs() > MAX_SAFE => ("int64", Value::Made(tag.v_int64.to_string())),
        ValueType::Int64 => ("int64", Value::Int(tag.v_int64)),
        ValueType::Float64 if !tag.v_float64.is_finite() => ("float64", Value::Made(tag.v_float64.to_string())),
        ValueType::Float64 => ("float64", Value::Float(tag.v_float64)),
        ValueType::Binary => ("binary", Value::Made(STANDARD.encode(&tag.v_binary))),
    };
    Tag { key: &tag.key, kind, value }
}

fn span(span: &api_v2::Span) -> Span<'_> {
    let references = span.references.iter().map(|reference| Reference {
        ref_type: reference.ref_type().as_str_name(),
        trace_id: digits(&reference.trace_id),
        span_id: hex::encode(&reference.span_id),
    });
    let logs = span.logs.iter().map(|log| Log {
        timestamp: log.timestamp.map_or(0, |time| micros(time.seconds, time.nanos)),
        fields: tags(&log.fields),
    });
    Span {
        trace_id: digits(&span.trace_id),
        span_id: hex::encode(&span.span_id),
        flags: span.flags,
        operation_name: &span.operation_name,
        references: references.collect(),
        start_time: span.start_time.map_or(0, |time| micros(time.seconds, time.nanos)),
        duration: span.duration.map_or(0, |time| micros(time.seconds, time.nanos)),
        tags: tags(&span.tags),
        logs: logs.collect(),
        process_id: &span.process_id,
        warnings: some(&span.warnings),
    }
}

/// A trace's id as Jaeger's model has it: one whose first half is zero, of older clients, has 16 digits.
pub fn digits(id: &[u8]) -> String {
    let half = id.len() / 2;
    let is_short = id.len() == 16 && id[..half].iter().all(|byte| *byte == 0);
    hex::encode(if is_short { &id[half..] } else { id })
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde wants it.
fn is_zero(flags: &u32) -> bool {
    *flags == 0
}

/// Times of OTLP, which have 64 bits of nanoseconds, have room in these.
fn micros(seconds: i64, nanos: i32) -> i64 {
    seconds * 1_000_000 + i64::from(nanos) / 1_000
}

fn some(warnings: &[String]) -> Option<&[String]> {
    (!warnings.is_empty()).then_some(warnings)
}
