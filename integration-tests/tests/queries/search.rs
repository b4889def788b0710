//! `/api/search`

use anyhow::{Context, Result};
use clew_integration_tests::shop::{Shop, now, order, trace_id};
use clew_proto::tempopb::{QueryInstantResponse, SearchResponse};
use prost::Message;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_in_the_form_that_tempos_clients_read() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() - 5 * SECOND;
    shop.send(None, &order(1, start)).await?;
    let query = "{ status = error && span.\"card.kind\" = \"credit card\" } | select(resource.service.name)";
    let answer = shop.get("/api/search", &[("q", query)]).await?;
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let set = json!({
        "matched": 1,
        "spans": [{
            "spanID": "0000000000000002",
            "name": "charge",
            "startTimeUnixNano": (start + 10_000_000).to_string(),
            "durationNanos": "100000000",
            "attributes": [
                text("resource.service.name", "payments"),
                text("status", "error"),
                text("span.card.kind", "credit card"),
            ],
        }],
    });
    assert_eq!(
        answer["traces"],
        json!([{
            "traceID": trace_id(1),
            "rootServiceName": "shop",
            "rootTraceName": "POST /orders",
            "startTimeUnixNano": start.to_string(),
            "durationMs": 250,
            "spanSet": set,
            "spanSets": [set],
            "serviceStats": {"shop": {"spanCount": 1}, "payments": {"spanCount": 1, "errorCount": 1}},
        }])
    );
    assert_eq!(answer["metrics"], json!({"completedJobs": 1, "totalJobs": 1, "inspectedSpans": "2"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_found_once_they_are_acked_and_once_they_are_in_a_block() -> Result<()> {
    let shop = Shop::open(&["--flush-age-s=1"])?;
    for number in 0..20 {
        shop.send(None, &order(number, now())).await?;
        let query = format!("{{ span.order = {number} }}");
        let second = (now() / SECOND).to_string();
        assert_eq!(shop.found(&[("q", &query)]).await?, [trace_id(number)]);
        assert_eq!(shop.found(&[("q", &query), ("end", &second)]).await?, [trace_id(number)]);
    }
    shop.collector.settle()?;
    let newest: Vec<String> = (10..20).rev().map(trace_id).collect();
    assert_eq!(shop.found(&[("q", "{ name = \"charge\" }"), ("limit", "10")]).await?, newest);
    let answer = shop.get("/api/search", &[("q", "{ span.order = 7 }")]).await?;
    assert_eq!(answer["traces"][0]["traceID"], trace_id(7));
    assert!(answer["metrics"]["totalBlocks"].as_u64() >= Some(1), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_bound_traces_spans_and_times() -> Result<()> {
    let shop = Shop::open(&[])?;
    let second = now() / SECOND - 100;
    for number in 0..30 {
        shop.send(None, &order(number, (second + u64::from(number)) * SECOND)).await?;
    }
    let all = ("q", "{ }");
    assert_eq!(shop.found(&[all]).await?.len(), 20, "unless something else is said");
    assert_eq!(shop.found(&[all, ("limit", "2")]).await?, [trace_id(29), trace_id(28)]);
    assert_eq!(shop.found(&[all, ("limit", "1000")]).await?.len(), 30);
    let (from, to) = ((second + 3).to_string(), (second + 5).to_string());
    let between = shop.found(&[all, ("start", &from), ("end", &to)]).await?;
    assert_eq!(between, [trace_id(5), trace_id(4), trace_id(3)], "the last second counts whole");
    for (spans, shown) in [("1", 1), ("0", 2), ("3", 2)] {
        let answer = shop.get("/api/search", &[all, ("limit", "1"), ("spss", spans)]).await?;
        let set = &answer["traces"][0]["spanSets"][0];
        assert_eq!((set["spans"].as_array().map(Vec::len), &set["matched"]), (Some(shown), &json!(2)), "{set}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_find_spans_whose_attributes_contain_the_text() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    for (tags, found) in [
        ("service.name=shop", true),
        ("service.name=sho http.method=pos", true),
        ("service.name=payments http.method=POST", false),
        (r#"card.kind="credit card""#, true),
        (r#"card.kind="it c""#, true),
        ("card.kind=.*", false),
        ("http.status_code=200 vip=true amount=9.5", true),
        ("http.status_code=20", false),
        ("items=cup", true),
        ("name=orders status.code=unset", true),
        ("status.code=error root.service.name=shop", true),
        ("nobody=x", false),
        ("", true),
    ] {
        assert_eq!(shop.found(&[("tags", tags)]).await?.len(), usize::from(found), "{tags}");
    }
    for (least, most, found) in [("250ms", "250ms", 1), ("0.251s", "1h", 0), ("", "249ms", 0), ("1us", "", 1)] {
        let params = [("tags", "service.name=shop"), ("minDuration", least), ("maxDuration", most)];
        assert_eq!(shop.found(&params).await?.len(), found, "{least} to {most}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_values_of_all_types_are_shown() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let query = "{ } | by(resource.service.name) | select(.http.status_code, .vip, .amount, .items, duration, kind)";
    let answer = shop.get("/api/search", &[("q", query)]).await?;
    let sets = answer["traces"][0]["spanSets"].as_array().context("sets")?;
    assert_eq!(sets.len(), 2);
    let group = json!([{"key": "by(resource.service.name)", "value": {"stringValue": "shop"}}]);
    let of_shop = sets.iter().find(|set| set["attributes"] == group).with_context(|| answer.to_string())?;
    let attribute = |key: &str, value: Value| json!({"key": key, "value": value});
    assert_eq!(
        of_shop["spans"][0]["attributes"],
        json!([
            attribute(".http.status_code", json!({"intValue": "200"})),
            attribute(".vip", json!({"boolValue": true})),
            attribute(".amount", json!({"doubleValue": 9.5})),
            attribute(".items", json!({"arrayValue": {"values": [{"stringValue": "tea"}, {"stringValue": "cup"}]}})),
            attribute("duration", json!({"stringValue": "250ms"})),
            attribute("kind", json!({"stringValue": "server"})),
        ])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_without_a_root_says_so() -> Result<()> {
    let shop = Shop::open(&[])?;
    let mut spans = order(1, now());
    spans["resourceSpans"].as_array_mut().context("spans")?.remove(0);
    shop.send(None, &spans).await?;
    let answer = shop.get("/api/search", &[("q", "{ }")]).await?;
    let trace = &answer["traces"][0];
    let missing = "<root span not yet received>";
    assert_eq!((&trace["rootServiceName"], &trace["rootTraceName"]), (&json!(missing), &json!(missing)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_protobuf_gets_it() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now() - SECOND)).await?;
    let accept = [("accept", "application/protobuf")];
    let answer = shop.ask_with(&accept, "/api/search", &[("q", "{ status = error }")]).await?;
    assert_eq!((answer.status, answer.headers["content-type"].to_str()?), (200, "application/protobuf"));
    let found = SearchResponse::decode(&*answer.body)?;
    assert_eq!((found.traces.len(), &found.traces[0].trace_id), (1, &trace_id(1)));
    assert_eq!(found.traces[0].span_sets[0].spans[0].name, "charge");
    let answer = shop.ask_with(&accept, "/api/metrics/query", &[("q", "{ } | count_over_time()")]).await?;
    assert_eq!(QueryInstantResponse::decode(&*answer.body)?.series[0].value, 2.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_other_tenants_are_not_found() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(Some("team-a"), &order(1, now())).await?;
    assert!(shop.found(&[("q", "{ }")]).await?.is_empty());
    let all = [("q", "{ }")];
    for (tenant, traces) in [("team-a", 1), ("team-b", 0), ("default", 0)] {
        let answer = shop.ask_with(&[("x-scope-orgid", tenant)], "/api/search", &all).await?.whole()?;
        assert_eq!(answer["traces"].as_array().map(Vec::len), Some(traces), "{tenant}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_block_holds_is_missing_and_the_answer_says_so() -> Result<()> {
    let mut shop = Shop::open(&["--flush-age-s=1"])?;
    shop.send(None, &order(1, now())).await?;
    shop.collector.settle()?;
    shop.collector.process.kill()?;
    let mut damaged = Vec::new();
    for day in std::fs::read_dir(shop.collector.data.join("blocks/default/blocks"))? {
        for block in std::fs::read_dir(day?.path())? {
            let block = block?.path();
            std::fs::write(block.join("spans.parquet"), b"PAR1")?;
            damaged.push(block.file_name().context("a name")?.to_string_lossy().into_owned());
        }
    }
    assert_eq!(damaged.len(), 1);
    shop.collector.restart()?;
    shop.send(None, &order(2, now())).await?;
    for (path, query) in
        [("/api/search", "{ }"), ("/api/metrics/query_range", "{ } | rate()"), ("/api/metrics/query", "{ } | rate()")]
    {
        let answer = shop.ask(path, &[("q", query)]).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let why = answer.headers.get("x-clew-partial").with_context(|| format!("{path} says nothing"))?.to_str()?;
        assert!(why.contains(&damaged[0]), "{why}");
        let json: Value = serde_json::from_slice(&answer.body)?;
        if path == "/api/search" {
            assert_eq!(json["traces"][0]["traceID"], trace_id(2), "{json}");
        } else if path.contains("metrics") {
            assert_eq!((&json["status"], &json["message"]), (&json!("PARTIAL"), &json!(why)), "{json}");
        }
    }
    Ok(())
}
