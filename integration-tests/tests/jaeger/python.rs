//! All services, called by a client in another language that knows them from reflection.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use clew_integration_tests::{
    python,
    shop::{Shop, now, order, trace_id},
};
use serde_json::{Value, json};

pub const SECOND: u64 = 1_000_000_000;

/// Bytes in protobuf's JSON.
pub fn base64(hexadecimal: &str) -> String {
    STANDARD.encode(hex::decode(hexadecimal).unwrap_or_default())
}

pub fn time(ns: u64) -> String {
    humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns)).to_string()
}

/// A shop with three orders, and one of another tenant; with when the first one starts.
pub async fn open() -> Result<(Shop, u64)> {
    let shop = Shop::open(&[])?;
    let start = now() / 1_000 * 1_000 - 10 * SECOND;
    for number in 0..3 {
        shop.send(None, &order(number, start + u64::from(number) * SECOND)).await?;
    }
    shop.send(Some("team-a"), &order(77, start)).await?;
    Ok((shop, start))
}

/// What is answered to each call, on both ports that have the services.
fn ask(shop: &Shop, calls: &Value) -> Result<Vec<Vec<Value>>> {
    let mut both = Vec::new();
    for target in [shop.collector.grpc, shop.collector.jaeger] {
        let answers = python::call(target, target, calls)?;
        for (call, answer) in calls.as_array().into_iter().flatten().zip(&answers) {
            assert_eq!(answer["code"], "OK", "{call}: {answer}");
            assert_eq!(answer["metadata"].get("x-clew-partial"), None, "{call}");
        }
        let messages = answers.into_iter().map(|answer| answer["messages"].as_array().cloned().context("messages"));
        both.push(messages.collect::<Result<Vec<_>>>()?);
    }
    assert_eq!(both[0], both[1]);
    both.pop().context("two ports")
}

/// The items of a field of all messages.
pub fn all<'a>(messages: &'a [Value], field: &'static str) -> Vec<&'a Value> {
    messages.iter().filter_map(|message| message[field].as_array()).flatten().collect()
}

