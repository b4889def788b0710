//! What the agent counts. `docs/operations.md` explains each name.

use std::{collections::HashMap, time::Duration};

use clew_common::{
    otlp::{pack, receiver},
    server,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::queue::Waiting;

/// Everything that the agent counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections of all ports.
    pub server: server::Metrics,
    /// Requests.
    pub receiver: receiver::Metrics,
    /// Groups.
    pub pack: pack::Metrics,
    /// The queue.
    pub queue: QueueMetrics,
    /// The sender.
    pub sender: SenderMetrics,
}

impl Metrics {
    /// Registers all, under `clew_agent_`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("clew_agent");
        Self {
            server: server::Metrics::register(registry),
            receiver: receiver::Metrics::register(registry),
            pack: pack::Metrics::register(registry),
            queue: QueueMetrics::register(registry),
            sender: SenderMetrics::register(registry),
        }
    }

    /// Totals since the start, by name, for the collector's view of its agents.
    pub(crate) fn totals(&self) -> HashMap<String, u64> {
        [
            ("received_spans", self.receiver.spans()),
            ("sent_batches", self.sender.sent_batches.get()),
            ("durable_batches", self.sender.durable_batches.get()),
            ("connection_failures", self.sender.failures.get()),
            ("rejected_spans", self.queue.rejected_spans.get()),
        ]
        .map(|(name, total)| (name.to_owned(), total))
        .into()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// What is counted of the queue.
#[derive(Clone, Debug, Default)]
pub struct QueueMetrics {
    waiting_bytes: Gauge,
    waiting_batches: Gauge,
    oldest_age_ms: Gauge,
    evicted_spans: Family<ByReason, Counter>,
    rejected_spans: Counter,
}

impl QueueMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "queue_waiting_bytes",
            "Bytes that are not yet durable at a collector",
            metrics.waiting_bytes.clone(),
        );
        registry.register(
            "queue_waiting_batches",
            "Batches that are not yet durable at a collector",
            metrics.waiting_batches.clone(),
        );
        registry.register(
            "queue_oldest_age_ms",
            "Age of the oldest of them in milliseconds",
            metrics.oldest_age_ms.clone(),
        );
        registry.register("evicted_spans", "Acked spans that were dropped, by reason", metrics.evicted_spans.clone());
        registry.register(
            "rejected_spans",
            "Spans of batches that a collector refused for good; they lie in the folder rejected/",
            metrics.rejected_spans.clone(),
        );
        metrics
    }

    pub(crate) fn set_waiting(&self, waiting: Waiting) {
        self.waiting_bytes.set(waiting.bytes as i64);
        self.waiting_batches.set(waiting.batches as i64);
    }

    pub(crate) fn set_oldest_age_ms(&self, age_ms: u64) {
        self.oldest_age_ms.set(age_ms as i64);
    }

    pub(crate) fn evicted_spans(&self, reason: &'static str, spans: u64) {
        self.evicted_spans.get_or_create(&ByReason { reason }).inc_by(spans);
    }

    pub(crate) fn rejected_spans(&self, spans: u64) {
        self.rejected_spans.inc_by(spans);
    }
}

/// What is counted of the sender.
#[derive(Clone, Debug)]
pub struct SenderMetrics {
    pub(crate) connected: Gauge,
    pub(crate) connects: Counter,
    pub(crate) failures: Counter,
    pub(crate) sent_batches: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) redelivered_batches: Counter,
    pub(crate) durable_batches: Counter,
    pub(crate) busy: Counter,
    pub(crate) asked: Counter,
    durable_lag: Histogram,
}

impl Default for SenderMetrics {
    fn default() -> Self {
        Self {
            connected: Gauge::default(),
            connects: Counter::default(),
            failures: Counter::default(),
            sent_batches: Counter::default(),
            sent_bytes: Counter::default(),
            redelivered_batches: Counter::default(),
            durable_batches: Counter::default(),
            busy: Counter::default(),
            asked: Counter::default(),
            durable_lag: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        }
    }
}

impl SenderMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("connected", "1 while a collector takes the agent's batches", metrics.connected.clone());
        registry.register("connects", "Streams that were opened to collectors", metrics.connects.clone());
        registry.register("connection_failures", "Streams that could not be opened or broke", metrics.failures.clone());
        registry.register(
            "sent_batches",
            "Batches that were sent, again or for the first time",
            metrics.sent_batches.clone(),
        );
        registry.register("sent_bytes", "Bytes of their payloads", metrics.sent_bytes.clone());
        registry.register(
            "redelivered_batches",
            "Batches sent though another collector may have them",
            metrics.redelivered_batches.clone(),
        );
        registry.register(
            "durable_batches",
            "Batches that a collector said to have durably",
            metrics.durable_batches.clone(),
        );
        registry.register("collector_busy", "Times that a collector could not take batches", metrics.busy.clone());
        registry.register("asked", "Lookups that were answered from the queue", metrics.asked.clone());
        registry.register(
            "durable_lag_seconds",
            "Time from sending a batch until it was durable at the collector",
            metrics.durable_lag.clone(),
        );
        metrics
    }

    pub(crate) fn durable_after(&self, lag: Duration) {
        self.durable_batches.inc();
        self.durable_lag.observe(lag.as_secs_f64());
    }
}
