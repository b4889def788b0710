//! What every test here uses: an agent that sends to a collector, clients that say exactly what they mean, and the check
//! that nothing was harmed.

pub mod frames;
pub mod grpc;
pub mod http;
pub mod mount;
pub mod proxy;
pub mod spans;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clew_integration_tests::{Agent, Collector, get, metric, peak_bytes};
use opentelemetry_proto::tonic::trace::v1::Span;
use tempfile::TempDir;

/// Nothing that is expected to happen takes longer than this.
pub const SOON: Duration = Duration::from_secs(20);

/// What one request may have, unless configured.
pub const MAX_REQUEST_BYTES: usize = 64 << 20;

/// An agent and the collector that it sends to.
pub struct Pair {
    pub agent: Agent,
    pub collector: Collector,
    /// Where their data is; it goes with this.
    _dir: TempDir,
}

/// Where a program takes OTLP.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// In the names of its metrics.
    pub name: &'static str,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub pid: u32,
}

/// Starts something. Between a port's choice and its use another process may take it: then once more.
pub fn starting<T>(start: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 0..3 {
        match start() {
            Err(error) if format!("{error:#}").contains("Address already in use") => {}
            started => return started,
        }
    }
    start()
}

impl Pair {
    /// Starts both, with these flags.
    pub fn start(agent_flags: &[&str], collector_flags: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let collector = starting(|| Collector::start(&dir.path().join("collector"), collector_flags))?;
        let agent = starting(|| Agent::start(&dir.path().join("agent"), &[collector.url()], agent_flags))?;
        Ok(Self::of(agent, collector, dir))
    }

    /// Two that were started, with their data in `dir`.
    pub fn of(agent: Agent, collector: Collector, dir: TempDir) -> Self {
        Self { agent, collector, _dir: dir }
    }

    /// The agent's door.
    pub fn agent_door(&self) -> Door {
        agent_door(&self.agent)
    }

    /// The collector's door.
    pub fn collector_door(&self) -> Door {
        collector_door(&self.collector)
    }

    /// Both doors.
    pub fn doors(&self) -> [Door; 2] {
        [self.agent_door(), self.collector_door()]
    }

    /// Sends good spans through every door and finds them.
    pub async fn still_serves(&self) -> Result<()> {
        for door in self.doors() {
            door.ready()?;
            let (by_grpc, by_http) = (spans::id(), spans::id());
            grpc::export(door.grpc, &spans::request([spans::span(by_grpc)])).await?.accepted()?;
            http::export(door.http, &spans::request([spans::span(by_http)])).await?.accepted()?;
            for trace in [by_grpc, by_http] {
                let found = self.find(trace, 1).await.with_context(|| format!("sent to the {}", door.name))?;
                ensure!(found.len() == 1, "a good span that was sent once is found {} times", found.len());
            }
        }
        Ok(())
    }

    /// The spans of a trace, once there are so many.
    pub async fn find(&self, trace: [u8; 16], count: usize) -> Result<Vec<Span>> {
        find(self.collector.tempo, trace, count).await
    }

    /// Checks that each of these traces is found with one span.
    pub async fn all_found(&self, traces: &[[u8; 16]]) -> Result<()> {
        for trace in traces {
            let found = self.find(*trace, 1).await?.len();
            ensure!(found == 1, "trace {} has {found} spans, not 1", hex::encode(trace));
        }
        Ok(())
    }
}

/// An agent's door.
pub fn agent_door(agent: &Agent) -> Door {
    Door { name: "agent", grpc: agent.grpc, http: agent.http, admin: agent.admin, pid: agent.process.pid() }
}

/// A collector's door.
pub fn collector_door(collector: &Collector) -> Door {
    Door {
        name: "collector",
        grpc: collector.grpc,
        http: collector.http,
        admin: collector.admin,
        pid: collector.process.pid(),
    }
}

impl Door {
    /// Checks that /ready says 200.
    pub fn ready(&self) -> Result<()> {
        let answer = get(self.admin, "/ready");
        ensure!(answer.as_ref().is_some_and(|(status, _)| *status == 200), "the {}'s /ready: {answer:?}", self.name);
        Ok(())
    }

    /// The value of one of its metrics, without its prefix `clew_agent_` or `clew_collector_`.
    pub fn metric(&self, name: &str) -> u64 {
        metric(self.admin, &format!("clew_{}_{name}", self.name)) as u64
    }

    /// How many requests it refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.metric(&format!("refused_requests_total{{reason=\"{reason}\"}}"))
    }

    /// How many spans of good requests it refused for this reason.
    pub fn refused_spans(&self, reason: &str) -> u64 {
        self.metric(&format!("refused_spans_total{{reason=\"{reason}\"}}"))
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        peak_bytes(self.pid)
    }

    /// Checks that memory never was over a limit.
    pub fn stayed_within(&self, bytes: u64) -> Result<()> {
        let peak = self.peak_bytes();
        ensure!(peak <= bytes, "the {} had {} MiB resident, not {} at most", self.name, peak >> 20, bytes >> 20);
        Ok(())
    }
}

/// The spans of a trace at a collector's Tempo port, once there are at least `count`.
pub async fn find(tempo: SocketAddr, trace: [u8; 16], count: usize) -> Result<Vec<Span>> {
    let started = Instant::now();
    loop {
        let found = http::trace(tempo, trace, None).await?.unwrap_or_default();
        if found.len() >= count {
            return Ok(found);
        }
        if started.elapsed() > SOON {
            bail!("trace {} has {} spans after {SOON:?}, not {count}", hex::encode(trace), found.len());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something holds.
pub async fn eventually(what: &str, limit: Duration, holds: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !holds() {
        ensure!(started.elapsed() < limit, "after {limit:?} it still does not hold that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Sends bytes as they are and gives what is answered until the connection is closed or nothing comes for long.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    // It may be closed before all is sent, and with a reset.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
