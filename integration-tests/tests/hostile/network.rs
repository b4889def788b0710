//! Networks that fail between agent and collector, and collectors that go away, come back, or are full.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_integration_tests::{Agent, Collector};

use crate::support::{
    Door, Pair, SOON, agent_door, collector_door, eventually, find, grpc, proxy::Proxy, spans, starting,
};

/// A lost connection is found out by HTTP/2's pings, after 10 + 5 s.
const LOST: Duration = Duration::from_secs(60);

/// An agent behind a proxy.
struct Remote {
    agent: Agent,
    collector: Collector,
    proxy: Proxy,
    _dir: tempfile::TempDir,
}

impl Remote {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let collector = starting(|| Collector::start(&dir.path().join("collector"), &[]))?;
        let proxy = Proxy::start(collector.grpc).await?;
        let agent = starting(|| Agent::start(&dir.path().join("agent"), &[proxy.url()], &[]))?;
        let remote = Self { agent, collector, proxy, _dir: dir };
        let connected = || agent_door(&remote.agent).metric("connected") == 1;
        eventually("the agent is connected", SOON, connected).await?;
        Ok(remote)
    }

    async fn send(&self, count: usize) -> Result<Vec<[u8; 16]>> {
        send(agent_door(&self.agent), count).await
    }

    async fn all_found_once(&self, traces: &[[u8; 16]]) -> Result<()> {
        for trace in traces {
            assert_eq!(find(self.collector.tempo, *trace, 1).await?.len(), 1);
        }
        Ok(())
    }
}

async fn send(door: Door, count: usize) -> Result<Vec<[u8; 16]>> {
    let mut connection = grpc::connect(door.grpc).await?;
    let mut traces = Vec::with_capacity(count);
    for _ in 0..count {
        let trace = spans::id();
        let message = prost::Message::encode_to_vec(&spans::request([spans::heavy(trace, 5_000)]));
        grpc::call_on(&mut connection, grpc::Call::plain(message)).await?.accepted()?;
        traces.push(trace);
    }
    Ok(traces)
}

