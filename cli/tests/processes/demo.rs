//! `clew demo`: what it prints is true, and its traces are whole.

use std::collections::{BTreeSet, HashMap};

use crate::process::{Clew, Ports, run, trace};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span, TracesData, span::SpanKind, status::StatusCode},
};

/// The arguments of a `clew trace` command that was printed on the line with this name.
fn printed_command(said: &str, name: &str) -> Vec<String> {
    let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{said}"));
    let (_, command) = line.split_once("clew ").unwrap();
    command.split_whitespace().take_while(|word| !word.starts_with('(')).map(str::to_owned).collect()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// All spans with the service that each is of.
fn spans(trace: &TracesData) -> Vec<(&str, &Span)> {
    let mut spans = Vec::new();
    for ResourceSpans { resource, scope_spans, .. } in &trace.resource_spans {
        let service = text(&resource.as_ref().unwrap().attributes, "service.name").unwrap();
        spans.extend(scope_spans.iter().flat_map(|scope| &scope.spans).map(|span| (service, span)));
    }
    spans
}

/// One root, no orphan, and each service was called by another one.
fn check_structure(trace: &TracesData) {
    let spans = spans(trace);
    let services: BTreeSet<&str> = spans.iter().map(|(service, _)| *service).collect();
    assert!(services.len() >= 4, "{services:?}");
    let known: HashMap<&[u8], (&str, &Span)> =
        spans.iter().map(|(service, span)| (span.span_id.as_slice(), (*service, *span))).collect();
    assert_eq!(known.len(), spans.len(), "no span is there twice");
    let roots: Vec<_> = spans.iter().filter(|(_, span)| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1);
    assert_eq!((roots[0].0, roots[0].1.name.as_str()), ("frontend", "POST /checkout"));
    for (service, span) in &spans {
        if span.parent_span_id.is_empty() {
            continue;
        }
        let (caller, parent) = known.get(span.parent_span_id.as_slice()).expect("its parent is there");
        let expected = match span.kind() {
            SpanKind::Server => Some(SpanKind::Client),
            SpanKind::Consumer => Some(SpanKind::Producer),
            _ => None,
        };
        assert_eq!(expected.is_some(), caller != service, "{service} {} under {caller} {}", span.name, parent.name);
        assert_eq!(expected.unwrap_or(parent.kind()), parent.kind());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_by_itself_and_the_traces_that_it_printed_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (data, ports) = (folder.path().join("data"), Ports::free());
    let mut demo = Clew::start("demo", &data, &ports, &["--seconds", "5"]);
    assert!(demo.wait().success(), "{}", demo.said());
    let said = demo.said();
    assert!(!said.contains("WARN") && !said.contains("ERROR") && !said.contains("not sent"), "{said}");

    let mut up = Clew::start("up", &data, &ports, &[]);
    up.wait_ready(&ports).await;
    let mut traces = Vec::new();
    for name in ["an order", "one that failed", "a slow one"] {
        let command = printed_command(&said, name);
        let found = trace(&ports, command.last().unwrap()).await.unwrap_or_else(|| panic!("{name} is gone:\n{said}"));
        check_structure(&found);
        let shown = run(&command.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        assert!(String::from_utf8_lossy(&shown.stdout).contains("POST /checkout"));
        traces.push(found);
    }
    for (name, told) in
        [("one that failed", "failed at payment"), ("why it is slow", "inventory SELECT serial_numbers (1 span)")]
    {
        let command = printed_command(&said, name);
        let shown = run(&command.iter().map(String::as_str).chain(["--width", "200"]).collect::<Vec<_>>());
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.status.success() && text.contains(told), "{text}{}", String::from_utf8_lossy(&shown.stderr));
    }
    let [order, failed, slow] = traces.try_into().unwrap();

    let consumer = spans(&order).into_iter().find(|(_, span)| span.kind() == SpanKind::Consumer);
    assert_eq!(consumer.map(|(service, span)| (service, span.links.len())), Some(("mail", 2)));

    let is_error = |span: &Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    assert!(spans(&failed).iter().any(|(_, span)| span.parent_span_id.is_empty() && is_error(span)));
    let all = spans(&failed);
    let mut exceptions = all.iter().flat_map(|(service, span)| span.events.iter().map(move |event| (*service, event)));
    let (_, exception) =
        exceptions.find(|(service, event)| *service == "payment" && event.name == "exception").unwrap();
    assert!(text(&exception.attributes, "exception.type").unwrap().ends_with("PaymentError"));
    let stack = text(&exception.attributes, "exception.stacktrace").unwrap();
    assert!(stack.contains("payment.rs:") && stack.contains("Caused by: the bank answered 503"), "{stack}");

    let took_ms = |span: &Span| (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000;
    assert!(spans(&slow).iter().any(|(_, span)| span.name == "SELECT serial_numbers" && took_ms(span) > 300));
}
