//! Data folders that another version wrote, and damaged ones.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{Agent, Collector, program};

use crate::support::{Pair, SOON, agent_door, collector_door, find, grpc, spans, starting};

/// Bytes of a segment's header.
const HEADER_BYTES: usize = 24;

/// An agent that was stopped with spans in its queue, because there was no collector.
struct Waiting {
    agent: Agent,
    traces: Vec<[u8; 16]>,
    dir: tempfile::TempDir,
}

impl Waiting {
    /// With so many batches, each with a span of about ten kilobytes after compression.
    async fn with(batches: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let nowhere = format!("http://{}", clew_integration_tests::free_address()?);
        let start =
            || Agent::start(&dir.path().join("agent"), std::slice::from_ref(&nowhere), &["--segment-bytes=1MiB"]);
        let mut agent = starting(start)?;
        let traces: Vec<[u8; 16]> = (0..batches).map(|_| spans::id()).collect();
        for trace in &traces {
            grpc::export(agent.grpc, &spans::request([spans::heavy(*trace, 20_000)])).await?.accepted()?;
        }
        ensure!(agent.process.stop(SOON)?, "{}", agent.process.log_text());
        Ok(Self { agent, traces, dir })
    }

    /// Starts it with a collector; checks that all but `lost` of its traces arrive, once.
    async fn delivers_all_but(&mut self, lost: usize) -> Result<()> {
        let collector = starting(|| Collector::start(&self.dir.path().join("collector"), &[]))?;
        self.agent.flags[0] = format!("--collector={}", collector.url());
        self.agent.restart()?;
        self.agent.wait_sent(SOON)?;
        let mut missing = 0;
        for trace in &self.traces {
            match crate::support::http::trace(collector.tempo, *trace, None).await? {
                None => missing += 1,
                Some(found) => ensure!(found.len() == 1, "a span is found {} times", found.len()),
            }
        }
        ensure!(missing == lost, "{missing} of {} traces are missing, not {lost}", self.traces.len());
        let trace = spans::id();
        grpc::export(self.agent.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
        ensure!(find(collector.tempo, trace, 1).await?.len() == 1);
        agent_door(&self.agent).ready()
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path)?;
                found.insert(path, bytes);
            }
        }
    }
    Ok(found)
}

fn segments(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut segments: Vec<PathBuf> =
        names.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect();
    segments.sort();
    Ok(segments)
}

/// Changes a file.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    change(&mut bytes);
    Ok(std::fs::write(path, bytes)?)
}

/// Makes a segment's header one of a version that nobody knows, in good order.
fn set_version(header: &mut [u8], version: u32) {
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..20]);
    header[20..24].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks that a start fails, names the version and what has it, and touches nothing.
