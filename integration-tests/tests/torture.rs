//! Load flows while things break; afterwards every acked span is found, once, with its content.
//!
//! `CLEW_TORTURE_ROUNDS=500` kills that often (default 30), `CLEW_TORTURE_AWAY_S=180` keeps the collector away that long
//! (default 15), `CLEW_TORTURE_SEED=7` makes other choices.

// What was found is a run's output.
#![allow(clippy::print_stdout)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{
    Agent, Collector, metric, peak_bytes, program,
    s3::{Faults, S3},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

const SETTLE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A corpus that is sent while things break, and what of it was acked.
struct Load {
    corpus: PathBuf,
    acked: PathBuf,
    sender: Child,
    log: PathBuf,
}

impl Load {
    /// Starts to send `seconds` of load.
    fn start(dir: &Path, endpoint: &str, seconds: u64) -> Result<Self> {
        Self::start_with(dir, endpoint, seconds, setting("CLEW_TORTURE_SEED", 1))
    }

    /// The same with spans that those of other seeds are not among.
    fn start_with(dir: &Path, endpoint: &str, seconds: u64, seed: u64) -> Result<Self> {
        const SPANS_PER_S: u64 = 4000;
        let file = |name: &str| dir.join(format!("{name}-{seed}"));
        let (corpus, acked, log) = (file("corpus"), file("acked"), file("send.log"));
        let clew = || program("clew").map(Command::new);
        let written = clew()?
            .args(["load", "write"])
            .arg(&corpus)
            .args(["--request-spans", "50", "--seed", &seed.to_string()])
            .args(["--spans", &(SPANS_PER_S * seconds).to_string()])
            .output()?;
        ensure!(written.status.success(), "cannot write a corpus: {}", text(&written));
        let sender = clew()?
            .args(["load", "send"])
            .arg(&corpus)
            .args(["--endpoint", endpoint, "--rate", &SPANS_PER_S.to_string()])
            .arg("--acked")
            .arg(&acked)
            .stdout(std::fs::File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { corpus, acked, sender, log })
    }

    fn is_running(&mut self) -> Result<bool> {
        Ok(self.sender.try_wait()?.is_none())
    }

    /// Waits until all is acked.
    fn finish(&mut self) -> Result<()> {
        let started = Instant::now();
        while self.is_running()? {
            ensure!(started.elapsed() < SETTLE, "the load does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = std::fs::read_to_string(&self.log)?;
        ensure!(self.sender.wait()?.success(), "sending failed: {said}");
        Ok(())
    }

    /// How many spans the corpus has: bytes 32 to 40 of its header.
    fn spans(&self) -> Result<u64> {
        use std::os::unix::fs::FileExt;
        let mut bytes = [0; 8];
        std::fs::File::open(&self.corpus)?.read_exact_at(&mut bytes, 32)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Checks the only collector: every span is found once, also when all are in blocks, when these have been merged, and
    /// after another start; and what is counted is what was sent, no span twice.
    fn check_settled(&self, collector: &mut Collector) -> Result<()> {
        self.check(&[collector])?;
        collector.settle()?;
        let spans = self.spans()?;
        for restarted in [false, true] {
            if restarted {
                collector.process.kill()?;
                collector.restart()?;
                collector.settle()?;
                self.check(&[collector])?;
            }
            let stored = metric(collector.admin, "clew_collector_block_spans") as u64;
            ensure!(stored == spans, "{stored} spans are in blocks, {spans} were sent; restarted: {restarted}");
        }
        println!("{spans} spans were sent, as many are in blocks");
        Ok(())
    }

    /// Looks every acked span up at these collectors together.
    fn check(&self, collectors: &[&Collector]) -> Result<()> {
        let mut check = Command::new(program("clew")?);
        check.args(["load", "check"]).arg(&self.corpus).arg("--acked").arg(&self.acked);
        for collector in collectors {
            check.args(["--collector", &collector.url()]);
        }
        let checked = check.output()?;
        println!("{}", text(&checked));
        ensure!(checked.status.success(), "spans are missing, twice or altered:\n{}", text(&checked));
        let acked = std::fs::read_to_string(&self.acked)?.lines().count();
        ensure!(acked > 100, "only {acked} requests were acked: nothing was tried");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.sender.kill();
        let _ = self.sender.wait();
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Segments of 1 MiB, so that many begin and end.
const SMALL_SEGMENTS: &str = "--segment-bytes=1MiB";

/// A collector that makes, merges and deletes blocks all the time.
const BUSY: [&str; 4] = [SMALL_SEGMENTS, "--flush-bytes=1MiB", "--flush-age-s=1", "--sweep-delay-s=2"];

/// Kills agent, collector or both, at random points while load flows. `lost` is what goes with a collector that is killed,
/// which then has to wait until it may take over.
fn kill_at_random(dir: &Path, mut collector: Collector, rounds: u64, lost: Option<&Path>) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(setting("CLEW_TORTURE_SEED", 1));
    let mut agent = Agent::start(&dir.join("agent"), &[collector.url()], &[SMALL_SEGMENTS])?;
    let mut load = Load::start(dir, &agent.grpc_url(), rounds * if lost.is_some() { 3 } else { 1 })?;
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.random_range(50..900)));
        // On a slow machine a restart takes longer than its round's load.
        if !load.is_running()? {
            ensure!(round >= rounds / 3, "the load ended too early: {}", std::fs::read_to_string(&load.log)?);
            break;
        }
        let (of_agent, of_collector) = [(true, false), (false, true), (true, true)][random.random_range(0..3)];
        if of_agent {
            agent.process.kill()?;
        }
        if of_collector {
            collector.process.kill()?;
            lost.map_or(Ok(()), std::fs::remove_dir_all)?;
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        if of_collector {
            collector.restart().with_context(|| format!("round {round}"))?;
        }
        if of_agent {
            agent.restart().with_context(|| format!("round {round}"))?;
        }
    }
    load.finish()?;
    agent.wait_sent(SETTLE)?;
    load.check_settled(&mut collector)
}

#[test]
fn kill_nine_of_agent_and_collector_at_random_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(&dir.path().join("collector"), &BUSY)?;
    kill_at_random(dir.path(), collector, setting("CLEW_TORTURE_ROUNDS", 30), None)
}

#[test]
fn kill_nine_loses_nothing_of_blocks_in_an_object_store() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let s3 = S3::start(dir.path())?;
    let collector = Collector::start_on(&dir.path().join("collector"), &s3, "torture", &BUSY)?;
    kill_at_random(dir.path(), collector, setting("CLEW_TORTURE_ROUNDS", 30) / 5, None)
}

