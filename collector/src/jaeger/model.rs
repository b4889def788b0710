//! OTLP in Jaeger's model.

use std::collections::HashMap;

use bytes::Bytes;
use clew_proto::jaeger::api_v2::{KeyValue, Log, Process, Span, SpanRef, SpanRefType, Trace, trace::ProcessMapping};
use clew_query::tree::{Node, Place, Tree};
use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{self as otlp, span::SpanKind, status::StatusCode},
};
use prost_types::{Duration, Timestamp};

use super::tag;
use crate::queries::parts::resource_spans;

/// What Jaeger calls a service without a name.
pub const NO_SERVICE: &str = "OTLPResourceNoServiceName";

const SECOND_NS: u64 = 1_000_000_000;

/// The trace that OTLP TracesData has the spans of; None when it cannot be read.
pub fn of_otlp(spans: &Bytes) -> Option<Trace> {
    let Tree { nodes, resources, scopes, left_out, .. } = Tree::decode(resource_spans(spans)).ok()?;
    // Equal resources are one process.
    let mut numbers: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut process_map = Vec::new();
    let mut process_of = Vec::with_capacity(resources.len());
    for resource in resources {
        let next = numbers.len() + 1;
        let number = *numbers.entry(prost::Message::encode_to_vec(&resource)).or_insert(next);
        let process_id = format!("p{number}");
        if number == next {
            process_map.push(ProcessMapping { process_id: process_id.clone(), process: Some(process(resource)) });
        }
        process_of.push(process_id);
    }
    let warnings = (left_out > 0)
        .then(|| format!("{left_out} attributes, events or links are nested too deeply to be shown"))
        .into_iter()
        .collect();
    let spans = nodes.into_iter().map(|node| {
        let process_id = process_of[node.resource].clone();
        Span { process_id, ..span(&scopes[node.scope], node) }
    });
    Some(Trace { spans: spans.collect(), process_map, warnings })
}

/// The spans of a trace, each with its process and, the first one, with what is odd about the trace.
pub fn whole_spans(Trace { mut spans, process_map, warnings }: Trace) -> Vec<Span> {
    let processes: HashMap<String, Option<Process>> =
        process_map.into_iter().map(|mapping| (mapping.process_id, mapping.process)).collect();
    for span in &mut spans {
        span.process = processes.get(&std::mem::take(&mut span.process_id)).cloned().flatten();
    }
    if let Some(first) = spans.first_mut() {
        first.warnings.extend(warnings);
    }
    spans
}

fn process(Resource { attributes, .. }: Resource) -> Process {
    let service_name = clew_query::tree::text(&attributes, "service.name").unwrap_or(NO_SERVICE).to_owned();
    let tags = attributes.into_iter().filter(|pair| pair.key != "service.name").map(tag::of).collect();
    Process { service_name, tags }
}

fn span(scope: &InstrumentationScope, node: Node) -> Span {
    let duration_ns = node.duration_ns();
    let mut warnings = Vec::new();
    if node.same_id {
        warnings.push("another span of the trace has the same id".to_owned());
    }
    if node.place == Place::Circle {
        warnings.push("the span is an ancestor of its own".to_owned());
    }
    let mut span = node.span;
    if span.end_time_unix_nano < span.start_time_unix_nano {
        warnings.push("the span ends before it starts".to_owned());
    }
    let trace_id = Bytes::from(std::mem::take(&mut span.trace_id));
    let references = references(&trace_id, &mut span);
    let logs = std::mem::take(&mut span.events).into_iter().map(|event| {
        let has_name = event.name.is_empty() || event.attributes.iter().any(|pair| pair.key == "event");
        let name = (!has_name).then(|| tag::text("event", event.name));
        Log {
            timestamp: Some(timestamp(event.time_unix_nano)),
            fields: name.into_iter().chain(event.attributes.into_iter().map(tag::of)).collect(),
        }
    });
    Span {
        trace_id,
        span_id: std::mem::take(&mut span.span_id).into(),
        operation_name: std::mem::take(&mut span.name),
        references,
        // Whether it was sampled: what is here was.
        flags: span.flags & 0xff,
        start_time: Some(timestamp(span.start_time_unix_nano)),
        duration: Some(Duration { seconds: (duration_ns / SECOND_NS) as i64, nanos: (duration_ns % SECOND_NS) as i32 }),
        logs: logs.collect(),
        tags: tags(scope, span),
        process: None,
        process_id: String::new(),
        warnings,
    }
}

/// The parent, and what is linked. A link to the parent is no second reference: it says what the first one is.
fn references(trace_id: &Bytes, span: &mut otlp::Span) -> Vec<SpanRef> {
    let mut references = Vec::with_capacity(1 + span.links.len());
    let parent = Bytes::from(std::mem::take(&mut span.parent_span_id));
    let has_parent = parent.iter().any(|byte| *byte != 0);
    if has_parent {
        let ref_type = SpanRefType::ChildOf.into();
        references.push(SpanRef { trace_id: trace_id.clone(), span_id: parent.clone(), ref_type });
    }
    for link in std::mem::take(&mut span.links) {
        let child_of = clew_query::tree::text(&link.attributes, "opentracing.ref_type") == Some("child_of");
        let ref_type = if child_of { SpanRefType::ChildOf } else { SpanRefType::FollowsFrom }.into();
        if has_parent && link.trace_id == *trace_id && link.span_id == *parent {
            references[0].ref_type = ref_type;
        } else {
            references.push(SpanRef { trace_id: link.trace_id.into(), span_id: link.span_id.into(), ref_type });
        }
    }
    references
}

/// A time in nanoseconds since 1970.
pub fn timestamp(ns: u64) -> Timestamp {
    Timestamp { seconds: (ns / SECOND_NS) as i64, nanos: (ns % SECOND_NS) as i32 }
}

/// What is left of a span when the rest has been taken out of it.
fn tags(scope: &InstrumentationScope, span: otlp::Span) -> Vec<KeyValue> {
    let mut tags = Vec::with_capacity(span.attributes.len() + 4);
    for (key, text) in [("otel.scope.name", &scope.name), ("otel.scope.version", &scope.version)] {
        tags.extend((!text.is_empty()).then(|| tag::text(key, text)));
    }
    let kind = match span.kind() {
        SpanKind::Unspecified => None,
        SpanKind::Internal => Some("internal"),
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
    };
    tags.extend(span.attributes.into_iter().map(tag::of));
    tags.extend(kind.map(|kind| tag::text("span.kind", kind)));
    if let Some(status) = span.status {
        match status.code() {
            StatusCode::Unset => {}
            StatusCode::Ok => tags.push(tag::text("otel.status_code", "OK")),
            StatusCode::Error => {
                tags.push(tag::text("otel.status_code", "ERROR"));
                tags.push(tag::bool("error", true));
            }
        }
        tags.extend((!status.message.is_empty()).then(|| tag::text("otel.status_description", status.message)));
    }
    tags.extend((!span.trace_state.is_empty()).then(|| tag::text("w3c.tracestate", span.trace_state)));
    tags
}

#[cfg(test)]
mod tests;