/// The traces of OTLP messages, in order, each once.
pub fn traces(messages: &[Value]) -> Vec<&Value> {
    let resources = all(messages, "resourceSpans");
    let mut ids: Vec<_> = resources.iter().map(|resource| &resource["scopeSpans"][0]["spans"][0]["traceId"]).collect();
    ids.dedup();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn api_v2_answers_in_jaegers_model() -> Result<()> {
    const SERVICE: &str = "jaeger.api_v2.QueryService";
    let (shop, start) = open().await?;
    let id = |number| base64(&trace_id(number));
    let method = |name: &str| format!("{SERVICE}/{name}");
    let answers = ask(
        &shop,
        &json!([
            {"method": method("GetTrace"), "request": {"traceId": id(1)}},
            {"method": method("FindTraces"), "request": {"query": {
                "serviceName": "payments", "operationName": "charge", "tags": {"error": "true", "region": "eu"},
                "startTimeMin": time(start), "startTimeMax": time(now()), "durationMin": "0.1s", "durationMax": "1s",
                "searchDepth": 2}}},
            {"method": method("FindTraces"), "request": {"query": {}}, "metadata": {"x-scope-orgid": "team-a"}},
            // A client written in Go says the year 1 when it says no time.
            {"method": method("FindTraces"), "request": {"query": {
                "serviceName": "nobody", "startTimeMin": "0001-01-01T00:00:00Z", "startTimeMax": "0001-01-01T00:00:00Z"}}},
            {"method": method("FindTraces"), "request": {"query": {
                "serviceName": "shop", "startTimeMin": "0001-01-01T00:00:00Z", "startTimeMax": "0001-01-01T00:00:00Z"}}},
            {"method": method("GetServices")},
            {"method": method("GetOperations"), "request": {"service": "payments"}},
            {"method": method("GetOperations"), "request": {"service": "payments", "spanKind": "server"}},
            {"method": method("GetDependencies"), "request": {"startTime": time(start), "endTime": time(now())}},
            {"method": method("GetDependencies")},
        ]),
    )?;
    let spans = all(&answers[0], "spans");
    let names: Vec<_> = spans.iter().map(|span| span["operationName"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["POST /orders", "charge"]);
    let mut charge = spans[1].clone();
    charge["tags"].as_array_mut().context("tags")?.sort_by_key(|tag| tag["key"].to_string());
    let text = |key: &str, value: &str| json!({"key": key, "vStr": value});
    assert_eq!(
        charge,
        json!({
            "traceId": id(1), "spanId": base64("0000000000000002"), "operationName": "charge",
            "references": [
                {"traceId": id(1), "spanId": base64("0000000000000001")},
                {"traceId": id(9_999), "spanId": base64("0000000000000007"), "refType": "FOLLOWS_FROM"},
            ],
            "startTime": json_time(start + SECOND + 10_000_000), "duration": "0.100s",
            "tags": [
                text("card.kind", "credit card"), {"key": "error", "vType": "BOOL", "vBool": true},
                text("otel.scope.name", "shop.http"), text("otel.scope.version", "1.2"),
                text("otel.status_code", "ERROR"), text("otel.status_description", "declined"),
                text("say \"hi\"", "yes"), text("span.kind", "client"),
            ],
            "logs": [{
                "timestamp": json_time(start + SECOND + 20_000_000),
                "fields": [text("event", "exception"), text("exception.type", "Declined")],
            }],
            "process": {"serviceName": "payments", "tags": [text("region", "eu")]},
        })
    );
    let root: Vec<_> = spans[0]["tags"].as_array().into_iter().flatten().collect();
    for tag in [
        json!({"key": "order", "vType": "INT64", "vInt64": "1"}),
        json!({"key": "vip", "vType": "BOOL", "vBool": true}),
        json!({"key": "amount", "vType": "FLOAT64", "vFloat64": 9.5}),
        text("items", "[\"tea\",\"cup\"]"),
    ] {
        assert!(root.contains(&&tag), "{tag} {root:?}");
    }
    let ids = |at: usize| {
        let mut ids: Vec<_> = all(&answers[at], "spans").iter().map(|span| span["traceId"].clone()).collect();
        ids.dedup();
        ids
    };
    assert_eq!(ids(1), [id(2), id(1)]);
    assert_eq!(ids(2), [id(77)]);
    assert!(answers[3].is_empty(), "{:?}", answers[3]);
    assert_eq!(ids(4), [id(2), id(1), id(0)]);
    assert_eq!(answers[5], [json!({"services": ["payments", "shop"]})]);
    let operations = json!({"operationNames": ["charge"], "operations": [{"name": "charge", "spanKind": "client"}]});
    assert_eq!(answers[6], [operations]);
    assert_eq!(answers[7], [json!({})]);
    let calls = json!({"dependencies": [{"parent": "shop", "child": "payments", "callCount": "3"}]});
    assert_eq!((&answers[8][0], &answers[9][0]), (&calls, &calls));
    Ok(())
}

/// Protobuf's JSON writes as many digits as are needed, in threes.
fn json_time(ns: u64) -> String {
    let seconds = time(ns / SECOND * SECOND).replace(".000000000", "");
    let digits = format!("{:09}", ns % SECOND);
    let digits = match ns % SECOND {
        0 => String::new(),
        rest if rest % 1_000_000 == 0 => format!(".{}", &digits[..3]),
        rest if rest % 1_000 == 0 => format!(".{}", &digits[..6]),
        _ => format!(".{digits}"),
    };
    seconds.replace('Z', &format!("{digits}Z"))
}

#[tokio::test(flavor = "multi_thread")]
async fn api_v3_answers_in_otlp() -> Result<()> {
    const SERVICE: &str = "jaeger.api_v3.QueryService";
    let (shop, start) = open().await?;
    let method = |name: &str| format!("{SERVICE}/{name}");
    let range = json!({"startTimeMin": time(start), "startTimeMax": time(now())});
    let searching = |more: &str, value: Value| {
        let mut query = range.clone();
        query[more] = value;
        json!({"query": query})
    };
    let answers = ask(
        &shop,
        &json!([
            {"method": method("GetTrace"), "request": {"traceId": trace_id(1)}},
            {"method": method("FindTraces"), "request": searching("searchDepth", 2.into())},
            {"method": method("FindTraces"), "request": searching("attributes", json!({"order": "2", "vip": "true"}))},
            {"method": method("FindTraces"), "request": searching("serviceName", "nobody".into())},
            {"method": method("FindTraces"), "request": searching("operationName", "charge".into()),
                "metadata": {"x-scope-orgid": "team-a"}},
            {"method": method("FindTraceSummaries"), "request": searching("durationMin", "0.2s".into())},
            {"method": method("GetServices"), "metadata": {"x-scope-orgid": "team-a"}},
            {"method": method("GetOperations"), "request": {"service": "shop"}},
            {"method": method("GetDependencies"), "request": {"startTime": time(start), "endTime": time(now())}},
            {"method": "jaeger.api_v3.Capabilities/GetCapabilities"},
        ]),
    )?;
    let id = |number| json!(base64(&trace_id(number)));
    assert_eq!(traces(&answers[0]), [&id(1)]);
    let charge = &answers[0][0]["resourceSpans"][1]["scopeSpans"][0]["spans"][0];
    assert_eq!((&charge["name"], &charge["status"]["message"]), (&json!("charge"), &json!("declined")));
    assert_eq!(traces(&answers[1]), [&id(2), &id(1)]);
    assert_eq!(traces(&answers[2]), [&id(2)]);
    assert!(answers[3].is_empty());
    assert_eq!(traces(&answers[4]), [&id(77)]);
    let summaries = all(&answers[5], "summaries");
    assert_eq!(summaries.len(), 3);
    assert_eq!(
        *summaries[0],
        json!({
            "traceId": trace_id(2), "rootServiceName": "shop", "rootOperationName": "POST /orders",
            "minStartTimeUnixNano": (start + 2 * SECOND).to_string(),
            "maxEndTimeUnixNano": (start + 2 * SECOND + 250_000_000).to_string(),
            "spanCount": 2, "errorSpanCount": 1,
            "services": [{"name": "payments", "spanCount": 1, "errorSpanCount": 1}, {"name": "shop", "spanCount": 1}],
        })
    );
    assert_eq!(answers[6], [json!({"services": ["payments", "shop"]})]);
    assert_eq!(answers[7], [json!({"operations": [{"name": "POST /orders", "spanKind": "server"}]})]);
    assert_eq!(answers[8], [json!({"dependencies": [{"parent": "shop", "child": "payments", "callCount": "3"}]})]);
    assert_eq!(answers[9], [json!({"search": {"withoutServiceName": true, "sameSpanConjunction": true}})]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jaeger_can_have_its_spans_here() -> Result<()> {
    const SERVICE: &str = "jaeger.storage.v2.TraceReader";
    let (shop, start) = open().await?;
    let method = |name: &str| format!("{SERVICE}/{name}");
    let id = |number| json!(base64(&trace_id(number)));
    let attributes = json!([
        {"key": "order", "value": {"intValue": "2"}}, {"key": "vip", "value": {"boolValue": true}},
        {"key": "amount", "value": {"doubleValue": 9.5}}, {"key": "http.method", "value": {"stringValue": "POST"}},
    ]);
    let range = json!({"startTimeMin": time(start), "startTimeMax": time(now()), "searchDepth": 2});
    let answers = ask(
        &shop,
        &json!([
            {"method": method("GetTraces"), "request": {"query": [
                {"traceId": id(2)}, {"traceId": id(404)}, {"traceId": id(0), "startTime": time(start), "endTime": time(now())}]}},
            {"method": method("GetTraces"), "request": {"query": [{"traceId": id(404)}]}},
            {"method": method("GetTraces")},
            {"method": method("FindTraces"), "request": {"query": range}},
            {"method": method("FindTraces"), "request": {"query": {"attributes": attributes}}},
            {"method": method("FindTraceIDs"), "request": {"query": range}},
            {"method": method("FindTraceIDs"), "request": {"query": {"serviceName": "nobody"}}},
            {"method": method("FindTraceSummaries"), "request": {"query": range}},
            {"method": method("GetServices")},
            {"method": method("GetOperations"), "request": {"service": "payments", "spanKind": "client"}},
            {"method": "jaeger.storage.v2.DependencyReader/GetDependencies",
                "request": {"startTime": time(start), "endTime": time(now())}},
            {"method": "jaeger.storage.v2.Capabilities/GetCapabilities"},
            {"method": "jaeger.storage.v1.PluginCapabilities/Capabilities"},
        ]),
    )?;
    assert_eq!(traces(&answers[0]), [&id(2), &id(0)]);
    assert!(answers[1].is_empty() && answers[2].is_empty(), "{:?} {:?}", answers[1], answers[2]);
    assert_eq!(traces(&answers[3]), [&id(2), &id(1)]);
    assert_eq!(traces(&answers[4]), [&id(2)]);
    assert_eq!(answers[5], [json!({"traceIds": [{"traceId": id(2)}, {"traceId": id(1)}]})]);
    assert_eq!(answers[6], [json!({})]);
    let summaries = all(&answers[7], "summaries");
    let counts: Vec<_> = summaries.iter().map(|summary| (&summary["traceId"], &summary["spanCount"])).collect();
    assert_eq!(counts, [(&id(2), &json!(2)), (&id(1), &json!(2))]);
    assert_eq!(answers[8], [json!({"services": ["payments", "shop"]})]);
    assert_eq!(answers[9], [json!({"operations": [{"name": "charge", "spanKind": "client"}]})]);
    assert_eq!(answers[10], [json!({"dependencies": [{"parent": "shop", "child": "payments", "callCount": "3"}]})]);
    assert_eq!(answers[11], [json!({"search": {"withoutServiceName": true, "sameSpanConjunction": true}})]);
    assert_eq!(answers[12], [json!({})]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_says_that_it_serves() -> Result<()> {
    let shop = Shop::open(&[])?;
    let services = [
        "",
        "jaeger.api_v2.QueryService",
        "jaeger.api_v3.QueryService",
        "jaeger.api_v3.Capabilities",
        "jaeger.storage.v2.TraceReader",
        "jaeger.storage.v2.DependencyReader",
        "jaeger.storage.v2.Capabilities",
        "jaeger.storage.v1.PluginCapabilities",
    ];
    let check = |service: &&str| json!({"method": "grpc.health.v1.Health/Check", "request": {"service": service}});
    for answer in ask(&shop, &services.iter().map(check).collect())? {
        assert_eq!(answer, [json!({"status": "SERVING"})]);
    }
    let own = ["clew.v1.Query", "clew.v1.Intake", "tempopb.StreamingQuerier"];
    let calls: Value = own.iter().map(check).collect();
    for answer in python::call(shop.collector.grpc, shop.collector.grpc, &calls)? {
        assert_eq!(answer["code"], "OK", "{answer}");
    }
    // Who may ask Jaeger's questions may not send spans with that.
    for answer in python::call(shop.collector.grpc, shop.collector.jaeger, &calls)? {
        assert_eq!(answer["code"], "NOT_FOUND", "{answer}");
    }
    Ok(())
}
