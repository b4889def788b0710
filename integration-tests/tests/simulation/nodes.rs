//! The programs, put together as their own `run` does, but on simulated ports.

use std::path::PathBuf;

use clew_agent::Agent;
use clew_collector::Collector;
use clew_common::{
    config::Bytes,
    log::{SimDisk, Work},
    server::{self, Limits},
    shutdown,
    world::{Clock, Random, World},
};

use crate::network::{Port, connector};

pub const AGENT_PORT: u16 = 4317;
pub const COLLECTOR_PORT: u16 = 4327;

/// 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

pub fn world(disk: &SimDisk, seed: u64) -> World {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    let epoch_ms = EPOCH_MS + elapsed.as_millis() as u64;
    World {
        disk: std::sync::Arc::new(disk.clone()),
        work: Work::Inline,
        clock: Clock::Tokio { epoch_ms, zero: tokio::time::Instant::now() },
        random: Random::seeded(seed ^ elapsed.as_nanos() as u64),
    }
}

pub async fn agent(disk: SimDisk, seed: u64, collectors: Vec<String>) -> turmoil::Result {
    let options = clew_agent::options::Options {
        data: PathBuf::from("/agent"),
        collectors,
        node: "agent".to_owned(),
        segment_bytes: Bytes(1 << 20),
        max_queue_bytes: Bytes(64 << 20),
        come_back_s: 5,
        ..Default::default()
    };
    let agent = Agent::open(options, world(&disk, seed), connector())?;
    let (_stopper, drain) = shutdown::channel();
    let port = Port::bind(AGENT_PORT).await?;
    let router = agent.otlp_router();
    tokio::spawn(server::serve(port, router, Limits::default(), server::Metrics::default(), drain.clone()));
    agent.into_sender().run(drain).await;
    Ok(())
}

pub async fn collector(disk: SimDisk, seed: u64) -> turmoil::Result {
    let options = clew_collector::options::Options {
        data: PathBuf::from("/collector"),
        segment_bytes: Bytes(1 << 20),
        max_wal_bytes: Bytes(64 << 20),
        // Small, so that lookups read the WAL too.
        max_memory_bytes: Bytes(16 << 20),
        agent_window_bytes: Bytes(4 << 10),
        ..Default::default()
    };
    let (_stopper, drain) = shutdown::channel();
    let collector = Collector::open(options, world(&disk, seed), drain.clone())?;
    let port = Port::bind(COLLECTOR_PORT).await?;
    server::serve(port, collector.grpc_router().await, Limits::default(), server::Metrics::default(), drain).await;
    Ok(())
}
