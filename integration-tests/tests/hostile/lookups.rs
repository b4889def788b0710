//! Lookups of traces that are too large, and too many of them at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clew_integration_tests::{Collector, metric};
use tokio::task::JoinSet;

use crate::support::{Pair, SOON, collector_door, grpc, spans, starting};

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_too_large_for_a_lookup_is_refused_with_the_limit_and_others_are_found() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let flags = ["--max-lookup-bytes=4MiB", "--flush-age-s=1"];
    let collector = starting(|| Collector::start(&dir.path().join("collector"), &flags))?;
    let (large, small) = (spans::id(), spans::id());
    for _ in 0..8 {
        grpc::export(collector.grpc, &spans::request([spans::heavy(large, 1 << 20)])).await?.accepted()?;
    }
    grpc::export(collector.grpc, &spans::request([spans::heavy(small, 100_000)])).await?.accepted()?;
    for place in ["memory", "a block"] {
        if place == "a block" {
            collector.settle()?;
        }
        let id = hex::encode(large);
        for url in [
            format!("http://{}/api/traces/{id}", collector.tempo),
            format!("http://{}/api/v2/traces/{id}", collector.tempo),
            format!("http://{}/api/traces/{id}", collector.web),
            format!("http://{}/api/v3/traces/{id}", collector.web),
        ] {
            let answer = reqwest::get(&url).await?;
            let (status, retry) = (answer.status(), answer.headers().contains_key("retry-after"));
            let text = answer.text().await?;
            let named = text.contains("4 MiB") && text.contains("max_lookup_bytes");
            ensure!(status == 422 && !retry && named, "from {place}, {url}: {status} {text}");
        }
        let found = crate::support::find(collector.tempo, small, 1).await?;
        ensure!(found.len() == 1, "from {place}: {} spans", found.len());
    }
    let refused = metric(collector.admin, "clew_collector_lookups_total{outcome=\"too_much\"}");
    assert_eq!(refused as u32, 8);
    collector_door(&collector).ready()
}

/// Lookups that are made at once, for as long as the test goes on.
const LOOKUPS: usize = 400;
/// Requests that are sent meanwhile, one after the other.
const REQUESTS: usize = 20;
/// A request is a few milliseconds' work; behind all the lookups it would wait for a minute.
const PROMPT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn however_many_lookups_are_made_spans_are_taken_in() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let long = spans::id();
    for _ in 0..2 {
        let many = (0..10_000).map(|_| spans::span(long));
        grpc::export(pair.collector.grpc, &spans::request(many)).await?.accepted()?;
    }
    let url = format!("http://{}/api/traces/{}", pair.collector.tempo, hex::encode(long));
    let client = reqwest::Client::new();
    let mut lookups = JoinSet::new();
    for _ in 0..LOOKUPS {
        let request = client.get(&url).header("accept", "application/protobuf");
        lookups.spawn(async move { anyhow::Ok(request.send().await?.status().as_u16()) });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut slowest = Duration::ZERO;
    let mut traces = Vec::new();
    for _ in 0..REQUESTS {
        traces.push(spans::id());
        let request = spans::request([spans::span(traces[traces.len() - 1])]);
        let started = Instant::now();
        grpc::export(pair.collector.grpc, &request).await?.accepted()?;
        slowest = slowest.max(started.elapsed());
    }
    ensure!(slowest < PROMPT, "a request was acked after {slowest:?}");
    // The clients go: what they asked for ends soon, and others are found.
    lookups.abort_all();
    while lookups.join_next().await.is_some() {}
    let started = Instant::now();
    pair.all_found(&traces).await?;
    ensure!(started.elapsed() < SOON, "lookups go on for nobody");
    pair.still_serves().await
}
