//! What is refused, over gRPC and HTTP: what makes no sense, what is too much, and who is one too many.

use anyhow::Result;
use clew_integration_tests::{
    python,
    shop::{Shop, now, order, trace_id},
};
use serde_json::{Value, json};

use crate::{python::base64, v3::ask};

const V2: &str = "jaeger.api_v2.QueryService";
const V3: &str = "jaeger.api_v3.QueryService";
const STORAGE: &str = "jaeger.storage.v2.TraceReader";

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_in_the_newer_form_over_http() -> Result<()> {
    let shop = Shop::open(&[])?;
    let range = [("query.start_time_min", "2025-01-01T00:00:00Z"), ("query.start_time_max", "2025-01-02T00:00:00Z")];
    let with = |more: &[(&'static str, &'static str)]| [more, &range].concat();
    let many = format!("{{{}}}", (0..65).map(|at| format!("\"k{at}\":\"v\"")).collect::<Vec<_>>().join(","));
    for (path, params, status, why) in [
        ("/traces/0123456789abcdef0123456789abcdef", vec![], 404, "trace not found"),
        ("/traces/nothing", vec![], 400, "hexadecimal"),
        ("/traces/00", vec![], 400, "zero"),
        ("/traces/ab", vec![("startTime", "soon")], 400, "malformed parameter startTime"),
        ("/traces/ab", vec![("raw_traces", "perhaps")], 400, "malformed parameter raw_traces"),
        ("/traces", vec![], 400, "query.start_time_min and query.start_time_max are required"),
        ("/traces", vec![("query.start_time_min", "2025-01-01T00:00:00Z")], 400, "are required"),
        ("/trace-summaries", vec![], 400, "are required"),
        ("/traces", with(&[("query.startTimeMin", "2026-01-01T00:00:00Z")]), 400, "before the start"),
        ("/traces", with(&[("query.startTimeMin", "1735689600")]), 400, "malformed parameter query.startTimeMin"),
        ("/traces", with(&[("query.search_depth", "1501")]), 400, "1500 traces at most"),
        ("/traces", with(&[("query.search_depth", "-1")]), 400, "query.search_depth"),
        ("/traces", with(&[("query.num_traces", "99999999999999999999")]), 400, "query.num_traces"),
        ("/traces", with(&[("query.duration_min", "5")]), 400, "query.duration_min"),
        ("/traces", with(&[("query.duration_min", "5s"), ("query.duration_max", "1s")]), 400, "longest duration"),
        ("/traces", with(&[("query.attributes", "{")]), 400, "malformed parameter query.attributes"),
        ("/traces", with(&[("query.attributes", r#"{"a": 1}"#)]), 400, "malformed parameter query.attributes"),
        ("/traces", with(&[("query.attributes", r#"{"": "a"}"#)]), 400, "no key"),
        ("/traces", with(&[("query.filter", "{}")]), 400, "query.filter is not offered"),
        ("/trace-summaries", with(&[("query.pagination.pageSize", "5")]), 400, "pageSize is not offered"),
        ("/operations", vec![], 400, "parameter 'service' is required"),
        ("/operations", vec![("service", "x"), ("spanKind", "both")], 400, "spanKind"),
        ("/dependencies", vec![], 400, "startTime and endTime are required"),
        (
            "/dependencies",
            vec![("startTime", "2025-01-02T00:00:00Z"), ("endTime", "2025-01-01T00:00:00Z")],
            400,
            "before",
        ),
    ] {
        let (said, _, answer) = ask(&shop, None, path, &params).await?;
        let error = &answer["error"];
        assert_eq!((said, &error["httpCode"]), (status, &json!(status)), "{path} {params:?}: {answer}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(why)), "{path} {params:?}: {error}");
    }
    for (path, status, why) in
        [("", 404, "nothing at /api/v3"), ("/moons", 404, "/api/v3/moons"), ("/traces/%ff", 400, "UTF-8")]
    {
        let (said, _, answer) = ask(&shop, None, path, &[]).await?;
        assert_eq!((said, &answer["error"]["httpCode"]), (status, &json!(status)), "{path}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains(why)), "{answer}");
    }
    let services = format!("http://{}/api/v3/services", shop.collector.web);
    let answer = shop.client.delete(services).send().await?;
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.json::<Value>().await?["error"]["httpCode"], 405);
    let (status, _, answer) =
        ask(&shop, None, "/traces", &[&range[..], &[("query.attributes", &*many)]].concat()).await?;
    assert!(status == 400 && answer.to_string().contains("65 tags are asked for; expected 64 at most"), "{answer}");
    Ok(())
}

/// What is asked for, with the code and the words of the answer.
fn refusals() -> Vec<(String, Value, &'static str, &'static str)> {
    let (id, range) = (base64(&trace_id(404)), ["2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"]);
    let searching = |more: Value| {
        let mut query = json!({"startTimeMin": range[0], "startTimeMax": range[1]});
        for (key, value) in more.as_object().into_iter().flatten() {
            query[key] = value.clone();
        }
        json!({"query": query})
    };
    let (invalid, unknown) = ("INVALID_ARGUMENT", "NOT_FOUND");
    let mut all = vec![
        (format!("{V2}/GetTrace"), json!({"traceId": id}), unknown, "trace not found"),
        (format!("{V2}/GetTrace"), json!({"traceId": "AAAA"}), invalid, "16 bytes"),
        (format!("{V2}/GetTrace"), json!({}), invalid, "16 bytes"),
        (format!("{V2}/ArchiveTrace"), json!({"traceId": id}), "UNIMPLEMENTED", "there is no archive"),
        (format!("{V2}/ArchiveTrace"), json!({}), invalid, "16 bytes"),
        (format!("{V3}/GetTrace"), json!({"traceId": "f00d"}), unknown, "trace not found"),
        (format!("{V3}/GetTrace"), json!({"traceId": "food"}), invalid, "hexadecimal"),
        (format!("{V3}/GetTrace"), json!({}), invalid, "hexadecimal"),
        (format!("{V3}/FindTraces"), json!({"query": {}}), invalid, "start_time_min and start_time_max are required"),
        (format!("{V3}/FindTraces"), searching(json!({"filter": "AAAA"})), invalid, "filter is not offered"),
        (format!("{V3}/FindTraces"), searching(json!({"pagination": "AAAA"})), invalid, "pagination is not offered"),
        (format!("{V3}/GetDependencies"), json!({}), invalid, "start_time and end_time are required"),
        (
            format!("{V3}/GetDependencies"),
            json!({"startTime": range[1], "endTime": range[0]}),
            invalid,
            "before the start",
        ),
        (format!("{STORAGE}/GetTraces"), json!({"query": [{"traceId": "AAAA"}]}), invalid, "16 bytes"),
        (
            format!("{STORAGE}/GetTraces"),
            json!({"query": vec![json!({"traceId": id}); 1_501]}),
            invalid,
            "1500 at most",
        ),
        (format!("{STORAGE}/FindTraces"), searching(json!({"filter": "AAAA"})), invalid, "filter is not offered"),
        (format!("{STORAGE}/FindTraceIDs"), searching(json!({"pagination": "AAAA"})), invalid, "pagination"),
        (
            format!("{STORAGE}/FindTraces"),
            searching(json!({"attributes": [{"key": "a", "value": {"bytesValue": "AAAA"}}]})),
            invalid,
            "attribute \"a\" cannot be searched by",
        ),
        (format!("{STORAGE}/FindTraces"), searching(json!({"attributes": [{"key": "a"}]})), invalid, "attribute \"a\""),
    ];
    for search in [
        "jaeger.api_v2.QueryService/FindTraces",
        "jaeger.api_v3.QueryService/FindTraces",
        "jaeger.api_v3.QueryService/FindTraceSummaries",
        "jaeger.storage.v2.TraceReader/FindTraces",
        "jaeger.storage.v2.TraceReader/FindTraceIDs",
        "jaeger.storage.v2.TraceReader/FindTraceSummaries",
    ] {
        for (request, why) in [
            (json!({}), "query is required"),
            (searching(json!({"searchDepth": -1})), "search depth"),
            (searching(json!({"searchDepth": 1_501})), "1500 traces at most"),
            (searching(json!({"durationMin": "-1s"})), "duration_min is negative"),
            (searching(json!({"durationMin": "2s", "durationMax": "1s"})), "longest duration"),
            (searching(json!({"startTimeMin": "2025-01-03T00:00:00Z"})), "before the start"),
        ] {
            all.push((search.to_owned(), request, invalid, why));
        }
    }
    for service in [V2, V3, STORAGE] {
        all.push((format!("{service}/GetOperations"), json!({}), invalid, "'service' is required"));
        all.push((
            format!("{service}/GetOperations"),
            json!({"service": "x", "spanKind": "both"}),
            invalid,
            "spanKind",
        ));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_over_grpc() -> Result<()> {
    let shop = Shop::open(&[])?;
    let refusals = refusals();
    let mut calls: Vec<Value> =
        refusals.iter().map(|(method, request, ..)| json!({"method": method, "request": request})).collect();
    calls.push(json!({"method": format!("{V3}/GetServices"), "metadata": {"x-scope-orgid": "../x"}}));
    let mut answers = python::call(shop.collector.grpc, shop.collector.jaeger, &calls.into())?;
    assert_eq!(answers.pop().map(|answer| answer["code"].clone()), Some("INVALID_ARGUMENT".into()));
    for ((method, request, code, why), answer) in refusals.iter().zip(answers) {
        assert_eq!(answer["code"], *code, "{method} {request}: {answer}");
        assert!(answer["details"].as_str().is_some_and(|text| text.contains(why)), "{method} {request}: {answer}");
        assert_eq!(answer["retry"], Value::Null, "{method}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_one_too_many_is_told_to_come_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("collector.toml");
    std::fs::write(&config, "max_lookups = 1")?;
    let shop = Shop::open(&[&format!("--config={}", config.display())])?;
    for number in 0..20 {
        shop.send(None, &order(number, now() - 1_000_000_000)).await?;
    }
    // The traces of an answer are read several at a time, and here only one may be.
    let calls = json!([
        {"method": format!("{V2}/FindTraces"), "request": {"query": {}}},
        {"method": format!("{STORAGE}/FindTraces"), "request": {"query": {}}},
    ]);
    for answer in python::call(shop.collector.grpc, shop.collector.jaeger, &calls)? {
        assert_eq!((&answer["code"], &answer["retry"]), (&json!("RESOURCE_EXHAUSTED"), &json!(1.0)), "{answer}");
    }
    let range = [("query.startTimeMin", "2025-01-01T00:00:00Z"), ("query.startTimeMax", "2100-01-01T00:00:00Z")];
    let (status, headers, answer) = ask(&shop, None, "/traces", &range).await?;
    assert_eq!((status, &headers["retry-after"], &answer["error"]["httpCode"]), (429, &"1".parse()?, &json!(429)));
    Ok(())
}
