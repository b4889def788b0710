//! All services, called by a client that knows them from Jaeger's own definitions (the Go module jaeger-idl) and not from ours: a field
//! with another number would be one that it does not know, or would be missing.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{
    installed,
    shop::{Shop, now, trace_id},
};
use serde_json::{Value, json};

use crate::python::{SECOND, all, base64, open, time, traces};

/// What is answered to each call.
fn ask(shop: &Shop, calls: &Value) -> Result<Vec<Vec<Value>>> {
    let mut client = Command::new(installed("jaeger/client")?)
        .arg(installed("jaeger/proto")?)
        .args([shop.collector.jaeger.to_string(), shop.collector.grpc.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    client.stdin.take().context("stdin")?.write_all(calls.to_string().as_bytes())?;
    let output = client.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn api_v2_is_what_jaegers_generated_code_reads() -> Result<()> {
    let (shop, start) = open().await?;
    let method = |name: &str| format!("jaeger.api_v2.QueryService/{name}");
    let id = |number| base64(&trace_id(number));
    let range = |query: Value| {
        let mut query = query;
        query["startTimeMin"] = json!(time(start));
        query["startTimeMax"] = json!(time(now()));
        json!({ "query": query })
    };
    let answers = ask(
        &shop,
        &json!([
            {"method": method("GetTrace"), "request": {"traceId": id(1)}},
            {"method": method("FindTraces"), "request": range(json!({
                "serviceName": "payments", "operationName": "charge", "tags": {"error": "true"},
                "durationMin": "0.1s", "durationMax": "1s", "searchDepth": 2}))},
            {"method": method("FindTraces"), "request": range(json!({"serviceName": "shop", "tags": {"order": "1"}}))},
            {"method": method("FindTraces"), "request": range(json!({"durationMin": "0.251s"}))},
            {"method": method("FindTraces"), "request": range(json!({"durationMax": "0.099s"}))},
            {"method": method("FindTraces"), "request": range(json!({"operationName": "nothing"}))},
            {"method": method("GetServices")},
            {"method": method("GetOperations"), "request": {"service": "payments", "spanKind": "client"}},
            {"method": method("GetDependencies"), "request": {"startTime": time(start), "endTime": time(now())}},
        ]),
    )?;
    let spans = all(&answers[0], "spans");
    assert_eq!(spans.len(), 2, "{spans:?}");
    let charge = spans[1];
    let field = |name: &str| charge[name].clone();
    assert_eq!((field("traceId"), field("spanId")), (json!(id(1)), json!(base64("0000000000000002"))), "{charge}");
    assert_eq!((field("operationName"), field("duration")), (json!("charge"), json!("0.100s")), "{charge}");
    let begin: String = field("startTime").as_str().context("startTime")?.to_owned();
    let begin = humantime::parse_rfc3339(&begin)?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    assert_eq!(begin, u128::from(start + SECOND + 10_000_000));
    assert_eq!(charge["process"], json!({"serviceName": "payments", "tags": [{"key": "region", "vStr": "eu"}]}));
    assert_eq!(charge["references"][0]["spanId"], base64("0000000000000001"), "{charge}");
    assert_eq!(charge["references"][1]["refType"], "FOLLOWS_FROM", "{charge}");
    assert_eq!(charge["logs"][0]["fields"][0], json!({"key": "event", "vStr": "exception"}), "{charge}");
    for tag in [
        json!({"key": "order", "vType": "INT64", "vInt64": "1"}),
        json!({"key": "vip", "vType": "BOOL", "vBool": true}),
        json!({"key": "amount", "vType": "FLOAT64", "vFloat64": 9.5}),
    ] {
        assert!(spans[0]["tags"].as_array().is_some_and(|tags| tags.contains(&tag)), "{tag} {}", spans[0]);
    }
    let ids = |at: usize| {
        let mut ids: Vec<_> = all(&answers[at], "spans").iter().map(|span| span["traceId"].clone()).collect();
        ids.dedup();
        ids
    };
    assert_eq!((ids(1), ids(2)), (vec![json!(id(2)), json!(id(1))], vec![json!(id(1))]));
    assert!((3..6).all(|at| ids(at).is_empty()), "{:?}", &answers[3..6]);
    assert_eq!(answers[6], [json!({"services": ["payments", "shop"]})]);
    let operation = json!({"name": "charge", "spanKind": "client"});
    assert_eq!(answers[7], [json!({"operationNames": ["charge"], "operations": [operation]})]);
    assert_eq!(answers[8], [json!({"dependencies": [{"parent": "shop", "child": "payments", "callCount": "3"}]})]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn api_v3_is_what_jaegers_definitions_say() -> Result<()> {
    let (shop, start) = open().await?;
    let method = |name: &str| format!("jaeger.api_v3.QueryService/{name}");
    let id = |number| base64(&trace_id(number));
    let search = json!({"query": {
        "serviceName": "payments", "operationName": "charge", "attributes": {"card.kind": "credit card"},
        "startTimeMin": time(start), "startTimeMax": time(now()), "durationMin": "0.1s", "durationMax": "1s",
        "searchDepth": 2, "rawTraces": true}});
    let answers = ask(
        &shop,
        &json!([
            {"method": method("GetTrace"), "request": {"traceId": trace_id(1)}},
            {"method": method("FindTraces"), "request": search},
            {"method": method("FindTraceSummaries"), "request": search},
            {"method": method("GetServices")},
            {"method": method("GetOperations"), "request": {"service": "shop", "spanKind": "server"}},
            {"method": method("GetDependencies"), "request": {"startTime": time(start), "endTime": time(now())}},
            {"method": "jaeger.api_v3.Capabilities/GetCapabilities"},
        ]),
    )?;
    assert_eq!((traces(&answers[0]), traces(&answers[1])), (vec![&json!(id(1))], vec![&json!(id(2)), &json!(id(1))]));
    let summary = all(&answers[2], "summaries")[0];
    assert_eq!((&summary["traceId"], &summary["rootServiceName"]), (&json!(trace_id(2)), &json!("shop")), "{summary}");
    assert_eq!((&summary["spanCount"], &summary["errorSpanCount"]), (&json!(2), &json!(1)), "{summary}");
    assert_eq!(summary["services"][0], json!({"name": "payments", "spanCount": 1, "errorSpanCount": 1}));
    assert_eq!(summary["minStartTimeUnixNano"], (start + 2 * SECOND).to_string());
    assert_eq!(answers[3], [json!({"services": ["payments", "shop"]})]);
    assert_eq!(answers[4], [json!({"operations": [{"name": "POST /orders", "spanKind": "server"}]})]);
    assert_eq!(answers[5], [json!({"dependencies": [{"parent": "shop", "child": "payments", "callCount": "3"}]})]);
    assert_eq!(answers[6], [json!({"search": {"withoutServiceName": true, "sameSpanConjunction": true}})]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_is_what_jaegers_definitions_say() -> Result<()> {
    let (shop, start) = open().await?;
    let method = |name: &str| format!("jaeger.storage.v2.TraceReader/{name}");
    let id = |number| json!(base64(&trace_id(number)));
    let attributes = json!([
        {"key": "order", "value": {"intValue": "2"}}, {"key": "vip", "value": {"boolValue": true}},
        {"key": "amount", "value": {"doubleValue": 9.5}}, {"key": "http.method", "value": {"stringValue": "POST"}},
    ]);
    let search = json!({"query": {
        "serviceName": "shop", "operationName": "POST /orders", "attributes": attributes,
        "startTimeMin": time(start), "startTimeMax": time(now()), "durationMin": "0.2s", "durationMax": "1s",
        "searchDepth": 2}});
    let answers = ask(
        &shop,
        &json!([
            {"method": method("GetTraces"), "request": {"query": [
                {"traceId": id(0), "startTime": time(start), "endTime": time(now())}, {"traceId": id(404)}]}},
            {"method": method("FindTraces"), "request": search},
            {"method": method("FindTraceIDs"), "request": search},
            {"method": method("FindTraceSummaries"), "request": search},
            {"method": method("GetServices")},
            {"method": method("GetOperations"), "request": {"service": "payments", "spanKind": "client"}},
            {"method": "jaeger.storage.v2.DependencyReader/GetDependencies",
                "request": {"startTime": time(start), "endTime": time(now())}},
            {"method": "jaeger.storage.v2.Capabilities/GetCapabilities"},
        ]),
    )?;
    assert_eq!((traces(&answers[0]), traces(&answers[1])), (vec![&id(0)], vec![&id(2)]));
    assert_eq!(answers[2], [json!({"traceIds": [{"traceId": id(2)}]})]);
    let summary = all(&answers[3], "summaries")[0];
    assert_eq!(
        (&summary["traceId"], &summary["spanCount"], &summary["errorSpanCount"]),
        (&id(2), &json!(2), &json!(1))
    );
    assert_eq!(answers[4], [json!({"services": ["payments", "shop"]})]);
    assert_eq!(answers[5], [json!({"operations": [{"name": "charge", "spanKind": "client"}]})]);
    assert_eq!(answers[6], [json!({"dependencies": [{"parent": "shop", "child": "payments", "callCount": "3"}]})]);
    assert_eq!(answers[7], [json!({"search": {"withoutServiceName": true, "sameSpanConjunction": true}})]);
    Ok(())
}
