//! The SDK's OTLP exporter, counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// How many spans the agent acked, and how many it did not.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    acked: AtomicU64,
    failed: AtomicU64,
}

impl Sent {
    /// Spans that are durable at the agent.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Spans that the SDK gave up.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Counts what `exporter` sends.
#[derive(Debug)]
pub(crate) struct Counted<E> {
    exporter: E,
    sent: Arc<Sent>,
}

impl<E> Counted<E> {
    pub(crate) fn new(exporter: E, sent: Arc<Sent>) -> Self {
        Self { exporter, sent }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        let counter = if result.is_ok() { &self.sent.acked } else { &self.sent.failed };
        counter.fetch_add(spans, Ordering::Relaxed);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
