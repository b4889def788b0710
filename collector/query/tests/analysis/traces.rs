//! Small traces as people write them: `README.md` says how.

use clew_query::tree::Tree;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span::Event},
};

/// All times are after this, nanoseconds since 1970.
pub const BEGIN: u64 = 3_600_000_000_000;

/// Reads a trace.
pub fn read(text: &str) -> Tree {
    let mut above: Vec<Vec<u8>> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let resource_spans = lines.enumerate().map(|(at, line)| {
        let depth = (line.len() - line.trim_start().len()) / 2;
        above.truncate(depth);
        let (service, mut span, host) = span_of(line);
        if span.span_id.is_empty() {
            span.span_id = (at as u64 + 1_000).to_be_bytes().to_vec();
        }
        if span.parent_span_id.is_empty() {
            span.parent_span_id = above.last().cloned().unwrap_or_default();
        }
        above.push(span.span_id.clone());
        let attributes = [("service.name", service)].into_iter().chain(host);
        ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.map(|(key, text)| attribute(key, text)).collect(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    Tree::build(TracesData { resource_spans: resource_spans.collect() }).with_calls_joined()
}

fn attribute(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// The service, the span, and what the resource says of its host.
fn span_of(line: &str) -> (&str, Span, Vec<(&'static str, &str)>) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [service, name, kind, times, rest @ ..] = &words[..] else { panic!("no span: {line}") };
    let (start, end) = times.split_once("..").unwrap();
    let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    let mut span = Span {
        trace_id: vec![7; 16],
        name: (*name).to_owned(),
        kind: kinds.iter().position(|name| name == kind).unwrap_or_else(|| panic!("no kind: {kind}")) as i32,
        start_time_unix_nano: time(start),
        end_time_unix_nano: time(end),
        ..Span::default()
    };
    let mut host = vec![];
    for word in rest {
        match word.split_once('=').unwrap_or((word, "")) {
            ("ok", _) => span.status = Some(Status { code: 1, ..Status::default() }),
            ("error", _) => span.status = Some(Status { code: 2, ..Status::default() }),
            ("exception", _) => span.events.push(Event { name: "exception".to_owned(), ..Event::default() }),
            ("host", name) => host.push(("host.name", name)),
            ("host-id", id) => host.push(("host.id", id)),
            ("node", name) => host.push(("k8s.node.name", name)),
            ("#id", id) => span.span_id = id.parse::<u64>().unwrap().to_be_bytes().to_vec(),
            ("#parent", id) => span.parent_span_id = id.parse::<u64>().unwrap().to_be_bytes().to_vec(),
            (word, _) => panic!("a span has no {word}"),
        }
    }
    (service, span, host)
}

fn time(text: &str) -> u64 {
    match text {
        "zero" => 0,
        "max" => u64::MAX,
        micros => BEGIN.checked_add_signed(micros.parse::<i64>().unwrap() * 1_000).unwrap(),
    }
}
