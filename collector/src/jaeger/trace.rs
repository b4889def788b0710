//! A trace in Jaeger's JSON.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use clew_query::tree::{Node, Place, Tree};
use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    trace::v1::{span::SpanKind, status::StatusCode},
};
use serde::Serialize;

use super::tag::Tag;
use crate::queries::parts::resource_spans;

/// A trace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<Span>,
    processes: BTreeMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    flags: u32,
    operation_name: String,
    references: Vec<Reference>,
    /// Microseconds since 1970.
    start_time: u64,
    /// Microseconds.
    duration: u64,
    tags: Vec<Tag>,
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, Serialize)]
struct Log {
    /// Microseconds since 1970.
    timestamp: u64,
    fields: Vec<Tag>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

/// What Jaeger calls a service without a name.
const NO_SERVICE: &str = "OTLPResourceNoServiceName";

/// The trace that OTLP TracesData has the spans of; None when it cannot be read.
pub fn of_otlp(trace_id: &str, otlp: &Bytes) -> Option<Trace> {
    let tree = Tree::decode(resource_spans(otlp)).ok()?;
    // Equal resources are one process.
    let mut numbers: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut processes = BTreeMap::new();
    let mut process_of = Vec::with_capacity(tree.resources.len());
    for resource in &tree.resources {
        let next = numbers.len() + 1;
        let number = *numbers.entry(prost::Message::encode_to_vec(resource)).or_insert(next);
        let id = format!("p{number}");
        processes.entry(id.clone()).or_insert_with(|| process(&resource.attributes));
        process_of.push(id);
    }
    let left_out = (tree.left_out > 0)
        .then(|| vec![format!("{} attributes, events or links are nested too deeply to be shown", tree.left_out)]);
    let spans = tree.nodes.iter().map(|node| span(&tree, node, &process_of[node.resource])).collect();
    Some(Trace { trace_id: trace_id.to_owned(), spans, processes, warnings: left_out })
}

fn process(attributes: &[KeyValue]) -> Process {
    let service = clew_query::tree::text(attributes, "service.name").unwrap_or(NO_SERVICE);
    let tags = attributes.iter().filter(|pair| pair.key != "service.name").map(Tag::of).collect();
    Process { service_name: service.to_owned(), tags }
}

fn span(tree: &Tree, node: &Node, process_id: &str) -> Span {
    let span = &node.span;
    let id = |bytes: &[u8]| hex::encode(bytes);
    let mut references = Vec::with_capacity(1 + span.links.len());
    if span.parent_span_id.iter().any(|byte| *byte != 0) {
        let (trace_id, span_id) = (id(&span.trace_id), id(&span.parent_span_id));
        references.push(Reference { ref_type: "CHILD_OF", trace_id, span_id });
    }
    references.extend(span.links.iter().map(|link| {
        let child_of = clew_query::tree::text(&link.attributes, "opentracing.ref_type") == Some("child_of");
        let ref_type = if child_of { "CHILD_OF" } else { "FOLLOWS_FROM" };
        Reference { ref_type, trace_id: id(&link.trace_id), span_id: id(&link.span_id) }
    }));
    let logs = span.events.iter().map(|event| {
        let name = (!event.name.is_empty()).then(|| Tag::text("event", &event.name));
        Log {
            timestamp: event.time_unix_nano / 1_000,
            fields: name.into_iter().chain(event.attributes.iter().map(Tag::of)).collect(),
        }
    });
    let mut warnings = Vec::new();
    if node.same_id {
        warnings.push("another span of the trace has the same id".to_owned());
    }
    if node.place == Place::Circle {
        warnings.push("the span is an ancestor of its own".to_owned());
    }
    if span.end_time_unix_nano < span.start_time_unix_nano {
        warnings.push("the span ends before it starts".to_owned());
    }
    Span {
        trace_id: id(&span.trace_id),
        span_id: id(&span.span_id),
        // Whether it was sampled: what is here was.
        flags: span.flags & 0xff,
        operation_name: span.name.clone(),
        references,
        start_time: span.start_time_unix_nano / 1_000,
        duration: node.duration_ns() / 1_000,
        tags: tags(node, &tree.scopes[node.scope]),
        logs: logs.collect(),
        process_id: process_id.to_owned(),
        warnings: (!warnings.is_empty()).then_some(warnings),
    }
}

fn tags(node: &Node, scope: &InstrumentationScope) -> Vec<Tag> {
    let span = &node.span;
    let mut tags = Vec::with_capacity(span.attributes.len() + 4);
    for (key, text) in [("otel.scope.name", &scope.name), ("otel.scope.version", &scope.version)] {
        tags.extend((!text.is_empty()).then(|| Tag::text(key, text)));
    }
    tags.extend(span.attributes.iter().map(Tag::of));
    let kind = match span.kind() {
        SpanKind::Unspecified => None,
        SpanKind::Internal => Some("internal"),
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
    };
    tags.extend(kind.map(|kind| Tag::text("span.kind", kind)));
    if let Some(status) = &span.status {
        match status.code() {
            StatusCode::Unset => {}
            StatusCode::Ok => tags.push(Tag::text("otel.status_code", "OK")),
            StatusCode::Error => {
                tags.push(Tag::text("otel.status_code", "ERROR"));
                tags.push(Tag::bool("error", true));
            }
        }
        tags.extend((!status.message.is_empty()).then(|| Tag::text("otel.status_description", &status.message)));
    }
    tags.extend((!span.trace_state.is_empty()).then(|| Tag::text("w3c.tracestate", &span.trace_state)));
    tags
}
