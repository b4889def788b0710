//! Lookups of traces that are too large, and too many of them at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
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

/// How much the threads of a process with this name give way; those that there are.
fn nices(pid: u32, name: &str) -> Result<Vec<i32>> {
    let mut nices = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end meanwhile.
        let Ok(stat) = std::fs::read_to_string(task.join("stat")) else { continue };
        let Some((head, fields)) = stat.rsplit_once(") ") else { continue };
        if head.ends_with(&format!("({name}")) {
            // proc(5): the 19th, and the third comes after the name.
            nices.extend(fields.split(' ').nth(16).and_then(|nice| nice.parse::<i32>().ok()));
        }
    }
    Ok(nices)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_no_spans_in_gives_way_to_those_who_do() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let flags = ["--flush-age-s=1", "--query-nice=8", "--merge-nice=7"];
    let collector = starting(|| Collector::start(&dir.path().join("collector"), &flags))?;
    let trace = spans::id();
    let started = Instant::now();
    let merged = || std::fs::read_to_string(&collector.process.log).is_ok_and(|log| log.contains("merged blocks"));
    while !merged() {
        ensure!(started.elapsed() < Duration::from_secs(60), "nothing was merged");
        grpc::export(collector.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    crate::support::find(collector.tempo, trace, 8).await?;
    let url = format!("http://{}/api/search", collector.tempo);
    ensure!(reqwest::get(url).await?.status() == 200);
    let of = |name| nices(collector.process.pid(), name);
    let own = *of("tokio-rt-worker")?.first().context("threads that take spans in")?;
    for (name, nice) in [("merge", 7), ("lookup", 4), ("query", 8), ("tokio-rt-worker", 0)] {
        let nices = of(name)?;
        let all = nices.iter().all(|of_thread| *of_thread == (own + nice).min(19));
        ensure!(!nices.is_empty() && all, "{name}: {nices:?}, and {own} is what nobody gives way to");
    }
    Ok(())
}
