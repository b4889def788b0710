//! More than there is memory for, and retries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use clew_integration_tests::{
    Agent, Collector, metric,
    s3::{Faults, S3},
};

use crate::support::{Door, Pair, SOON, eventually, grpc, grpc::Call, http, spans};

/// A sender that sent half a message of so many bytes and then holds on.
async fn half_sent(door: Door, bytes: usize) -> Result<mpsc::Sender<std::io::Result<Frame<Bytes>>>> {
    let (sender, pieces) = mpsc::channel(1);
    let body = BodyExt::boxed(StreamBody::new(ReceiverStream::new(pieces)));
    let mut connection = grpc::connect(door.grpc).await?;
    tokio::spawn(async move { grpc::send(&mut connection, grpc::EXPORT, Vec::new(), body).await });
    let prefix = [&[0][..], &(2 * bytes as u32).to_be_bytes()].concat();
    sender.send(Ok(Frame::data(prefix.into()))).await?;
    sender.send(Ok(Frame::data(vec![0; bytes].into()))).await?;
    Ok(sender)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memory_for_requests_is_used_up_senders_are_told_to_retry() -> Result<()> {
    let pair = Pair::start(
        &["--max-request-bytes=2MiB", "--max-memory-bytes=2MiB"],
        &["--max-request-bytes=2MiB", "--max-intake-bytes=4MiB"],
    )?;
    for door in pair.doors() {
        let held = [half_sent(door, 900_000).await?, half_sent(door, 900_000).await?];
        let message = spans::request([spans::heavy(spans::id(), 500_000)]).encode_to_vec();
        let refused = || async { grpc::call(door.grpc, Call::plain(message.clone())).await };
        let mut answer = refused().await?;
        for _ in 0..100 {
            // What was half sent may still be on its way.
            if answer.code != Code::Ok {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = refused().await?;
        }
        answer.retryable()?;
        let other = spans::request([spans::heavy(spans::id(), 500_000)]);
        http::export(door.http, &other).await?.retryable()?;
        ensure!(door.refused("overloaded") >= 2, "not counted at the {}", door.name);
        drop(held);
        eventually("the memory is free", SOON, || door.refused("invalid") + door.refused("broken") >= 2).await?;
        http::export(door.http, &other).await?.accepted()?;
    }
    pair.still_serves().await
}

/// Sends heavy requests one after the other until told to stop; the traces that were acked, and how often it was told to
/// retry.
async fn hammer(door: Door, stop: Arc<AtomicBool>) -> Result<(Vec<[u8; 16]>, u64)> {
    let mut connection = grpc::connect(door.grpc).await?;
    let (mut acked, mut retries) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let trace = spans::id();
        let message = Bytes::from(spans::request([spans::heavy(trace, 100_000)]).encode_to_vec());
        loop {
            let answer = grpc::call_on(&mut connection, Call::plain(message.clone())).await?;
            if answer.code == Code::Ok {
                acked.push(trace);
                break;
            }
            answer.retryable()?;
            retries += 1;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok((acked, retries))
}

/// Lets so many senders hammer for a while; the traces that were acked, and how often they were told to retry.
async fn hammers(door: Door, senders: usize) -> Result<(Vec<[u8; 16]>, u64)> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut hammering = JoinSet::new();
    for _ in 0..senders {
        hammering.spawn(hammer(door, stop.clone()));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut acked, mut retries) = (Vec::new(), 0);
    for result in hammering.join_all().await {
        let (traces, more) = result?;
        acked.extend(traces);
        retries += more;
    }
    Ok((acked, retries))
}

#[tokio::test(flavor = "multi_thread")]
async fn under_far_more_load_than_memory_allows_work_goes_on_and_nothing_acked_is_lost() -> Result<()> {
    let pair = Pair::start(&["--max-request-bytes=512KiB", "--max-memory-bytes=512KiB"], &[])?;
    let door = pair.agent_door();
    let (mut acked, _) = hammers(door, 3).await?;
    let goodput_before = acked.len();
    let (under_load, retries) = hammers(door, 40).await?;
    let goodput = under_load.len();
    assert!(retries > 0, "nobody was told to retry: it was no overload");
    assert!(door.refused("overloaded") >= retries);
    assert!(goodput * 5 > goodput_before, "{goodput} requests were taken under overload, {goodput_before} without");
    door.stayed_within(96 << 20)?;
    pair.still_serves().await?;
    acked.extend(under_load);
    pair.agent.wait_sent(SOON)?;
    pair.all_found(&acked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identical_retry_is_acked_and_not_stored_again() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let traces = [spans::id(), spans::id(), spans::id()];
    let [first, second, third] = traces.map(|trace| spans::request([spans::span(trace)]));
    for door in pair.doors() {
        let request = if door.name == "agent" { &first } else { &second };
        // By whatever way it comes, at the same time or later.
        let (by_grpc, by_http) = tokio::join!(grpc::export(door.grpc, request), http::export(door.http, request));
        by_grpc?.accepted()?;
        by_http?.accepted()?;
        grpc::export(door.grpc, request).await?.accepted()?;
        assert_eq!(door.metric("suppressed_retries_total"), 2, "{}", door.name);
    }
    // Also when the answer was lost because the program ended.
    grpc::export(pair.agent.grpc, &third).await?.accepted()?;
    pair.agent.process.kill()?;
    pair.agent.restart()?;
    grpc::export(pair.agent.grpc, &third).await?.accepted()?;
    assert_eq!(pair.agent_door().metric("suppressed_retries_total"), 1);
    assert!(pair.agent.process.stop(SOON)?);
    pair.agent.restart()?;
    grpc::export(pair.agent.grpc, &third).await?.accepted()?;
    assert_eq!(pair.agent_door().metric("suppressed_retries_total"), 1);
    pair.collector.process.kill()?;
    pair.collector.restart()?;
    grpc::export(pair.collector.grpc, &second).await?.accepted()?;
    assert_eq!(pair.collector_door().metric("suppressed_retries_total"), 1);
    pair.all_found(&traces).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_knows_a_retry_after_a_restart_also_when_much_was_sent_since() -> Result<()> {
    let mut pair = Pair::start(&["--segment-bytes=1MiB"], &[])?;
    let trace = spans::id();
    let request = spans::request([spans::span(trace)]);
    grpc::export(pair.agent.grpc, &request).await?.accepted()?;
    // Several segments are filled and sent.
    for _ in 0..6 {
        grpc::export(pair.agent.grpc, &spans::request([spans::heavy(spans::id(), 1_000_000)])).await?.accepted()?;
    }
    pair.agent.wait_sent(SOON)?;
    assert!(pair.agent.process.stop(SOON)?);
    pair.agent.restart()?;
    grpc::export(pair.agent.grpc, &request).await?.accepted()?;
    assert_eq!(pair.agent_door().metric("suppressed_retries_total"), 1);
    pair.all_found(&[trace]).await?;
    pair.still_serves().await
}

/// Sends a span of fifty megabytes until it is taken.
async fn send_large(door: Door, by_grpc: bool) -> Result<[u8; 16]> {
    let trace = spans::id();
    let message = Bytes::from(spans::request([spans::heavy(trace, 50_000_000)]).encode_to_vec());
    loop {
        if by_grpc {
            let answer = grpc::call(door.grpc, Call::plain(message.clone())).await?;
            if answer.code == Code::Ok {
                return Ok(trace);
            }
            answer.retryable()?;
        } else {
            let headers = [("content-type", "application/x-protobuf")];
            let answer = http::post(door.http, &headers, message.clone()).await?;
            if answer.status == 200 {
                return Ok(trace);
            }
            answer.retryable()?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_requests_at_once_stay_within_the_memory_for_them() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let door = pair.agent_door();
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        senders.spawn(send_large(door, sender % 2 == 0));
    }
    let mut acked = Vec::new();
    for sent in senders.join_all().await {
        acked.push(sent?);
    }
    pair.agent.wait_sent(SOON)?;
    // Requests; what connections hold that was not read yet; two groups on their way to the disk, one of them being
    // compressed; the batch that the sender reads again, and encodes; and what the allocator holds back of pieces this large.
    door.stayed_within((128 + 8 * 64) << 20)?;
    pair.still_serves().await?;
    pair.all_found(&acked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_with_little_memory_keeps_to_it_and_finds_what_it_took() -> Result<()> {
    let pair = Pair::start(&[], &["--max-memory-bytes=16MiB"])?;
    let door = pair.collector_door();
    let (mut acked, mut connection) = (Vec::new(), grpc::connect(door.grpc).await?);
    for _ in 0..400 {
        let trace = spans::id();
        let others = (0..500).map(|_| spans::span(spans::id()));
        let message = spans::request(others.chain([spans::heavy(trace, 50_000)])).encode_to_vec();
        let answer = grpc::call_on(&mut connection, Call::plain(message)).await?;
        if answer.code != Code::Ok {
            answer.retryable()?;
            break;
        }
        acked.push(trace);
    }
    assert!(acked.len() > 20, "only {} were taken", acked.len());
    // Besides the spans: a block that is being written or merged, and batches on their way.
    door.stayed_within(192 << 20)?;
    pair.all_found(&acked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_wait_for_memory_while_the_store_is_away_instead_of_being_refused_and_sent_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = S3::start(&dir.path().join("store"))?;
    let flags = ["--max-memory-bytes=4MiB", "--flush-bytes=1MiB"];
    let collector = Collector::start_on(&dir.path().join("collector"), &store, "waits", &flags)?;
    let agent = Agent::start(&dir.path().join("agent"), &[collector.url()], &[])?;
    store.fail(&Faults { unavailable: 1.0, ..Faults::default() })?;
    let mut connection = grpc::connect(agent.grpc).await?;
    for _ in 0..24 {
        let message = spans::request([spans::heavy(spans::id(), 500_000)]).encode_to_vec();
        let answer = grpc::call_on(&mut connection, Call::plain(message)).await?;
        ensure!(answer.code == Code::Ok, "{answer:?}");
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let waiting = metric(agent.admin, "clew_agent_queue_waiting_batches");
    ensure!(waiting > 0.0, "there was memory for all of them");
    store.fail(&Faults::default())?;
    agent.wait_sent(SOON)?;
    // The store is asked again after a pause that may be longer than batches wait: then each that waits is refused once.
    let refused = metric(collector.admin, "clew_collector_agent_busy_total");
    ensure!(refused <= waiting, "{refused} batches were refused while {waiting} waited");
    ensure!(metric(collector.admin, "clew_collector_agent_batches_total") >= waiting, "they came");
    Ok(())
}
