//! Disks that are slow or fail, and clocks that jump: real programs, with `faults.c` in them.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use clew_integration_tests::{
    Agent, Collector,
    faults::{Fault, Faults},
};

use crate::support::{Door, Pair, SOON, agent_door, collector_door, find, grpc, spans, starting};

const FLAGS: [&str; 3] = ["--flush-bytes=1MiB", "--flush-age-s=1", "--sweep-delay-s=1"];

/// An agent and a collector on disks with faults.
fn pair(of_agent: bool, of_collector: bool) -> Result<(Pair, Faults)> {
    let dir = tempfile::tempdir()?;
    let faults = Faults::new(dir.path())?;
    let (data, folder) = (dir.path().join("collector"), dir.path().join("agent"));
    let environment = |concerned: bool, folder: &Path| match concerned {
        true => faults.environment(folder),
        false => Vec::new(),
    };
    let collector = starting(|| Collector::start_with(&data, environment(of_collector, &data), &FLAGS))?;
    let urls = [collector.url()];
    let agent = starting(|| Agent::start_with(&folder, environment(of_agent, &folder), &urls, &[]))?;
    Ok((Pair::of(agent, collector, dir), faults))
}

async fn send(door: Door) -> Result<[u8; 16]> {
    let trace = spans::id();
    grpc::export(door.grpc, &spans::request([spans::heavy(trace, 20_000)])).await?.accepted()?;
    Ok(trace)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_disk_fails_a_sync_stops_and_says_so_and_nothing_acked_is_lost() -> Result<()> {
    for of_agent in [true, false] {
        let (mut pair, faults) = pair(of_agent, !of_agent)?;
        let door = if of_agent { pair.agent_door() } else { pair.collector_door() };
        let acked = send(door).await?;
        faults.set(Fault { sync_fails: true, ..Fault::default() })?;
        // Whatever it answers, it is no ack.
        let answer = grpc::export(door.grpc, &spans::request([spans::span(spans::id())])).await;
        ensure!(answer.is_err() || answer.is_ok_and(|answer| answer.accepted().is_err()), "a failed sync was acked");
        let process = if of_agent { &mut pair.agent.process } else { &mut pair.collector.process };
        let status = process.wait(SOON)?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(process.log_text().contains("Input/output error (os error 5)"), "{}", process.log_text());

        faults.set(Fault::default())?;
        if of_agent {
            pair.agent.restart()?
        } else {
            pair.collector.restart()?
        }
        pair.all_found(&[acked]).await?;
        pair.still_serves().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_cannot_write_blocks_stops_and_says_so_and_nothing_acked_is_lost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let faults = Faults::new(dir.path())?;
    let data = dir.path().join("collector");
    let environment = faults.environment(&data.join("blocks"));
    let mut collector = starting(|| Collector::start_with(&data, environment.clone(), &FLAGS))?;
    faults.set(Fault { write_fails: true, ..Fault::default() })?;
    let trace = send(collector_door(&collector)).await?;
    let status = collector.process.wait(SOON)?;
    ensure!(status.code() == Some(1), "{status}");
    let log = collector.process.log_text();
    ensure!(log.contains("cannot write a block") && log.contains("Input/output error (os error 5)"), "{log}");

    faults.set(Fault::default())?;
    collector.restart()?;
    assert_eq!(find(collector.tempo, trace, 1).await?.len(), 1);
    collector.settle()?;
    assert_eq!(find(collector.tempo, trace, 1).await?.len(), 1);
    assert_eq!(collector_door(&collector).metric("block_spans"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_takes_seconds_senders_wait_or_are_told_to_and_nothing_acked_is_lost() -> Result<()> {
    let (pair, faults) = pair(true, true)?;
    let before = send(pair.agent_door()).await?;
    pair.all_found(&[before]).await?;
    faults.set(Fault { slow_ms: 2_000, ..Fault::default() })?;
    let mut acked = vec![before];
    for door in pair.doors() {
        let senders: Vec<_> = (0..40).map(|_| tokio::spawn(sent(door))).collect();
        // The program lives, and finds what it has.
        door.ready()?;
        assert_eq!(find(pair.collector.tempo, before, 1).await?.len(), 1);
        for sender in senders {
            acked.extend(sender.await??);
        }
        door.stayed_within(256 << 20)?;
    }
    ensure!(acked.len() > 40, "only {} of 80 requests were acked", acked.len() - 1);
    faults.set(Fault::default())?;
    pair.agent.wait_sent(SOON)?;
    pair.all_found(&acked).await?;
    pair.still_serves().await
}

/// Sends a span; the trace if it was acked, none if a retry was asked for.
async fn sent(door: Door) -> Result<Option<[u8; 16]>> {
    let trace = spans::id();
    let answer = grpc::export(door.grpc, &spans::request([spans::heavy(trace, 20_000)])).await?;
    if answer.code == tonic::Code::Ok {
        return Ok(Some(trace));
    }
    answer.retryable()?;
    Ok(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_by_years_lose_nothing_on_either_side() -> Result<()> {
    const YEARS: i64 = 3 * 365 * 86_400;
    for (of_agent, of_collector) in [(true, false), (false, true)] {
        let (mut pair, faults) = pair(of_agent, of_collector)?;
        let mut traces = vec![send(pair.agent_door()).await?];
        for clock_s in [YEARS, -YEARS, 0] {
            faults.set(Fault { clock_s, ..Fault::default() })?;
            traces.push(send(pair.agent_door()).await?);
            traces.push(send(pair.collector_door()).await?);
            pair.agent.wait_sent(SOON)?;
            pair.collector.settle()?;
            pair.all_found(&traces).await?;
        }
        // Retention looks every ten seconds, and at each start.
        faults.set(Fault { clock_s: YEARS, ..Fault::default() })?;
        tokio::time::sleep(Duration::from_secs(12)).await;
        pair.all_found(&traces).await?;
        assert!(pair.collector.process.stop(SOON)? && pair.agent.process.stop(SOON)?);
        pair.collector.restart()?;
        pair.agent.restart()?;
        pair.all_found(&traces).await?;
        agent_door(&pair.agent).ready()?;
        pair.still_serves().await?;
    }
    Ok(())
}