/// Loses one direction or both for a while; then everything is found, once.
async fn partition(forth: bool, back: bool) -> Result<()> {
    let remote = Remote::start().await?;
    let mut traces = remote.send(20).await?;
    let failures = agent_door(&remote.agent).metric("connection_failures_total");
    remote.proxy.lose(forth, back);
    // Taken all the same, and not yet acked by the collector.
    traces.extend(remote.send(20).await?);
    let noticed = || agent_door(&remote.agent).metric("connection_failures_total") > failures;
    eventually("the agent noticed", LOST, noticed).await?;
    traces.extend(remote.send(20).await?);
    remote.proxy.lose(false, false);
    remote.proxy.cut();
    remote.agent.wait_sent(LOST)?;
    remote.all_found_once(&traces).await?;
    // Batches that had arrived, though nothing said so, came again and were not stored again.
    let collector = collector_door(&remote.collector);
    assert_eq!(collector.metric("agent_spans_total"), traces.len() as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_the_way_forth_is_lost_arrives_once() -> Result<()> {
    partition(true, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_the_way_back_is_lost_arrives_once() -> Result<()> {
    partition(false, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_both_ways_are_lost_arrives_once() -> Result<()> {
    partition(true, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_and_broken_line_everything_arrives_once() -> Result<()> {
    let remote = Remote::start().await?;
    remote.proxy.slow(true);
    let mut traces = Vec::new();
    for _ in 0..10 {
        traces.extend(remote.send(10).await?);
        tokio::time::sleep(Duration::from_millis(100)).await;
        remote.proxy.cut();
    }
    remote.proxy.slow(false);
    remote.agent.wait_sent(LOST)?;
    remote.all_found_once(&traces).await?;
    assert_eq!(collector_door(&remote.collector).metric("agent_spans_total"), traces.len() as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_killed_and_comes_back_gets_everything_once() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let mut traces = Vec::new();
    for _ in 0..3 {
        traces.extend(send(pair.agent_door(), 50).await?);
        pair.collector.process.kill()?;
        traces.extend(send(pair.agent_door(), 50).await?);
        pair.collector.restart()?;
    }
    pair.agent.wait_sent(LOST)?;
    pair.all_found(&traces).await?;
    assert!(pair.agent_door().metric("connection_failures_total") >= 3);
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_collector_in_place_of_the_old_one_gets_what_waits_and_what_comes() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let delivered = send(pair.agent_door(), 20).await?;
    pair.agent.wait_sent(SOON)?;
    pair.collector.process.kill()?;
    let waiting = send(pair.agent_door(), 20).await?;
    std::fs::rename(&pair.collector.data, pair.collector.data.with_extension("old"))?;
    pair.collector.restart()?;
    pair.agent.wait_sent(LOST)?;
    pair.all_found(&waiting).await?;
    // What the old one had acked is with the old one.
    assert_eq!(crate::support::http::trace(pair.collector.tempo, delivered[0], None).await?, None);
    pair.still_serves().await?;
    pair.collector.process.kill()?;
    std::fs::rename(&pair.collector.data, pair.collector.data.with_extension("new"))?;
    std::fs::rename(pair.collector.data.with_extension("old"), &pair.collector.data)?;
    pair.collector.restart()?;
    pair.all_found(&delivered).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_wait_with_an_agent_are_found_while_the_collector_is_full() -> Result<()> {
    let full = ["--max-wal-bytes=2MiB", "--segment-bytes=1MiB"];
    let dir = tempfile::tempdir()?;
    let collector = starting(|| Collector::start(&dir.path().join("collector"), &full))?;
    // Filled up by others.
    let door = collector_door(&collector);
    for _ in 0..100 {
        let heavy = spans::request([spans::heavy(spans::id(), 100_000)]);
        if grpc::export(door.grpc, &heavy).await?.code != tonic::Code::Ok {
            break;
        }
    }
    grpc::export(door.grpc, &spans::request([spans::heavy(spans::id(), 900_000)])).await?.retryable()?;
    assert!(door.metric("wal_refused_full_total") > 0);

    let agent = starting(|| Agent::start(&dir.path().join("agent"), &[collector.url()], &[]))?;
    let mut pair = Pair::of(agent, collector, dir);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let trace = spans::id();
        grpc::export(pair.agent.grpc, &spans::request([spans::heavy(trace, 1_500_000)])).await?.accepted()?;
        waiting.push(trace);
    }
    let busy = || pair.agent_door().metric("collector_busy_total") > 0;
    eventually("the collector says that it is busy", SOON, busy).await?;
    pair.all_found(&waiting).await?;

    // The agent is started anew with its full queue: as soon as it is connected, they are found again.
    pair.agent.process.kill()?;
    pair.agent.restart()?;
    pair.all_found(&waiting).await?;
    assert_eq!(pair.agent_door().metric("queue_waiting_batches"), 10);
    assert!(pair.agent_door().metric("asked_total") > 0);
    pair.agent_door().stayed_within(128 << 20)?;
    // Whoever asks for what nobody has is told so.
    assert_eq!(crate::support::http::trace(pair.collector.tempo, spans::id(), None).await?, None);

    // With room again, they are delivered.
    pair.collector.process.kill()?;
    pair.collector.flags.clear();
    pair.collector.restart()?;
    pair.agent.wait_sent(LOST)?;
    pair.all_found(&waiting).await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_collector_hangs_the_next_one_gets_what_waits() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = starting(|| Collector::start(&dir.path().join("first"), &[]))?;
    let second = starting(|| Collector::start(&dir.path().join("second"), &[]))?;
    let urls = [first.url(), second.url()];
    let agent = starting(|| Agent::start(&dir.path().join("agent"), &urls, &["--come-back-s=1"]))?;
    let door = agent_door(&agent);
    let before = send(door, 20).await?;
    agent.wait_sent(SOON)?;
    // Stopped, not ended: its connections stay open.
    let pid = rustix::process::Pid::from_raw(first.process.pid() as i32).context("a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
    let meanwhile = send(door, 20).await?;
    agent.wait_sent(LOST)?;
    for trace in &meanwhile {
        assert_eq!(find(second.tempo, *trace, 1).await?.len(), 1);
    }
    rustix::process::kill_process(pid, rustix::process::Signal::CONT)?;
    // Preferred, it gets what comes next.
    let mut later = None;
    eventually("the agent came back", LOST, || collector_door(&first).metric("agents_connected") == 1).await?;
    for _ in 0..100 {
        let sent = send(door, 1).await?;
        agent.wait_sent(SOON)?;
        if crate::support::http::trace(first.tempo, sent[0], None).await?.is_some() {
            later = Some(sent[0]);
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(later.is_some(), "nothing goes to the preferred collector");
    for trace in &before {
        assert_eq!(find(first.tempo, *trace, 1).await?.len(), 1);
    }
    Ok(())
}