#[test]
fn kill_nine_of_collectors_without_a_disk_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let s3 = S3::start(dir.path())?;
    let data = dir.path().join("collector");
    let flags = [&BUSY[..], &["--wal=store", "--name=torture", "--takeover-wait-s=1"]].concat();
    let collector = Collector::start_on(&data, &s3, "torture", &flags)?;
    kill_at_random(dir.path(), collector, setting("CLEW_TORTURE_ROUNDS", 30) / 5, Some(&data))
}

#[test]
fn an_object_store_that_fails_all_the_time_loses_and_doubles_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let s3 = S3::start(&dir.path().join("s3"))?;
    // A request that hangs takes 20 s: they are tried by themselves.
    s3.fail(&Faults { hangs: 0.0, list_lag_ms: 0, ..Faults::all() })?;
    let mut collector = Collector::start_on(&dir.path().join("collector"), &s3, "faults", &BUSY)?;
    let agent = Agent::start(&dir.path().join("agent"), &[collector.url()], &[SMALL_SEGMENTS])?;
    let mut load = Load::start(dir.path(), &agent.grpc_url(), setting("CLEW_TORTURE_ROUNDS", 30) / 3)?;
    load.finish()?;
    agent.wait_sent(SETTLE)?;
    load.check_settled(&mut collector)?;
    let counts = s3.counts()?;
    for fault in ["500", "503", "429", "reply_lost", "slow", "cut", "short"] {
        ensure!(counts.get(fault).is_some_and(|count| *count > 0), "{fault}: {counts:?}");
    }
    // What was merged goes, though the store fails.
    let started = Instant::now();
    loop {
        let blocks = program("clew")
            .map(Command::new)?
            .args(["blocks", "--json", "--store", &s3.place("faults")])
            .envs(s3.environment())
            .output()?;
        let said: serde_json::Value = serde_json::from_slice(&blocks.stdout)?;
        let states: Vec<_> = said["blocks"].as_array().into_iter().flatten().map(|block| &block["state"]).collect();
        let all = metric(collector.admin, "clew_collector_blocks") as usize;
        if states.len() == all && states.iter().all(|state| *state == "") {
            return Ok(());
        }
        ensure!(started.elapsed() < SETTLE, "files of merged blocks are left: {states:?}, and {all} are known");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_collector_that_is_away_for_long_gets_everything_when_it_is_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let away = setting("CLEW_TORTURE_AWAY_S", 15);
    let mut collector = Collector::start(&dir.path().join("collector"), &BUSY)?;
    let mut agent = Agent::start(&dir.path().join("agent"), &[collector.url()], &[SMALL_SEGMENTS])?;
    let mut load = Load::start(dir.path(), &agent.grpc_url(), away + 4)?;
    std::thread::sleep(Duration::from_secs(2));
    collector.process.kill()?;
    std::thread::sleep(Duration::from_secs(away / 2));
    agent.process.kill()?;
    agent.restart()?;
    std::thread::sleep(Duration::from_secs(away - away / 2));
    ensure!(agent.wait_sent(Duration::ZERO).is_err(), "nothing waited with the agent");
    collector.restart()?;
    load.finish()?;
    agent.wait_sent(SETTLE)?;
    load.check_settled(&mut collector)
}

