//! Jaeger's older API over HTTP: /api.

use anyhow::{Context, Result, ensure};
use clew_integration_tests::shop::{Shop, now, order, trace_id, url};
use serde_json::{Value, json};

/// The status and the JSON of an answer.
async fn ask(shop: &Shop, tenant: Option<&str>, path: &str, params: &[(&str, &str)]) -> Result<(u16, Value)> {
    let mut request = shop.client.get(url(&format!("http://{}", shop.collector.web), path, params)?);
    if let Some(tenant) = tenant {
        request = request.header("x-scope-orgid", tenant);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    ensure!(answer.headers()["content-type"] == "application/json", "{:?}", answer.headers());
    Ok((status, answer.json().await?))
}

/// The ids of the traces that are found.
async fn found(shop: &Shop, params: &[(&str, &str)]) -> Result<Vec<String>> {
    let (status, answer) = ask(shop, None, "/api/traces", params).await?;
    ensure!(status == 200, "{answer}");
    let ids = answer["data"].as_array().context("data")?.iter().map(|trace| trace["traceID"].as_str());
    ids.map(|id| Ok(id.context("traceID")?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_what_jaeger_makes_of_its_otlp() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() / 1_000 * 1_000;
    shop.send(None, &order(5, start)).await?;
    let id = trace_id(5);
    let (status, answer) = ask(&shop, None, &format!("/api/traces/{id}"), &[]).await?;
    assert_eq!(status, 200);
    let tag = |key: &str, kind: &str, value: Value| json!({"key": key, "type": kind, "value": value});
    let text = |key: &str, value: &str| tag(key, "string", value.into());
    let us = |ms: u64| start / 1_000 + ms * 1_000;
    let root = json!({
        "traceID": id, "spanID": "0000000000000001", "operationName": "POST /orders", "references": [],
        "startTime": us(0), "duration": 250_000,
        "tags": [
            text("otel.scope.name", "shop.http"), text("otel.scope.version", "1.2"),
            text("http.method", "POST"), tag("http.status_code", "int64", 200.into()), tag("order", "int64", 5.into()),
            tag("vip", "bool", true.into()), tag("amount", "float64", 9.5.into()),
            text("items", "[\"tea\",\"cup\"]"), text("span.kind", "server"),
        ],
        "logs": [], "processID": "p1", "warnings": null,
    });
    let charge = json!({
        "traceID": id, "spanID": "0000000000000002", "operationName": "charge",
        "references": [
            {"refType": "CHILD_OF", "traceID": id, "spanID": "0000000000000001"},
            {"refType": "FOLLOWS_FROM", "traceID": trace_id(9_999), "spanID": "0000000000000007"},
        ],
        "startTime": us(10), "duration": 100_000,
        "tags": [
            text("otel.scope.name", "shop.http"), text("otel.scope.version", "1.2"),
            text("card.kind", "credit card"), text("say \"hi\"", "yes"), text("span.kind", "client"),
            text("otel.status_code", "ERROR"), tag("error", "bool", true.into()),
            text("otel.status_description", "declined"),
        ],
        "logs": [{"timestamp": us(20), "fields": [text("event", "exception"), text("exception.type", "Declined")]}],
        "processID": "p2", "warnings": null,
    });
    let sorted = |mut trace: Value| {
        for span in trace["spans"].as_array_mut().into_iter().flatten() {
            if let Some(tags) = span["tags"].as_array_mut() {
                tags.sort_by_key(|tag| tag["key"].to_string());
            }
        }
        trace
    };
    let process = |service: &str| json!({"serviceName": service, "tags": [text("region", "eu")]});
    let expected = json!({
        "traceID": id, "spans": [root, charge],
        "processes": {"p1": process("shop"), "p2": process("payments")}, "warnings": null,
    });
    assert_eq!(sorted(answer["data"][0].clone()), sorted(expected));
    assert_eq!(answer["total"], 1);
    assert_eq!(answer["errors"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_searched_by_all_that_jaeger_searches_by() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() - 10_000_000_000;
    for number in 1..4 {
        shop.send(None, &order(number, start + u64::from(number) * 1_000_000_000)).await?;
    }
    let all = [trace_id(3), trace_id(2), trace_id(1)];
    let second = (start / 1_000 + 2_000_000).to_string();
    let (before, behind) = ((start / 1_000 + 1_999_000).to_string(), (start / 1_000 + 2_001_000).to_string());
    for (params, traces) in [
        (&[][..], &all[..]),
        (&[("service", "shop")], &all),
        (&[("service", "payments"), ("limit", "2")], &all[..2]),
        (&[("service", "payments"), ("operation", "charge")], &all),
        (&[("service", "shop"), ("operation", "charge")], &[]),
        (&[("operation", "all"), ("lookback", "1h")], &all),
        (&[("lookback", "1s"), ("end", &*second)], &all[1..]),
        (&[("start", &*before), ("end", &*behind)], &all[1..2]),
        (&[("minDuration", "200ms")], &all),
        (&[("minDuration", "251ms")], &[]),
        (&[("maxDuration", "100ms"), ("service", "shop")], &[]),
        (&[("tag", "order:2")], &all[1..2]),
        (&[("tags", r#"{"order": "2", "vip": "true"}"#)], &all[1..2]),
        (&[("tag", "order:2"), ("tag", "card.kind:credit card")], &[]),
        (&[("tag", "error:true")], &all),
        (&[("tag", "span.kind:client"), ("tag", "otel.status_code:ERROR")], &all),
        (&[("tag", "region:eu"), ("tag", "exception.type:Declined")], &all),
        (&[("tag", "otel.status_description:declined"), ("tag", "otel.scope.name:shop.http")], &all),
        (&[("traceID", &*all[2]), ("traceID", &*all[0])], &[trace_id(1), trace_id(3)]),
        (&[("traceID", &*all[2]), ("traceID", &*all[2])], &[trace_id(1)]),
    ] {
        assert_eq!(found(&shop, params).await?, traces, "{params:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_operations_are_listed_for_each_tenant() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now() - 1_000_000_000)).await?;
    let (_, answer) = ask(&shop, None, "/api/services", &[]).await?;
    assert_eq!(answer, json!({"data": ["payments", "shop"], "total": 2, "limit": 0, "offset": 0, "errors": null}));
    let (_, answer) = ask(&shop, None, "/api/services/shop/operations", &[]).await?;
    assert_eq!(answer["data"], json!(["POST /orders"]));
    let (_, answer) = ask(&shop, None, "/api/operations", &[("service", "shop")]).await?;
    assert_eq!(answer["data"], json!([{"name": "POST /orders", "spanKind": "server"}]));
    let (_, answer) = ask(&shop, None, "/api/operations", &[("service", "shop"), ("spanKind", "client")]).await?;
    assert_eq!(answer["data"], json!([]));
    let (_, answer) = ask(&shop, None, "/api/dependencies", &[("lookback", "3600000")]).await?;
    assert_eq!(answer["data"], json!([{"parent": "shop", "child": "payments", "callCount": 1}]));
    for (service, calls) in [("shop", 1), ("payments", 1), ("nobody", 0)] {
        let (_, answer) = ask(&shop, None, "/api/dependencies", &[("service", service)]).await?;
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(calls), "{service}");
    }
    let (_, answer) = ask(&shop, None, "/api/dependencies", &[("endTs", "1000")]).await?;
    assert_eq!(answer["data"], json!([]));
    let (_, answer) = ask(&shop, Some("other"), "/api/services", &[]).await?;
    assert_eq!(answer["data"], json!([]));
    // A service without a name has the one that Jaeger gives it, wherever it is asked for.
    let mut nameless = order(1, now() - 1_000_000_000);
    nameless["resourceSpans"][0]["resource"] = json!({});
    shop.send(Some("other"), &nameless).await?;
    let name = "OTLPResourceNoServiceName";
    let (_, answer) = ask(&shop, Some("other"), "/api/services", &[]).await?;
    assert_eq!(answer["data"], json!([name, "payments"]));
    for path in ["/api/traces", "/api/operations"] {
        let (_, answer) = ask(&shop, Some("other"), path, &[("service", name)]).await?;
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(1), "{path}: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_monitored_from_their_spans() -> Result<()> {
    let shop = Shop::open(&[])?;
    for number in 0..60 {
        shop.send(None, &order(number, now() - 30_000_000_000)).await?;
    }
    let params = [("service", "shop"), ("lookback", "60000"), ("step", "60000"), ("quantile", "0.95")];
    let value = async |name: &str, more: &[(&str, &str)]| {
        let (status, answer) = ask(&shop, None, &format!("/api/metrics/{name}"), &[more, &params[..]].concat()).await?;
        ensure!(status == 200, "{answer}");
        let points = answer["metrics"][0]["metricPoints"].as_array().context("metricPoints")?.clone();
        let values = points.iter().filter_map(|point| point["gaugeValue"]["doubleValue"].as_f64());
        anyhow::Ok((answer, values.fold(0.0, f64::max)))
    };
    // What is not said is over ten minutes.
    let (calls, rate) = value("calls", &[]).await?;
    assert_eq!((&calls["name"], &calls["type"]), (&json!("service_call_rate"), &json!("GAUGE")));
    assert_eq!(calls["metrics"][0]["labels"], json!([{"name": "service_name", "value": "shop"}]));
    assert!((rate - 0.1).abs() < 0.001, "{rate}");
    let (_, rate) = value("calls", &[("ratePer", "60000")]).await?;
    assert!((rate - 1.0).abs() < 0.01, "{rate}");
    // Every second: the orders of one are counted for as long as the window has them.
    let (steps, rate) = value("calls", &[("ratePer", "30000"), ("step", "1000")]).await?;
    assert!((rate - 2.0).abs() < 0.01, "{rate}");
    let points = steps["metrics"][0]["metricPoints"].as_array().context("metricPoints")?;
    let full = points.iter().filter(|point| point["gaugeValue"]["doubleValue"].as_f64() > Some(1.9)).count();
    assert!(full >= 20, "{steps}");
    for (kind, expected) in [("server", 0.1), ("unspecified", 0.0), ("SPAN_KIND_UNSPECIFIED", 0.0)] {
        let (_, rate) = value("calls", &[("spanKind", kind)]).await.or_else(|error| {
            // Without spans there is no series.
            if expected == 0.0 { Ok((Value::Null, 0.0)) } else { Err(error) }
        })?;
        assert!((rate - expected).abs() < 0.001, "{kind}: {rate}");
    }
    let (_, rate) = value("calls", &[("tag", "order:7")]).await?;
    assert!((rate - 1.0 / 600.0).abs() < 0.0001, "{rate}");
    let (latencies, milliseconds) = value("latencies", &[("groupByOperation", "1")]).await?;
    assert_eq!(latencies["name"], "service_operation_latencies");
    assert_eq!(latencies["help"], "0.95th quantile latency, grouped by service & operation");
    assert!(latencies["metrics"][0]["labels"].to_string().contains("POST /orders"), "{latencies}");
    assert!((milliseconds - 250.0).abs() < 3.0, "{milliseconds}");
    let (_, errors) = value("errors", &[]).await?;
    assert!(errors.abs() < 1e-9, "{errors}");
    let (_, errors) = value("errors", &[("service", "payments"), ("spanKind", "client")]).await?;
    assert!((errors - 1.0).abs() < 1e-9, "{errors}");
    let (_, answer) = ask(&shop, None, "/api/metrics/minstep", &[]).await?;
    assert_eq!(answer["data"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_jaegers_form() -> Result<()> {
    let shop = Shop::open(&[])?;
    for (path, params, status, why) in [
        ("/api/traces/0123456789abcdef0123456789abcdef", &[][..], 404, "trace not found"),
        ("/api/traces/nothing", &[], 400, "hexadecimal"),
        ("/api/traces/00", &[], 400, "zero"),
        ("/api/traces", &[("start", "soon")], 400, "unable to parse param 'start'"),
        ("/api/traces", &[("start", "5"), ("end", "4")], 400, "before the start"),
        ("/api/traces", &[("limit", "0")], 400, "limit"),
        ("/api/traces", &[("limit", "99999999")], 400, "limit"),
        ("/api/traces", &[("minDuration", "5")], 400, "unable to parse param 'minDuration'"),
        ("/api/traces", &[("minDuration", "5s"), ("maxDuration", "1s")], 400, "maxDuration"),
        ("/api/traces", &[("tag", "x")], 400, "malformed 'tag' parameter"),
        ("/api/traces", &[("tag", ":x")], 400, "malformed 'tag' parameter"),
        ("/api/traces", &[("tags", r#"{"": "x"}"#)], 400, "malformed 'tags' parameter"),
        ("/api/traces", &[("tags", "{")], 400, "malformed 'tags' parameter"),
        ("/api/operations", &[], 400, "parameter 'service' is required"),
        ("/api/operations", &[("service", "x"), ("spanKind", "both")], 400, "spanKind"),
        ("/api/metrics/calls", &[], 400, "parameter 'service' is required"),
        ("/api/metrics/latencies", &[("service", "x")], 400, "quantile"),
        ("/api/metrics/moons", &[("service", "x")], 400, "moons"),
        ("/api/metrics/calls", &[("service", "x"), ("groupByOperation", "perhaps")], 400, "groupByOperation"),
        ("/api/metrics/calls", &[("service", "x"), ("ratePer", "soon")], 400, "ratePer"),
        ("/api/metrics/calls", &[("service", "x"), ("spanKind", "both")], 400, "spanKind"),
        ("/api", &[], 404, "there is nothing at /api"),
        ("/api/", &[], 404, "there is nothing at /api/"),
        ("/api/moons", &[], 404, "there is nothing at /api/moons"),
        ("/api/traces/1/2/3", &[], 404, "there is nothing"),
        ("/api/traces/%ff", &[], 400, "UTF-8"),
        ("/api/services/%ff/operations", &[], 400, "UTF-8"),
        ("/api/metrics/%ff", &[("service", "x")], 400, "UTF-8"),
        ("/api/archive/1", &[], 405, "does not take GET"),
    ] {
        let (said, answer) = ask(&shop, None, path, params).await?;
        let error = &answer["errors"][0];
        assert_eq!(
            (said, &answer["data"], &error["code"]),
            (status, &Value::Null, &json!(status)),
            "{path} {params:?}"
        );
        assert!(error["msg"].as_str().is_some_and(|text| text.contains(why)), "{path} {params:?}: {error}");
    }
    let (said, _) = ask(&shop, Some("../x"), "/api/services", &[]).await?;
    assert_eq!(said, 400);
    let archive = format!("http://{}/api/archive/{}", shop.collector.web, trace_id(1));
    assert_eq!(shop.client.post(archive).send().await?.status(), 501);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_not_known_are_told() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let (known, unknown) = (trace_id(1), trace_id(404));
    let params = [("traceID", &*unknown), ("traceID", &*known), ("traceID", "f00d")];
    let (status, answer) = ask(&shop, None, "/api/traces", &params).await?;
    assert_eq!((status, &answer["data"][0]["traceID"], &answer["total"]), (200, &json!(known), &json!(1)), "{answer}");
    let told = |id: &str| json!({"msg": "trace not found", "traceID": id});
    assert_eq!(answer["errors"], json!([told(&unknown), told("000000000000f00d")]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_64_bits_have_16_digits() -> Result<()> {
    let shop = Shop::open(&[])?;
    let mut order = order(1, now());
    let (short, long) = ("1234567890abcdef", "00000000000000001234567890abcdef");
    for spans in order["resourceSpans"].as_array_mut().context("resourceSpans")? {
        spans["scopeSpans"][0]["spans"][0]["traceId"] = json!(long);
    }
    shop.send(None, &order).await?;
    for id in [short, long] {
        let (_, answer) = ask(&shop, None, &format!("/api/traces/{id}"), &[]).await?;
        let trace = &answer["data"][0];
        assert_eq!((&trace["traceID"], &trace["spans"][0]["traceID"]), (&json!(short), &json!(short)), "{answer}");
        assert_eq!(trace["spans"][1]["references"][0]["traceID"], short, "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_on_several_lines_when_that_is_asked_for() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let get = async |pretty: &str| {
        let path = format!("/api/traces/{}", trace_id(1));
        let url = url(&format!("http://{}", shop.collector.web), &path, &[("prettyPrint", pretty)])?;
        anyhow::Ok(shop.client.get(url).send().await?.text().await?)
    };
    let (plain, pretty) = (get("false").await?, get("true").await?);
    assert_eq!(plain, get("").await?);
    assert_eq!(plain.lines().count(), 1);
    assert!(pretty.starts_with("{\n    \"data\": [\n        {\n"), "{pretty}");
    assert_eq!(serde_json::from_str::<Value>(&plain)?, serde_json::from_str::<Value>(&pretty)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_services_than_once_fitted_are_listed_in_order() -> Result<()> {
    let shop = Shop::open(&[])?;
    let time = now();
    let spans = |at: usize| {
        let name = json!([{"key": "service.name", "value": {"stringValue": format!("service-{at:05}")}}]);
        let span = json!({
            "traceId": trace_id(1), "spanId": format!("{:016x}", at + 1), "name": "x",
            "startTimeUnixNano": time.to_string(), "endTimeUnixNano": time.to_string(),
        });
        json!({"resource": {"attributes": name}, "scopeSpans": [{"spans": [span]}]})
    };
    for part in 0..3 {
        let resources: Vec<Value> = (part * 4_000..(part + 1) * 4_000).map(spans).collect();
        shop.send(None, &json!({"resourceSpans": resources})).await?;
    }
    let (_, answer) = ask(&shop, None, "/api/services", &[]).await?;
    let expected: Vec<String> = (0..12_000).map(|at| format!("service-{at:05}")).collect();
    assert!(answer["data"] == json!(expected) && answer["errors"].is_null(), "{}", answer["total"]);
    Ok(())
}
