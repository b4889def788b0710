//! Stopping under load.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use clew_integration_tests::Agent;
use prost::Message;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{Door, Pair, SOON, agent_door, eventually, find, grpc, grpc::Call, spans, starting};

/// Sends one span after the other, on new connections when it must, until told to stop; what was acked.
async fn keep_sending(door: Door, stop: Arc<AtomicBool>) -> Vec<[u8; 16]> {
    let (mut connection, mut acked) = (None, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        if connection.is_none() {
            connection = grpc::connect(door.grpc).await.ok();
        }
        let Some(open) = &mut connection else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let trace = spans::id();
        let message = Bytes::from(spans::request([spans::heavy(trace, 5_000)]).encode_to_vec());
        match grpc::call_on(open, Call::plain(message)).await {
            Ok(answer) if answer.code == Code::Ok => acked.push(trace),
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(_) => connection = None,
        }
    }
    acked
}

struct Load {
    stop: Arc<AtomicBool>,
    senders: JoinSet<Vec<[u8; 16]>>,
}

impl Load {
    fn start(door: Door) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut senders = JoinSet::new();
        for _ in 0..8 {
            senders.spawn(keep_sending(door, stop.clone()));
        }
        Self { stop, senders }
    }

    async fn end(self) -> Vec<[u8; 16]> {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.join_all().await.into_iter().flatten().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_under_load_sends_what_it_acked_and_exits_with_0() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let load = Load::start(pair.agent_door());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pair.agent.process.stop(SOON)?, "{}", pair.agent.process.log_text());
    let acked = load.end().await;
    assert!(!acked.is_empty());
    // The agent is gone: all of it is at the collector.
    pair.all_found(&acked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_stopped_under_load_exits_with_0_and_loses_nothing() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let (through_agent, direct) = (Load::start(pair.agent_door()), Load::start(pair.collector_door()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pair.collector.process.stop(SOON)?, "{}", pair.collector.process.log_text());
    tokio::time::sleep(Duration::from_millis(300)).await;
    pair.collector.restart()?;
    let mut acked = through_agent.end().await;
    acked.extend(direct.end().await);
    pair.agent.wait_sent(SOON)?;
    pair.all_found(&acked).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_hurries_and_what_was_not_sent_is_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // A collector that takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", silent.local_addr()?);
    let flags = ["--drain-timeout-s=100"];
    let mut agent = starting(|| Agent::start(&dir.path().join("agent"), std::slice::from_ref(&url), &flags))?;
    let trace = spans::id();
    grpc::export(agent.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
    let started = Instant::now();
    agent.process.terminate()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    agent.process.terminate()?;
    let status = agent.process.wait(SOON)?;
    assert!(status.success(), "{status}\n{}", agent.process.log_text());
    assert!(started.elapsed() < Duration::from_secs(60));
    // The next start sends it, to a collector that listens.
    let collector = starting(|| clew_integration_tests::Collector::start(&dir.path().join("collector"), &[]))?;
    agent.flags = vec![format!("--collector={}", collector.url())];
    agent.restart()?;
    agent_door(&agent).ready()?;
    assert_eq!(find(collector.tempo, trace, 1).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_never_end_do_not_keep_a_stop_beyond_its_time() -> Result<()> {
    let mut pair = Pair::start(&["--drain-timeout-s=1"], &["--drain-timeout-s=1"])?;
    let mut stuck = Vec::new();
    for door in pair.doors() {
        for start in [
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 99\r\n\r\nx",
            "POST /v1/traces HTTP/1.1\r\nhost: ",
            "",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(door.http)?;
            stream.write_all(start.as_bytes())?;
            stuck.push(stream);
        }
        eventually("they are accepted", SOON, || door.metric("connections_open") >= 4).await?;
    }
    let trace = spans::id();
    grpc::export(pair.agent.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
    ensure!(pair.agent.process.stop(SOON)?, "{}", pair.agent.process.log_text());
    pair.all_found(&[trace]).await?;
    ensure!(pair.collector.process.stop(SOON)?, "{}", pair.collector.process.log_text());
    drop(stuck);
    Ok(())
}
