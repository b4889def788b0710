//! Shows a log's statistics among the metrics, read when they are asked for.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::log::Stats;

/// A log's statistics, with a prefix before each name.
#[derive(Debug)]
pub struct LogMetrics {
    prefix: &'static str,
    stats: Arc<Stats>,
}

impl LogMetrics {
    /// `prefix` ends with an underscore, such as `clew_agent_queue_`.
    pub fn new(prefix: &'static str, stats: Arc<Stats>) -> Self {
        Self { prefix, stats }
    }
}

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.stats;
        for (name, help, value) in [
            ("disk_bytes", "Bytes of disk that the log takes", &stats.used_bytes),
            ("first_seq", "The lowest sequence number in the log", &stats.first_seq),
            ("next_seq", "The sequence number that the next record gets", &stats.next_seq),
            ("last_sync_micros", "How long the latest fdatasync took, in microseconds", &stats.last_sync_micros),
        ] {
            let gauge = ConstGauge::new(value.load(Relaxed) as f64);
            let name = format!("{}{name}", self.prefix);
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            gauge.encode(metric)?;
        }
        for (name, help, value) in [
            ("synced_groups", "Groups of records that were made durable with one fdatasync", &stats.synced_groups),
            ("appended_records", "Records that were made durable", &stats.appended_records),
            ("appended_bytes", "Bytes of records that were made durable", &stats.appended_bytes),
            ("refused_full", "Records refused because the disk budget was spent", &stats.refused_full),
            ("refused_no_space", "Records refused because the disk was full", &stats.refused_nospace),
            (
                "evicted_records",
                "Records dropped, oldest first, to stay within the disk budget",
                &stats.evicted_records,
            ),
            ("damaged_ranges", "Places in the log whose bytes were damaged", &stats.damaged_ranges),
            ("damaged_bytes", "Bytes of the log that were damaged", &stats.damaged_bytes),
        ] {
            let counter = ConstCounter::new(value.load(Relaxed));
            let name = format!("{}{name}", self.prefix);
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
