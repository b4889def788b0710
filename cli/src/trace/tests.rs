//! `clew trace` against a collector in this process.

use clap::Parser;
use clew_proto::v1::GetTraceResponse;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tonic::Status;

use super::*;
use crate::fake_collector::FakeCollector;

const ID: &str = "000000000000000000000000000000ab";

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(collector: &FakeCollector, options: &str) -> Args {
    let line = format!("trace --collector {} {options}", collector.url);
    Line::try_parse_from(line.split_ascii_whitespace()).unwrap().args
}

/// What `clew trace` would print.
fn output(args: &Args) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(args.fetch())?;
    let mut out = Vec::new();
    args.show(&mut out, &found, Style { width: crate::output::width(args.width), colour: false })?;
    Ok(String::from_utf8(out)?)
}

fn spans(name: &str, id: u8, parent: u8) -> ResourceSpans {
    let span = Span {
        trace_id: hex::decode(ID).unwrap(),
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: name.into(),
        start_time_unix_nano: 1_000 * u64::from(id),
        end_time_unix_nano: 100_000,
        ..Span::default()
    };
    ResourceSpans { scope_spans: vec![ScopeSpans { spans: vec![span], ..Default::default() }], ..Default::default() }
}

/// A trace in two parts, the second of which says that there may be more.
fn collector() -> FakeCollector {
    let collector = FakeCollector::start();
    let part = |spans: ResourceSpans| GetTraceResponse {
        resource_spans: vec![spans.encode_to_vec().into()],
        ..GetTraceResponse::default()
    };
    let mut last = part(spans("child", 2, 1));
    last.partial = true;
    last.partial_reasons = vec!["agent on node-7 did not answer in time".into()];
    collector.say(&hex::decode(ID).unwrap(), vec![Ok(vec![part(spans("parent", 1, 0)), last])]);
    collector
}

#[test]
fn a_trace_in_parts_is_drawn_as_one() {
    let drawn = output(&args(&collector(), "AB --width 80")).unwrap();
    assert!(drawn.contains("2 spans  1 service  0 errors"), "{drawn}");
    assert!(drawn.contains("agent on node-7 did not answer in time"), "{drawn}");
    let rows: Vec<_> = drawn.lines().skip_while(|line| !line.is_empty()).skip(2).collect();
    assert!(rows[0].contains("parent") && rows[1].starts_with("└ ") && rows[1].contains("child"), "{drawn}");
}

#[test]
fn json_is_otlp_json_of_all_parts() {
    let json = output(&args(&collector(), "ab --json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let resource_spans = json["resourceSpans"].as_array().unwrap();
    assert_eq!(resource_spans.len(), 2);
    let span = &resource_spans[1]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&ID.into(), &"0101010101010101".into()));
}

#[test]
fn json_tells_what_was_found_beside_the_spans() {
    let json = output(&args(&collector(), "ab --json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (parent, child) = ("0101010101010101", "0202020202020202");
    let analysis = &json["analysis"];
    assert_eq!(analysis["summary"]["rootSpanId"], parent);
    assert_eq!(analysis["summary"]["durationNs"], 99_000);
    let segment = |span: &str, start: u64, end: u64| {
        let (from, to) = (start.to_string(), end.to_string());
        serde_json::json!({
            "spanId": span, "startTimeUnixNano": from, "endTimeUnixNano": to, "durationNs": end - start
        })
    };
    let path = [segment(parent, 1_000, 2_000), segment(child, 2_000, 100_000)];
    assert_eq!(analysis["criticalPath"], serde_json::json!(path));
    assert_eq!(analysis["selfTimes"][0], serde_json::json!({ "spanId": parent, "selfNs": 1_000 }));
    for empty in ["origin", "pairs", "clocks"] {
        assert_eq!(analysis[empty], serde_json::json!([]), "{empty}");
    }
}

#[test]
fn the_tenant_is_passed_on() {
    let collector = collector();
    output(&args(&collector, "ab --tenant team-a")).unwrap();
    output(&args(&collector, "ab")).unwrap();
    assert_eq!(collector.tenants(), [Some("team-a".to_owned()), None]);
}

#[test]
fn what_is_not_found_is_told_with_what_to_try() {
    let args = args(&collector(), "0123 --tenant team-a");
    assert!(matches!(output(&args).unwrap_err().downcast_ref(), Some(LookupError::NotFound { .. })));
    let told = args.not_found();
    assert!(told.contains("no trace 00000000000000000000000000000123 of tenant team-a"), "{told}");
    assert!(told.contains("--collector URL"), "{told}");
    assert!(matches!(args.run(), Ok(code) if code == ExitCode::FAILURE));
}

#[test]
fn a_collector_that_refuses_is_quoted_and_one_that_is_away_is_named() {
    let collector = collector();
    collector.say(&[0; 15].into_iter().chain([1]).collect::<Vec<_>>(), vec![Err(Status::unauthenticated("who?"))]);
    let error = output(&args(&collector, "1")).unwrap_err().to_string();
    assert!(error.contains("who?") && error.contains("Unauthenticated"), "{error}");
    let away = Line::try_parse_from(["trace", "ab", "--collector", "127.0.0.1:9"]).unwrap().args;
    let error = output(&away).unwrap_err().to_string();
    assert!(error.contains("no collector answers at http://127.0.0.1:9 (") && error.contains("clew up"), "{error}");
}

#[test]
fn an_id_that_is_none_is_a_usage_error() {
    let error = Line::try_parse_from(["trace", "not-an-id"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{error}");
}
