//! What the store takes, and what went wrong or away in it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
};

use clew_common::log;

use crate::{contents::Contents, wal::Wal};

/// What the store takes.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Bytes of spans that are in no block yet, about.
    pub memory_bytes: usize,
    /// Their batches.
    pub memory_batches: usize,
    /// Blocks that can be read, of all collectors of the store.
    pub blocks: usize,
    /// Blocks that are damaged, in part or in whole.
    pub damaged_blocks: usize,
    /// Blocks that the store does not give now.
    pub unavailable_blocks: usize,
    /// Spans in blocks.
    pub block_spans: u64,
    /// Bytes of blocks.
    pub block_bytes: u64,
    /// Bytes that the disk would have to have more of for the next merge.
    pub merge_missing_bytes: u64,
    /// The WAL.
    pub wal: Arc<log::Stats>,
    /// PUTs of a WAL that is in the store which failed, and were made again.
    pub failed_puts: u64,
}

impl Stats {
    pub(crate) fn of(contents: &Contents, wal: &Wal, merge_missing_bytes: u64) -> Self {
        let (memory_bytes, memory_batches) = contents.memory();
        let mut stats = Self {
            memory_bytes,
            memory_batches,
            blocks: 0,
            damaged_blocks: 0,
            unavailable_blocks: 0,
            block_spans: 0,
            block_bytes: 0,
            merge_missing_bytes,
            wal: wal.stats(),
            failed_puts: wal.failed_puts(),
        };
        for (_, blocks) in contents.blocks() {
            stats.blocks += blocks.whole.len();
            let unavailable = blocks.damaged.iter().filter(|(_, error)| error.is_unavailable()).count();
            stats.unavailable_blocks += unavailable;
            stats.damaged_blocks += blocks.damaged.len() - unavailable;
            stats.block_spans += blocks.whole.iter().map(|block| block.meta().spans).sum::<u64>();
            stats.block_bytes += blocks.whole.iter().map(|block| block.meta().bytes()).sum::<u64>();
        }
        stats
    }
}

/// What happens seldom, and is counted by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Records of the WAL that a replay could not use, and that are in no block.
    LeftOutRecord,
    /// Blocks that retention deletes.
    ExpiredBlock,
    /// Their spans.
    ExpiredSpan,
    /// Attempts to make a block of what is in memory that failed.
    FlushFailure,
    /// Attempts to merge blocks that failed.
    MergeFailure,
    /// Merges that had to wait.
    MergeWait,
    /// Reads of blocks that came upon damage.
    Damage,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LeftOutRecord,
        Self::ExpiredBlock,
        Self::ExpiredSpan,
        Self::FlushFailure,
        Self::MergeFailure,
        Self::MergeWait,
        Self::Damage,
    ];

    /// The reasons that there are.
    pub const fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::LeftOutRecord => &["damaged", "head", "undecodable"],
            Self::ExpiredBlock | Self::ExpiredSpan => &["age", "bytes"],
            Self::FlushFailure => &["store", "spans"],
            Self::MergeFailure => &["store", "damaged", "spans"],
            Self::MergeWait => &["disk", "memory"],
            Self::Damage => &["spans.parquet", "shapes.parquet", "resources.parquet"],
        }
    }
}

/// How often each happened. Reasons that [`Event::reasons`] does not have are not counted.
#[derive(Debug)]
pub struct Counts(BTreeMap<(Event, &'static str), AtomicU64>);

impl Default for Counts {
    fn default() -> Self {
        let all = Event::ALL.into_iter().flat_map(|event| event.reasons().iter().map(move |reason| (event, *reason)));
        Self(all.map(|key| (key, AtomicU64::new(0))).collect())
    }
}

impl Counts {
    /// So many more.
    pub fn add(&self, event: Event, reason: &str, times: u64) {
        let reason = event.reasons().iter().find(|known| **known == reason);
        if let Some(count) = reason.and_then(|reason| self.0.get(&(event, *reason))) {
            count.fetch_add(times, Relaxed);
        }
    }

    /// Takes note that a record of the WAL cannot be used.
    pub(crate) fn left_out(&self, seq: u64, reason: &'static str, error: &dyn std::error::Error) {
        self.add(Event::LeftOutRecord, reason, 1);
        tracing::error!(seq, %error, "a WAL record was left out");
    }

    /// How often so far, for any reason.
    pub fn all(&self, event: Event) -> u64 {
        event.reasons().iter().map(|reason| self.get(event, reason)).sum()
    }

    /// How often so far.
    pub fn get(&self, event: Event, reason: &'static str) -> u64 {
        self.0.get(&(event, reason)).map_or(0, |count| count.load(Relaxed))
    }
}
