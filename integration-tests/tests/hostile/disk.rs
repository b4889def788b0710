//! Disks that are full, read-only or gone, and folders that are another's.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{Agent, Collector};
use tonic::Code;

use crate::support::{
    Door, Pair, SOON, agent_door, collector_door, eventually, find, grpc, http,
    mount::{Ext4, Tmpfs},
    spans, starting,
};

/// Sends until the disk is full; what was acked. Every refusal must be a retryable one.
async fn send_until_full(door: Door) -> Result<Vec<[u8; 16]>> {
    let mut acked = Vec::new();
    for _ in 0..200 {
        let trace = spans::id();
        let answer = grpc::export(door.grpc, &spans::request([spans::heavy(trace, 200_000)])).await?;
        if answer.code == Code::Ok {
            acked.push(trace);
            continue;
        }
        answer.retryable()?;
        http::export(door.http, &spans::request([spans::heavy(trace, 200_000)])).await?.retryable()?;
        return Ok(acked);
    }
    anyhow::bail!("the disk of the {} is not full after {} requests", door.name, acked.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_disk_is_full_refuses_until_there_is_space() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(disk) = Tmpfs::mount(&dir.path().join("agent"), "size=16m")? else { return Ok(()) };
    // Its collector is away: the queue grows.
    let nowhere = clew_integration_tests::free_address()?;
    let (urls, flags) = ([format!("http://{nowhere}")], ["--segment-bytes=1MiB", "--max-queue-bytes=1GiB"]);
    let mut agent = starting(|| Agent::start(&disk.0, &urls, &flags))?;
    let door = agent_door(&agent);
    let mut acked = send_until_full(door).await?;
    assert!(!acked.is_empty());
    assert!(door.metric("queue_refused_no_space_total") > 0);
    door.ready()?;

    // Killed and started on the full disk, it serves and refuses.
    agent.process.kill()?;
    agent.restart()?;
    let door = agent_door(&agent);
    grpc::export(door.grpc, &spans::request([spans::heavy(spans::id(), 2_000_000)])).await?.retryable()?;

    // A collector comes; what is sent is freed, and the agent goes on by itself.
    let collector = starting(|| Collector::start(&dir.path().join("collector"), &[]))?;
    assert!(agent.process.stop(SOON)?);
    agent.flags[0] = format!("--collector={}", collector.url());
    agent.restart()?;
    agent.wait_sent(SOON)?;
    let trace = spans::id();
    grpc::export(agent.grpc, &spans::request([spans::heavy(trace, 200_000)])).await?.accepted()?;
    acked.push(trace);
    for trace in acked {
        assert_eq!(find(collector.tempo, trace, 1).await?.len(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_fill_heals_when_they_make_room() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(agents) = Tmpfs::mount(&dir.path().join("agent"), "size=32m")? else { return Ok(()) };
    let Some(collectors) = Tmpfs::mount(&dir.path().join("collector"), "size=32m")? else { return Ok(()) };
    let flags = ["--segment-bytes=1MiB"];
    let collector = starting(|| Collector::start(&collectors.0, &flags))?;
    let agent = starting(|| Agent::start(&agents.0, &[collector.url()], &flags))?;
    let pair = Pair::of(agent, collector, dir);
    pair.still_serves().await?;

    // The collector's disk first: it refuses plain senders, and the agent keeps what it takes.
    let ballast = collectors.fill()?;
    let mut acked = send_until_full(pair.collector_door()).await?;
    let waiting = spans::id();
    for trace in [spans::id(), waiting] {
        grpc::export(pair.agent.grpc, &spans::request([spans::heavy(trace, 600_000)])).await?.accepted()?;
        acked.push(trace);
    }
    let door = pair.agent_door();
    eventually("the agent heard that the collector is busy", SOON, || door.metric("collector_busy_total") > 0).await?;
    // What waits is found all the same.
    assert_eq!(pair.find(waiting, 1).await?.len(), 1);
    std::fs::remove_file(ballast)?;
    pair.agent.wait_sent(SOON)?;
    pair.all_found(&acked).await?;
    assert!(pair.collector_door().metric("wal_refused_no_space_total") > 0);

    let ballast = agents.fill()?;
    let more = send_until_full(door).await?;
    std::fs::remove_file(ballast)?;
    pair.still_serves().await?;
    pair.all_found(&more).await
}

/// Starts what must not start; what it said.
fn refuses(start: impl FnOnce() -> Result<()>) -> Result<String> {
    match start() {
        Ok(()) => anyhow::bail!("it started"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("ended with exit status: 1"), "it did not exit with 1: {text}");
            Ok(text)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_stops_the_start_with_a_clear_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = Pair::start(&[], &[])?;
    let start_agent = |at: &Path| Agent::start(at, &[pair.collector.url()], &[]).map(drop);
    let start_collector = |at: &Path| Collector::start(at, &[]).map(drop);
    let starters: [(_, &Starter<'_>); 2] = [("agent", &start_agent), ("collector", &start_collector)];
    for (name, start) in starters {
        let Some(disk) = Tmpfs::mount(&dir.path().join(name), "size=16m,ro")? else { return Ok(()) };
        let text = refuses(|| start(&disk.0))?;
        assert!(text.contains("Read-only file system") && text.contains(&disk.0.display().to_string()), "{text}");
    }
    pair.still_serves().await
}

type Starter<'a> = dyn Fn(&Path) -> Result<()> + 'a;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_refuses_to_start_and_says_why() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let start_agent = |at: &Path| Agent::start(at, &[pair.collector.url()], &[]).map(drop);
    let start_collector = |at: &Path| Collector::start(at, &[]).map(drop);
    let starters: [(_, &Starter<'_>); 2] = [(&pair.agent.data, &start_agent), (&pair.collector.data, &start_collector)];
    for (data, start) in starters {
        // The log file is found beside the folder's name: another name for the same folder keeps them apart.
        let alias = data.with_file_name(format!("{}-again", data.file_name().context("a name")?.display()));
        std::os::unix::fs::symlink(data, &alias)?;
        let text = refuses(|| start(&alias))?;
        assert!(text.contains("is in use: another process holds its lock"), "{text}");
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_the_program_and_loses_nothing_acked() -> Result<()> {
    let mut pair = Pair::start(&["--segment-bytes=1MiB"], &["--segment-bytes=1MiB"])?;
    for (door, folder) in
        [(pair.agent_door(), pair.agent.data.join("queue")), (pair.collector_door(), pair.collector.data.join("wal"))]
    {
        let mut acked = vec![spans::id()];
        grpc::export(door.grpc, &spans::request([spans::span(acked[0])])).await?.accepted()?;
        // Gone: the next segment cannot be made.
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside)?;
        let process = if door.name == "agent" { &mut pair.agent.process } else { &mut pair.collector.process };
        for _ in 0..100 {
            let trace = spans::id();
            match grpc::export(door.grpc, &spans::request([spans::heavy(trace, 200_000)])).await {
                Ok(answer) if answer.code == Code::Ok => acked.push(trace),
                Ok(answer) => {
                    answer.retryable()?;
                    break;
                }
                Err(_) => break,
            }
        }
        let status = process.wait(SOON)?;
        assert_eq!(status.code(), Some(1), "{}", process.log_text());
        let log = process.log_text();
        let named = log.contains("disk failed") || log.contains("the WAL failed");
        assert!(named && log.contains("No such file or directory"), "{log}");
        std::fs::rename(&aside, &folder)?;
        if door.name == "agent" {
            pair.agent.restart()?;
        } else {
            pair.collector.restart()?;
        }
        pair.all_found(&acked).await?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let door = collector_door(&pair.collector);
    door.ready()?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_stops_the_program_and_loses_nothing_acked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(agents) = Ext4::mount(&dir.path().join("agent"))? else { return Ok(()) };
    let Some(collectors) = Ext4::mount(&dir.path().join("collector"))? else { return Ok(()) };
    let collector = starting(|| Collector::start(&collectors.at.join("data"), &["--segment-bytes=1MiB"]))?;
    let flags = ["--segment-bytes=1MiB"];
    let agent = starting(|| Agent::start(&agents.at.join("data"), &[collector.url()], &flags))?;
    let mut pair = Pair::of(agent, collector, dir);
    let mut acked = Vec::new();
    for (door, disk) in [(pair.collector_door(), &collectors), (pair.agent_door(), &agents)] {
        for _ in 0..5 {
            let trace = spans::id();
            grpc::export(door.grpc, &spans::request([spans::heavy(trace, 50_000)])).await?.accepted()?;
            acked.push(trace);
        }
        disk.fail()?;
        for _ in 0..100 {
            let trace = spans::id();
            match grpc::export(door.grpc, &spans::request([spans::heavy(trace, 200_000)])).await {
                Ok(answer) if answer.code == Code::Ok => acked.push(trace),
                Ok(answer) => {
                    answer.retryable()?;
                    break;
                }
                Err(_) => break,
            }
        }
        let process = if door.name == "agent" { &mut pair.agent.process } else { &mut pair.collector.process };
        assert_eq!(process.wait(SOON)?.code(), Some(1), "{}", process.log_text());
    }
    for disk in [&collectors, &agents] {
        disk.unmount()?;
        ensure!(disk.mount_again()?, "cannot mount it again");
    }
    pair.collector.restart()?;
    pair.agent.restart()?;
    pair.agent.wait_sent(SOON)?;
    pair.all_found(&acked).await?;
    pair.still_serves().await
}
