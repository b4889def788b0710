//! What the log counts about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters and gauges, read with `load(Relaxed)`. Counters start at zero with the process.
#[derive(Debug, Default)]
pub struct Stats {
    /// Gauge: segment files at their size on disk, and quarantined copies.
    pub used_bytes: AtomicU64,
    /// Gauge: the part of `used_bytes` that is quarantined copies.
    pub quarantined_bytes: AtomicU64,
    /// Gauge: segment files.
    pub segments: AtomicU64,
    /// Gauge: the lowest sequence number that may still be here.
    pub first_seq: AtomicU64,
    /// Gauge: what the next record will get; everything below is durable.
    pub next_seq: AtomicU64,
    /// Groups written and synced.
    pub synced_groups: AtomicU64,
    pub appended_records: AtomicU64,
    /// Payload bytes of those.
    pub appended_bytes: AtomicU64,
    /// Records refused because the budget was spent.
    pub refused_full: AtomicU64,
    /// Records refused because the disk was full, or no descriptor or memory was left.
    pub refused_nospace: AtomicU64,
    pub evicted_records: AtomicU64,
    /// Their weight by [`Options::weigh`](super::Options::weigh).
    pub evicted_weight: AtomicU64,
    pub freed_segments: AtomicU64,
    /// Ranges of bytes that held no valid record where one should be, each counted once.
    pub damaged_ranges: AtomicU64,
    pub damaged_bytes: AtomicU64,
    /// Damaged segments of which no copy could be kept (budget, disk full).
    pub quarantine_skipped: AtomicU64,
    /// Gauge: how long the last group's write and fdatasync took; 0 with [`Work::Inline`](super::Work::Inline).
    pub last_sync_micros: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

pub(super) fn sub(gauge: &AtomicU64, n: u64) {
    gauge.fetch_sub(n, Relaxed);
}

pub(super) fn set(gauge: &AtomicU64, n: u64) {
    gauge.store(n, Relaxed);
}
