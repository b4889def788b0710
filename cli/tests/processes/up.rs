//! `clew up`: agent and collector in one process.

use crate::process::{Clew, Ports, found, post, run, trace};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn one_span() -> TracesData {
    let span = Span {
        trace_id: hex::decode(TRACE_ID).unwrap(),
        span_id: vec![7; 8],
        name: "GET /".to_owned(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_001_000_000,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_was_taken_is_found_soon_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (data, ports) = (folder.path().join("data"), Ports::free());
    let mut clew = Clew::start("up", &data, &ports, &[]);
    clew.wait_ready(&ports).await;
    assert_eq!(trace(&ports, TRACE_ID).await, None);
    let status = post(&format!("http://{}/v1/traces", ports.agent_http), one_span().encode_to_vec()).await;
    assert_eq!(status, 200);
    assert_eq!(found(&ports, TRACE_ID).await, one_span());

    clew.terminate();
    assert!(clew.wait().success(), "{}", clew.said());
    let mut clew = Clew::start("up", &data, &ports, &[]);
    clew.wait_ready(&ports).await;
    assert_eq!(trace(&ports, TRACE_ID).await, Some(one_span()));
    clew.terminate();
    assert!(clew.wait().success(), "{}", clew.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_told_and_compared_and_its_json_can_be_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (data, ports) = (folder.path().join("data"), Ports::free());
    let mut clew = Clew::start("up", &data, &ports, &[]);
    clew.wait_ready(&ports).await;
    let status = post(&format!("http://{}/v1/traces", ports.agent_http), one_span().encode_to_vec()).await;
    assert_eq!(status, 200);
    found(&ports, TRACE_ID).await;
    let url = format!("http://{}", ports.collector_grpc);
    let said = |arguments: &[&str]| {
        let output = run(&[arguments, &["--collector", &url]].concat());
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, json) = said(&["trace", TRACE_ID, "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(facts["analysis"]["criticalPath"][0]["durationNs"], 1_000_000);
    let (code, told) = said(&["compare", TRACE_ID, TRACE_ID]);
    assert!(code == Some(0) && told.contains("B took as long as A"), "{told}");
    let (code, told) = said(&["compare", TRACE_ID, "77"]);
    assert!(code == Some(1) && told.contains("trace B, 00000000000000000000000000000077"), "{told}");

    let file = folder.path().join("trace.json");
    std::fs::write(&file, json).unwrap();
    let output = run(&["import", file.to_str().unwrap(), "--to", &format!("http://{}", ports.agent_http)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_ports_names_the_port_and_the_flag_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, ports) = (folder.path().join("data"), Ports::free());
    let mut clew = Clew::start("up", &data, &ports, &[]);
    clew.wait_ready(&ports).await;

    let other = folder.path().join("other");
    let mut second = Clew::start("up", &other, &ports, &[]);
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.said().contains("is in use") && second.said().contains("--agent-grpc"), "{}", second.said());
    assert!(!other.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_data_says_that_it_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (data, ports) = (folder.path().join("data"), Ports::free());
    let mut clew = Clew::start("up", &data, &ports, &[]);
    clew.wait_ready(&ports).await;

    let mut second = Clew::start("demo", &data, &Ports::free(), &[]);
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.said().contains("in use"), "{}", second.said());
}
