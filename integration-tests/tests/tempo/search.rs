//! `/api/search`

use anyhow::Result;
use serde_json::json;

use crate::shop::{Shop, now, order, trace_id};

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
