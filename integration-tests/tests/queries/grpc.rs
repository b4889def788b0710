//! tempopb.StreamingQuerier, called by a client in another language that knows it from reflection.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{
    python,
    shop::{self, Shop, now, order, trace_id},
};
use serde_json::{Value, json};

use crate::refused;

const SECOND: u64 = 1_000_000_000;

/// Makes calls to a port of the collector.
fn call(shop: &Shop, target: SocketAddr, calls: &Value) -> Result<Vec<Value>> {
    let mut calls = calls.clone();
    for call in calls.as_array_mut().into_iter().flatten() {
        call["method"] = format!("tempopb.StreamingQuerier/{}", call["method"].as_str().unwrap_or_default()).into();
    }
    python::call(shop.collector.grpc, target, &calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_that_tempos_clients_know_streams_the_same_answers() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() - 5 * SECOND;
    for number in 0..3 {
        shop.send(None, &order(number, start + u64::from(number) * 1_000)).await?;
    }
    shop.send(Some("team-a"), &order(77, start)).await?;
    let (from, to) = (start / SECOND, now() / SECOND);
    let calls = json!([
        {"method": "Search", "request": {"Query": "{ name = \"charge\" }", "start": from, "end": to, "Limit": 2}},
        {"method": "Search", "request": {"Query": "{ }"}, "metadata": {"x-scope-orgid": "team-a"}},
        {"method": "Search", "request": {"Tags": {"http.status_code": "200"}, "MinDurationMs": 250, "MaxDurationMs": 250}},
        {"method": "Search", "request": {"Query": "{ name = }"}},
        {"method": "Search", "metadata": {"x-scope-orgid": "../x"}},
        {"method": "MetricsQueryRange", "request": {
            "query": "{ } | count_over_time() by (name)",
            "start": (from * SECOND).to_string(), "end": (to * SECOND).to_string(), "step": (10 * SECOND).to_string()}},
        {"method": "MetricsQueryInstant", "request": {
            "query": "{ } | count_over_time()",
            "start": (from * SECOND).to_string(), "end": ((to + 1) * SECOND).to_string()}},
        {"method": "MetricsQueryRange", "request": {"query": "{ }"}},
        {"method": "SearchTags", "request": {"scope": "resource"}},
        {"method": "SearchTagsV2", "request": {"scope": "event", "start": from, "end": to}},
        {"method": "SearchTagValues", "request": {"tagName": "service.name"}, "metadata": {"x-scope-orgid": "team-a"}},
        {"method": "SearchTagValuesV2", "request": {"tagName": "span.http.status_code", "query": "{ kind = server }"}},
        {"method": "SearchTagValuesV2", "request": {"tagName": "service.name"}},
    ]);
    for target in [shop.collector.grpc, shop.collector.tempo, shop.collector.web] {
        let answers = call(&shop, target, &calls)?;
        let found = |at: usize| {
            let traces = answers[at]["messages"][0]["traces"].as_array();
            traces.into_iter().flatten().filter_map(|trace| trace["traceID"].as_str()).collect::<Vec<_>>()
        };
        let codes: Vec<_> = answers.iter().map(|answer| answer["code"].as_str().unwrap_or_default()).collect();
        let (ok, invalid) = ("OK", "INVALID_ARGUMENT");
        assert_eq!(codes, [ok, ok, ok, invalid, invalid, ok, ok, invalid, ok, ok, ok, ok, invalid], "{answers:?}");
        assert_eq!(found(0), [trace_id(2), trace_id(1)]);
        assert_eq!(found(1), [trace_id(77)]);
        assert_eq!(found(2).len(), 3);
        let trace = &answers[0]["messages"][0]["traces"][0];
        assert_eq!(trace["spanSets"][0]["spans"][0]["name"], "charge", "{trace}");
        assert_eq!(trace["serviceStats"]["payments"], json!({"spanCount": 1, "errorCount": 1}));
        assert!(
            answers[3]["details"].as_str().is_some_and(|why| why.starts_with("line 1, column 10")),
            "{:?}",
            answers[3]
        );
        let series = answers[5]["messages"][0]["series"].as_array().context("series")?;
        assert_eq!(series.len(), 2);
        let count = |series: &Value| -> f64 {
            series["samples"].as_array().into_iter().flatten().filter_map(|sample| sample["value"].as_f64()).sum()
        };
        assert!(series.iter().all(|series| count(series) == 3.0), "{series:?}");
        let message = |at: usize| &answers[at]["messages"][0];
        assert_eq!(message(8)["tagNames"], json!(["region", "service.name"]));
        assert_eq!(message(9)["scopes"], json!([{"name": "event", "tags": ["exception.type"]}]));
        assert_eq!(message(10)["tagValues"], json!(["payments", "shop"]));
        assert_eq!(message(11)["tagValues"], json!([{"type": "int", "value": "200"}]));
        assert_eq!(answers[6]["messages"][0]["series"][0]["value"], 6.0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_one_too_many_is_told_when_to_come_again() -> Result<()> {
    let shop = Shop::open(&["--max-queries=1", "--max-waiting-queries=0"])?;
    for number in 0..40 {
        shop.send(None, &order(number, now())).await?;
    }
    let query = refused::slow();
    let busy = tokio::spawn({
        let (client, params) = (shop.client.clone(), [("q", query.clone())]);
        let url = shop::url(
            &shop.collector.tempo_url(),
            "/api/search",
            &params.each_ref().map(|(name, text)| (*name, text.as_str())),
        )?;
        async move {
            loop {
                let asked = client.get(url.clone()).send().await;
                // It may be refused, too.
                let _ = asked.map(drop);
            }
        }
    });
    let calls: Value = (0..200).map(|_| json!({"method": "Search", "request": {"Query": "{ }"}})).collect();
    let answers = call(&shop, shop.collector.tempo, &calls)?;
    busy.abort();
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["code"] != "OK").collect();
    ensure!(!refused.is_empty(), "all {} were answered", answers.len());
    for answer in refused {
        assert_eq!((&answer["code"], &answer["retry"]), (&json!("RESOURCE_EXHAUSTED"), &json!(1.0)), "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_comes_in_several_messages() -> Result<()> {
    let shop = Shop::open(&[])?;
    let note = "x".repeat(200_000);
    for number in 0..12 {
        let mut spans = order(number, now());
        let charge = &mut spans["resourceSpans"][1]["scopeSpans"][0]["spans"][0];
        charge["attributes"] = json!([{"key": "note", "value": {"stringValue": note}}]);
        shop.send(None, &spans).await?;
    }
    let calls = json!([{"method": "Search", "request": {"Query": "{ name = \"charge\" } | select(span.note)"}}]);
    let answers = call(&shop, shop.collector.grpc, &calls)?;
    let messages = answers[0]["messages"].as_array().context("messages")?;
    let traces = messages.iter().filter_map(|message| message["traces"].as_array()).map(Vec::len);
    assert!(
        messages.len() > 3 && traces.sum::<usize>() == 12,
        "{} messages, {}",
        messages.len(),
        answers[0]["details"]
    );
    Ok(())
}