fn refuses_version(folder: &Path, what: &Path, start: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = files(folder)?;
    let error = start().err().context("it started")?;
    let text = format!("{error:#}");
    ensure!(text.contains("ended with exit status: 1"), "{text}");
    let named = text.contains("is of format version 99, which this program does not know (it knows ")
        && text.contains("); nothing was changed");
    ensure!(named && text.contains(&what.display().to_string()), "{text}");
    ensure!(files(folder)? == before, "files were changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_an_unknown_version_is_refused_and_not_touched() -> Result<()> {
    let mut waiting = Waiting::with(3).await?;
    let data = waiting.agent.data.clone();
    let segment = segments(&data.join("queue"))?.pop().context("a segment")?;
    change(&segment, |bytes| set_version(&mut bytes[..HEADER_BYTES], 99))?;
    refuses_version(&data, &segment, || waiting.agent.restart())?;
    change(&segment, |bytes| set_version(&mut bytes[..HEADER_BYTES], 1))?;

    let progress = data.join("progress");
    let good = std::fs::read(&progress)?;
    std::fs::write(&progress, r#"{"version": 99, "shape": "another"}"#)?;
    refuses_version(&data, &progress, || waiting.agent.restart())?;
    std::fs::write(&progress, good)?;
    waiting.delivers_all_but(0).await
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for (path, bytes) in files(from)? {
        let copy = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(copy.parent().context("a folder")?)?;
        std::fs::write(copy, bytes)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_on_copies_of_one_folder_lose_nothing_and_send_what_both_have_once() -> Result<()> {
    let mut waiting = Waiting::with(3).await?;
    let copies = [waiting.dir.path().join("copy-1"), waiting.dir.path().join("copy-2")];
    copies.iter().try_for_each(|to| copy(&waiting.agent.data, to))?;
    waiting.delivers_all_but(0).await?;
    let collector = starting(|| Collector::start(&waiting.dir.path().join("another"), &[]))?;
    let mut traces = waiting.traces.clone();
    let mut agents = Vec::new();
    for data in &copies {
        let agent = starting(|| Agent::start(data, &[collector.url()], &["--segment-bytes=1MiB"]))?;
        // Both write under the same sequence numbers.
        for _ in 0..5 {
            let trace = spans::id();
            grpc::export(agent.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
            traces.push(trace);
        }
        agents.push(agent);
    }
    for agent in &agents {
        agent.wait_sent(SOON)?;
    }
    for trace in traces {
        assert_eq!(find(collector.tempo, trace, 1).await?.len(), 1, "{}", hex::encode(trace));
    }
    assert_eq!(collector_door(&collector).metric("agent_spans_total"), 3 + 2 * 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_file_of_version_1_is_read() -> Result<()> {
    let mut waiting = Waiting::with(3).await?;
    let version_1 = r#"{
      "version": 1,
      "queue_id": "01a207ef-f813-760a-9018-6f494788aae0",
      "salt": 1234567890123456789,
      "durable_upto": 2,
      "durable_ranges": [],
      "sent_to": ["01a207ef-fe29-7c83-a0a5-297ef3389a42"]
    }"#;
    std::fs::write(waiting.agent.data.join("progress"), version_1)?;
    // The first batch is durable somewhere, it says.
    waiting.delivers_all_but(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_unknown_version_is_refused_and_not_touched() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let trace = spans::id();
    grpc::export(pair.collector.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
    assert!(pair.collector.process.stop(SOON)?);
    let data = pair.collector.data.clone();
    let segment = segments(&data.join("wal"))?.pop().context("a segment")?;
    change(&segment, |bytes| set_version(&mut bytes[..HEADER_BYTES], 99))?;
    refuses_version(&data, &segment, || pair.collector.restart())?;
    change(&segment, |bytes| set_version(&mut bytes[..HEADER_BYTES], 1))?;

    let identity = data.join("identity");
    let good = std::fs::read(&identity)?;
    std::fs::write(&identity, r#"{"version": 99}"#)?;
    refuses_version(&data, &identity, || pair.collector.restart())?;
    std::fs::write(&identity, good)?;
    pair.collector.restart()?;
    pair.all_found(&[trace]).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_queue_costs_one_batch_and_is_counted() -> Result<()> {
    let mut waiting = Waiting::with(9).await?;
    let segment = segments(&waiting.agent.data.join("queue"))?.pop().context("a segment")?;
    // About the middle of the fifth of nine batches of the same size.
    change(&segment, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let middle = HEADER_BYTES + (end - HEADER_BYTES) / 2;
        bytes[middle] ^= 0x10;
    })?;
    waiting.delivers_all_but(1).await?;
    let door = agent_door(&waiting.agent);
    assert_eq!(door.metric("queue_damaged_ranges_total"), 1);
    assert!(door.metric("queue_damaged_bytes_total") > 5_000);
    assert_eq!(door.metric("evicted_spans_total{reason=\"damaged\"}"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_wal_costs_one_batch_and_is_counted() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let traces: Vec<[u8; 16]> = (0..9).map(|_| spans::id()).collect();
    for trace in &traces {
        grpc::export(pair.collector.grpc, &spans::request([spans::heavy(*trace, 20_000)])).await?.accepted()?;
    }
    pair.collector.process.kill()?;
    let segment = segments(&pair.collector.data.join("wal"))?.pop().context("a segment")?;
    change(&segment, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let middle = HEADER_BYTES + (end - HEADER_BYTES) / 2;
        bytes[middle] ^= 0x10;
    })?;
    pair.collector.restart()?;
    let mut missing = 0;
    for trace in &traces {
        let url = format!("http://{}/api/traces/{}", pair.collector.tempo, hex::encode(trace));
        let answer = reqwest::get(url).await?.error_for_status()?;
        assert!(answer.headers().contains_key("x-clew-partial"), "what was lost may be of any trace");
        let found: serde_json::Value = answer.json().await?;
        missing += usize::from(found["batches"].as_array().is_none_or(Vec::is_empty));
    }
    assert_eq!(missing, 1);
    let verified = Command::new(program("clew")?).arg("verify").arg("--data").arg(&pair.collector.data).output()?;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(said.contains(&format!("damaged: {}, byte ", segment.display())), "{said}");
    assert!(said.contains(" bytes are damaged: record 5 was there: it is lost if it is in no block"), "{said}");
    assert_eq!(collector_door(&pair.collector).metric("wal_damaged_ranges_total"), 1);
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_where_the_queue_s_files_should_be_is_set_aside() -> Result<()> {
    for garbage in [b"".to_vec(), vec![0; 300], rand::random::<[u8; 32]>().repeat(20), b"{\"version\": 1}".to_vec()] {
        let mut waiting = Waiting::with(3).await?;
        let data = waiting.agent.data.clone();
        std::fs::write(data.join("progress"), &garbage)?;
        // Files that are nobody's, and those that a crash leaves.
        std::fs::write(data.join("queue/notes.txt"), "keep me")?;
        std::fs::write(data.join("progress.tmp"), "half")?;
        std::fs::write(data.join("rejected/stray"), &garbage)?;
        waiting.delivers_all_but(0).await?;
        assert_eq!(std::fs::read(data.join("progress.damaged"))?, garbage);
        assert_eq!(std::fs::read(data.join("queue/notes.txt"))?, b"keep me");
        assert!(waiting.agent.process.log_text().contains("the progress file is damaged"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_garbage_cut_or_empty_do_not_stop_a_start() -> Result<()> {
    let mut waiting = Waiting::with(3).await?;
    let queue = waiting.agent.data.join("queue");
    let good = segments(&queue)?.pop().context("a segment")?;
    let base: u64 = good.file_stem().and_then(|stem| stem.to_str()).context("a name")?.parse()?;
    // Behind the good one: random bytes, a header cut short, nothing at all.
    let garbage: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
    for (after, bytes) in [(1000, &garbage[..]), (2000, &garbage[..10]), (3000, &[])] {
        std::fs::write(queue.join(format!("{:020}.seg", base + after)), bytes)?;
    }
    waiting.delivers_all_but(0).await?;
    assert!(agent_door(&waiting.agent).metric("queue_damaged_ranges_total") > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_identity_is_garbage_gets_a_new_name_and_keeps_its_spans() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let traces = [spans::id(), spans::id()];
    for (door, trace) in pair.doors().into_iter().zip(traces) {
        grpc::export(door.grpc, &spans::request([spans::span(trace)])).await?.accepted()?;
    }
    pair.agent.wait_sent(SOON)?;
    for garbage in [&b""[..], b"\xFF\xFE", b"{}"] {
        assert!(pair.collector.process.stop(SOON)?);
        std::fs::write(pair.collector.data.join("identity"), garbage)?;
        pair.collector.restart()?;
        assert_eq!(std::fs::read(pair.collector.data.join("identity.damaged"))?, garbage);
        pair.all_found(&traces).await?;
        pair.still_serves().await?;
    }
    Ok(())
}
