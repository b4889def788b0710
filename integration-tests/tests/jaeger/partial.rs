//! Answers from which something may be missing say so.

use std::time::Duration;

use anyhow::{Result, ensure};
use clew_integration_tests::{
    files, python,
    shop::{Shop, now, order, trace_id},
};
use serde_json::json;

use crate::{python::base64, v3::ask};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_block_hides_is_told() -> Result<()> {
    let mut shop = Shop::open(&["--flush-age-s=1"])?;
    shop.send(None, &order(1, now() - 1_000_000_000)).await?;
    shop.collector.settle()?;
    ensure!(shop.collector.process.stop(Duration::from_secs(20))?);
    for path in files(&shop.collector.data, "spans.parquet")? {
        // The footer says where everything is; all of that is gone.
        let mut bytes = std::fs::read(&path)?;
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into()?) as usize;
        let data = bytes.len() - 8 - footer;
        bytes[4..data].fill(0);
        std::fs::write(&path, bytes)?;
    }
    shop.collector.restart()?;
    shop.send(None, &order(2, now() - 1_000_000_000)).await?;

    let method = |name: &str| format!("jaeger.api_v3.QueryService/{name}");
    let range = json!({"startTimeMin": "2025-01-01T00:00:00Z", "startTimeMax": "2100-01-01T00:00:00Z"});
    let calls = json!([
        {"method": method("GetServices")},
        {"method": method("FindTraces"), "request": {"query": range}},
        {"method": "jaeger.storage.v2.TraceReader/FindTraceIDs", "request": {"query": range}},
        {"method": "jaeger.storage.v2.TraceReader/GetTraces", "request": {"query": [{"traceId": base64(&trace_id(1))}]}},
        {"method": method("GetTrace"), "request": {"traceId": trace_id(1)}},
        {"method": method("GetTrace"), "request": {"traceId": trace_id(2)}},
    ]);
    let mut answers = python::call(shop.collector.grpc, shop.collector.jaeger, &calls)?;
    let whole = answers.pop().unwrap_or_default();
    assert_eq!((&whole["code"], whole["metadata"].get("x-clew-partial")), (&json!("OK"), None), "{whole}");
    let unknown = answers.pop().unwrap_or_default();
    assert_eq!(unknown["code"], "UNAVAILABLE", "{unknown}");
    for (answer, call) in answers.iter().zip(calls.as_array().into_iter().flatten()) {
        assert_eq!(answer["code"], "OK", "{call}: {answer}");
        assert!(answer["metadata"]["x-clew-partial"].is_string(), "{call}: {answer}");
    }

    let metrics = format!("http://{}/api/metrics/calls?service=shop", shop.collector.web);
    let metrics = shop.client.get(metrics).send().await?;
    ensure!(metrics.status() == 200 && metrics.headers().contains_key("x-clew-partial"), "{metrics:?}");

    let (status, _, answer) = ask(&shop, None, &format!("/traces/{}", trace_id(1)), &[]).await?;
    assert_eq!((status, &answer["error"]["httpCode"]), (503, &json!(503)), "{answer}");
    let (status, headers, _) = ask(&shop, None, "/services", &[]).await?;
    assert!(status == 200 && headers.contains_key("x-clew-partial"), "{headers:?}");
    Ok(())
}
