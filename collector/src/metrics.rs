//! What the collector counts. `docs/operations.md` explains each name.

use std::{fmt, time::Duration};

use clew_common::{
    otlp::{pack, receiver},
    server,
};
use clew_query::exec::Cache;
use clew_storage::{Event, Storage};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::agents::Agents;

mod query;

pub(crate) use query::Counted;
pub use query::{QueryKind, QueryMetrics};

/// Everything that the collector counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections of all ports.
    pub server: server::Metrics,
    /// Requests over OTLP.
    pub receiver: receiver::Metrics,
    /// Groups of them.
    pub pack: pack::Metrics,
    /// The agent streams.
    pub intake: IntakeMetrics,
    /// Lookups.
    pub lookup: LookupMetrics,
    /// Queries.
    pub query: QueryMetrics,
}

impl Metrics {
    /// Registers all, under `clew_collector_`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("clew_collector");
        Self {
            server: server::Metrics::register(registry),
            receiver: receiver::Metrics::register(registry),
            pack: pack::Metrics::register(registry),
            intake: IntakeMetrics::register(registry),
            lookup: LookupMetrics::register(registry),
            query: QueryMetrics::register(registry),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// What is counted of the agent streams.
#[derive(Clone, Debug, Default)]
pub struct IntakeMetrics {
    pub(crate) streams: Counter,
    pub(crate) batches: Counter,
    pub(crate) bytes: Counter,
    pub(crate) spans: Counter,
    pub(crate) repeated_batches: Counter,
    pub(crate) busy: Counter,
    refused_batches: Family<ByReason, Counter>,
    refused_spans: Family<ByReason, Counter>,
}

impl IntakeMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("agent_streams", "Streams that agents opened", metrics.streams.clone());
        registry.register("agent_batches", "Batches that came from agents", metrics.batches.clone());
        registry.register("agent_bytes", "Bytes of their payloads", metrics.bytes.clone());
        registry.register("agent_spans", "Spans of agents that were made durable", metrics.spans.clone());
        registry.register(
            "agent_repeated_batches",
            "Batches that came again and were not stored again",
            metrics.repeated_batches.clone(),
        );
        registry.register("agent_busy", "Batches that agents were told to send later", metrics.busy.clone());
        registry.register(
            "agent_refused_batches",
            "Batches refused for good, by reason",
            metrics.refused_batches.clone(),
        );
        registry.register(
            "agent_refused_spans",
            "Spans of such batches, as they said, by reason",
            metrics.refused_spans.clone(),
        );
        metrics
    }

    pub(crate) fn refused(&self, reason: &'static str, spans: u32) {
        self.refused_batches.get_or_create(&ByReason { reason }).inc();
        self.refused_spans.get_or_create(&ByReason { reason }).inc_by(spans.into());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// What is counted of lookups.
#[derive(Clone, Debug)]
pub struct LookupMetrics {
    lookups: Family<ByOutcome, Counter>,
    seconds: Histogram,
}

impl Default for LookupMetrics {
    fn default() -> Self {
        Self { lookups: Family::default(), seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)) }
    }
}

impl LookupMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("lookups", "Traces that were looked up, by outcome", metrics.lookups.clone());
        registry.register("lookup_seconds", "How long lookups took", metrics.seconds.clone());
        metrics
    }

    pub(crate) fn made(&self, took: Duration, found: bool, partial: bool) {
        let outcome = match (found, partial) {
            (_, true) => "partial",
            (true, false) => "found",
            (false, false) => "unknown",
        };
        self.lookups.get_or_create(&ByOutcome { outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, outcome: &'static str) {
        self.lookups.get_or_create(&ByOutcome { outcome }).inc();
    }
}

/// What can be looked at when metrics are asked for.
pub struct Gauges {
    pub(crate) storage: Storage,
    pub(crate) agents: Agents,
    pub(crate) query_cache: Cache,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stored = self.storage.stats();
        let (agents, waiting_bytes) = self.agents.totals();
        for (name, help, value) in [
            ("memtable_batches", "Batches in memory, in no block yet", stored.memory_batches as u64),
            ("memtable_bytes", "Their bytes, about", stored.memory_bytes as u64),
            ("blocks", "Blocks that can be read", stored.blocks as u64),
            ("damaged_blocks", "Blocks that cannot be read: answers are partial", stored.damaged_blocks as u64),
            (
                "unavailable_blocks",
                "Blocks that the store does not give now: answers are partial",
                stored.unavailable_blocks as u64,
            ),
            ("block_spans", "Spans in blocks", stored.block_spans),
            ("block_bytes", "Bytes of blocks", stored.block_bytes),
            (
                "merge_missing_bytes",
                "Bytes that have to become free on the disk before blocks are merged",
                stored.merge_missing_bytes,
            ),
            (
                "query_cache_bytes",
                "Bytes of columns that queries have read and that are kept",
                self.query_cache.bytes() as u64,
            ),
            ("agents_connected", "Agents that are connected", agents as u64),
            ("agents_waiting_bytes", "Bytes that wait with connected agents", waiting_bytes),
        ] {
            let name = format!("clew_collector_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as f64).encode(metric)?;
        }
        let help = "PUTs of a WAL in the store that failed, and were made again";
        let metric = encoder.encode_descriptor("clew_collector_wal_failed_puts", help, None, MetricType::Counter)?;
        ConstCounter::new(stored.failed_puts).encode(metric)?;
        for event in Event::ALL {
            let (name, help) = named(event);
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for reason in event.reasons().iter().copied() {
                let count = ConstCounter::new(self.storage.counts().get(event, reason));
                count.encode(metric.encode_family(&ByReason { reason })?)?;
            }
        }
        Ok(())
    }
}

fn named(event: Event) -> (&'static str, &'static str) {
    match event {
        Event::LeftOutRecord => {
            ("clew_collector_wal_left_out_records", "Records of the WAL that the last start could not use, by reason")
        }
        Event::ExpiredBlock => ("clew_collector_expired_blocks", "Blocks deleted by retention, by reason"),
        Event::ExpiredSpan => ("clew_collector_expired_spans", "Spans deleted by retention, by reason"),
        Event::FlushFailure => ("clew_collector_flush_failures", "Attempts to write a block that failed, by reason"),
        Event::MergeFailure => ("clew_collector_merge_failures", "Attempts to merge blocks that failed, by reason"),
        Event::MergeWait => ("clew_collector_merge_waits", "Merges that had to wait, by what they waited for"),
        Event::Damage => ("clew_collector_damage_found", "Reads of blocks that came upon damage, by file"),
    }
}