#[test]
fn when_one_of_two_collectors_dies_the_other_takes_over_and_both_have_all_between_them() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = Collector::start(&dir.path().join("first"), &BUSY)?;
    let second = Collector::start(&dir.path().join("second"), &BUSY)?;
    let urls = [first.url(), second.url()];
    let agent = Agent::start(&dir.path().join("agent"), &urls, &[SMALL_SEGMENTS, "--come-back-s=1"])?;
    let mut load = Load::start(dir.path(), &agent.grpc_url(), 12)?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        first.process.kill()?;
        std::thread::sleep(Duration::from_secs(2));
        first.restart()?;
    }
    load.finish()?;
    agent.wait_sent(SETTLE)?;
    load.check(&[&first, &second])
}

/// A small file system of its own; unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, mib: u32) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output()?;
        ensure!(mounted.status.success(), "cannot mount a small disk (needs root): {}", text(&mounted));
        Ok(Self(path))
    }

    /// Fills what is left.
    fn fill(&self) -> Result<()> {
        let filled = Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", self.0.join("filler").display()))
            .arg("bs=64k")
            .output()?;
        ensure!(!filled.status.success(), "the disk is larger than it should be");
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_disks_are_refused_retryably_and_heal_when_they_are_freed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector_disk = SmallDisk::mount(dir.path().join("collector-disk"), 128)?;
    let agent_disk = SmallDisk::mount(dir.path().join("agent-disk"), 128)?;
    let mut collector = Collector::start(&collector_disk.0.join("data"), &BUSY)?;
    let agent = Agent::start(&agent_disk.0.join("data"), &[collector.url()], &[SMALL_SEGMENTS])?;
    let mut load = Load::start(dir.path(), &agent.grpc_url(), 16)?;
    for disk in [&collector_disk, &agent_disk, &collector_disk] {
        std::thread::sleep(Duration::from_secs(2));
        disk.fill()?;
        std::thread::sleep(Duration::from_secs(3));
        disk.free()?;
    }
    load.finish()?;
    agent.wait_sent(SETTLE)?;
    load.check_settled(&mut collector)
}

/// Queries that look at everything.
const HEAVY: [&str; 4] = [
    "/api/search?limit=1000&q=%7B.http.route%3D~%22.*a.*e.*%22%7D%3E%3E%7Bstatus%3Derror%26%26duration%3E1ms%7D",
    "/api/metrics/query_range?since=720h&step=1h&q=%7B%7D%7Cquantile_over_time(duration%2C.5%2C.99)by(name)",
    "/api/metrics/query_range?since=720h&step=1h&q=%7B%7D%7Ccompare(%7Bstatus%3Derror%7D)",
    "/api/search?limit=100&q=%7B%7D%7Cavg(duration)%3E1s%7Ccount()%3E100",
];

/// Spans come by both ways while queries come. Whoever sends is told to retry now and then at most: the loads end, and what was acked is
/// found once.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_heavy_queries_at_once_are_answered_or_refused_and_cost_no_span() -> Result<()> {
    const QUERIES: usize = 1000;
    const MEMORY: [&str; 4] =
        ["--max-memory-bytes=128MiB", "--max-intake-bytes=128MiB", "--query-cache-bytes=64MiB", "--cache-bytes=32MiB"];
    /// What these allow, and as much again as one of them for what eight queries work with.
    const MOST_BYTES: u64 = (128 + 128 + 64 + 32 + 128) << 20;
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(&dir.path().join("collector"), &MEMORY)?;
    let agent = Agent::start(&dir.path().join("agent"), &[collector.url()], &[])?;
    let seed = setting("CLEW_TORTURE_SEED", 1);
    let mut by_agent = Load::start_with(dir.path(), &agent.grpc_url(), 20, seed)?;
    std::thread::sleep(Duration::from_secs(8));
    let mut direct = Load::start_with(dir.path(), &collector.url(), 10, seed + 1)?;
    let client = reqwest::Client::new();
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..QUERIES {
        let request = client.get(format!("{}{}", collector.tempo_url(), HEAVY[number % HEAVY.len()]));
        asked.spawn(async move {
            let answer = request.send().await?;
            anyhow::Ok((answer.status().as_u16(), answer.headers().contains_key("retry-after")))
        });
    }
    let mut answered = 0;
    while let Some(answer) = asked.join_next().await {
        let (status, retry) = answer??;
        ensure!([200, 429, 504].contains(&status) && retry == (status == 429), "{status}, retry-after: {retry}");
        answered += u32::from(status == 200);
    }
    tokio::task::block_in_place(|| {
        by_agent.finish()?;
        direct.finish()?;
        agent.wait_sent(SETTLE)?;
        let most_bytes = peak_bytes(collector.process.pid());
        println!("{answered} of {QUERIES} queries were answered, the collector had {} MiB at most", most_bytes >> 20);
        ensure!(answered > 0, "no query was answered");
        ensure!(most_bytes < MOST_BYTES, "the collector took {} MiB", most_bytes >> 20);
        by_agent.check(&[&collector])?;
        direct.check(&[&collector])
    })
}
