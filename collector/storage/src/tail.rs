//! Follows what becomes findable, in the order in which it does.
//!
//! A tail reads batches out of memory as they are published. What it did not read before it went into blocks, because its
//! reader was slow or away, it reads there: it knows by the WAL's numbers which blocks hold records after its cursor. A block has
//! no order of arrival, so such a block is read whole: everything comes at least once.

use std::{fmt, ops::Range, str::FromStr, sync::Arc};

use clew_common::ids::Tenant;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    block::Block,
    contents::{Blocks, Instant, Numbered},
    memtable::Table,
    snapshot::Snapshot,
    storage::Inner,
};

/// How far a tail has read: up to this record of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    log: Uuid,
    seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.log.simple(), self.seq)
    }
}

impl FromStr for Cursor {
    type Err = TailError;

    fn from_str(text: &str) -> Result<Self, TailError> {
        let parts = text
            .split_once('.')
            .and_then(|(log, seq)| Some(Self { log: Uuid::try_parse(log).ok()?, seq: seq.parse().ok()? }));
        parts.ok_or(TailError::Malformed)
    }
}

/// Why a tail cannot go on after a cursor. Both are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    /// No tail gave it.
    #[error("the cursor is none that a tail gave")]
    Malformed,
    /// Another collector's tail gave it.
    #[error("the cursor is of another collector; go on there, or start here without a cursor")]
    Foreign,
}

/// What is new.
pub struct News {
    /// The new spans, and nothing else.
    pub snapshot: Snapshot,
    /// A tail that starts after it goes on after these.
    pub cursor: Cursor,
}

/// Follows a tenant's spans.
pub struct Tail {
    inner: Arc<Inner>,
    tenant: Tenant,
    news: watch::Receiver<()>,
    cursor: Cursor,
    /// None: from the cursor on.
    read: Option<Read>,
}

/// What was read of what is in memory.
#[derive(Clone, Copy)]
struct Read {
    /// All of the generations before it.
    generation: u64,
    /// So many batches of it.
    batches: usize,
}

impl Tail {
    pub(crate) fn start(inner: Arc<Inner>, tenant: Tenant, after: Option<Cursor>) -> Result<Self, TailError> {
        let news = inner.contents.news();
        let now = now(&inner);
        let numbered = inner.contents.numbered(&tenant);
        let (cursor, read) = match after {
            Some(after) => {
                inner.wal.is_after((after.log, after.seq), (now.log, now.seq)).ok_or(TailError::Foreign)?;
                (after, None)
            }
            None => (now, Some(Read::all(&numbered))),
        };
        Ok(Self { inner, tenant, news, cursor, read })
    }

    /// Everything up to it was given.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Waits for what was not given yet. Cancel-safe: what was not given is given by the next call.
    pub async fn next(&mut self) -> News {
        loop {
            if self.read.is_some() {
                // The sender lives as long as `inner`.
                let _ = self.news.changed().await;
            }
            self.news.mark_unchanged();
            let snapshot = self.unread();
            if !snapshot.instant.tables.is_empty() || !snapshot.instant.blocks.whole.is_empty() {
                return News { snapshot, cursor: self.cursor };
            }
        }
    }

    fn unread(&mut self) -> Snapshot {
        // First: what it counts as published is among what is read.
        let cursor = now(&self.inner);
        let numbered = self.inner.contents.numbered(&self.tenant);
        let read = Read::all(&numbered);
        let Numbered { tables, generations, blocks } = numbered;
        // Generations that are no longer there may have had more.
        let before = self.read.filter(|read| generations.contains(&read.generation));
        let from = |number: u64, table: &Table| match before {
            Some(before) if number < before.generation => None,
            Some(before) if number == before.generation => Some(before.batches),
            Some(_) => Some(0),
            None => table.first_where(|seq| self.is_unread(self.inner.wal.name(seq))),
        };
        let tables = tables.into_iter().filter_map(|(number, table, len)| {
            let places: Range<usize> = from(number, &table)?..len;
            (!places.is_empty()).then_some((table, places))
        });
        let tables = tables.collect();
        let blocks = if before.is_none() { self.unread_blocks(&blocks) } else { Blocks::default() };
        (self.cursor, self.read) = (cursor, Some(read));
        self.inner.snapshot(Instant { tables, blocks: Arc::new(blocks) })
    }

    fn unread_blocks(&self, blocks: &Blocks) -> Blocks {
        let is_unread = |block: &&Arc<Block>| {
            let ends = block.meta().wal.iter().filter_map(|wal| Some((wal.collector, wal.ranges.last()?.1)));
            ends.into_iter().any(|(log, end)| self.is_unread(Some((log, end.saturating_sub(1)))))
        };
        Blocks { whole: blocks.whole.iter().filter(is_unread).cloned().collect(), damaged: blocks.damaged.clone() }
    }

    fn is_unread(&self, record: Option<(Uuid, u64)>) -> bool {
        let cursor = (self.cursor.log, self.cursor.seq);
        record.is_some_and(|record| self.inner.wal.is_after(record, cursor) == Some(true))
    }
}

impl Read {
    fn all(numbered: &Numbered) -> Self {
        let generation = *numbered.generations.end();
        let active = numbered.tables.iter().find(|(number, ..)| *number == generation);
        Self { generation, batches: active.map_or(0, |(.., len)| *len) }
    }
}

/// The last record up to which all were published.
fn now(inner: &Inner) -> Cursor {
    let published = inner.contents.published(inner.wal.committed());
    let (log, seq) = inner.wal.name(published.saturating_sub(1)).unwrap_or_default();
    Cursor { log, seq }
}
