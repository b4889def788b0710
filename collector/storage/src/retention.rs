//! Takes away blocks that are too old, or too many for their tenant.
//!
//! A block's age is that of its flush, never that of its spans: a span may say any time. The clock that ages are reckoned with
//! is not believed after a jump until it has gone on steadily for a day: until then nothing is too old, and what is flushed
//! gets the time that it would be without the jump.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use clew_common::{ids::Tenant, world::Clock};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    block::{Meta, WalRange},
    contents::{Blocks, Contents},
    owner::Owner,
    stats::{Counts, Event},
};

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Blocks older than this go; None to keep them.
    pub max_age: Option<Duration>,
    /// The oldest go while a tenant's blocks of this collector have more bytes; None to keep them.
    pub max_bytes: Option<u64>,
}

/// Believes a clock that goes steadily.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    clock: Clock,
    /// The last reading, and when it was taken.
    read: (u64, Instant),
    /// The last one that was believed.
    believed: (u64, Instant),
    /// Not before this.
    believed_from: Instant,
}

/// A clock may drift, and be set right, by so much between two looks.
const JUMP: Duration = Duration::from_secs(3600);
/// How long it has to go steadily after a jump.
const STEADY: Duration = Duration::from_secs(24 * 3600);
/// A process that was away for longer cannot tell this from a jump.
const AWAY: Duration = Duration::from_secs(7 * 24 * 3600);

impl SteadyClock {
    /// `last_known_ms` is a time that was seen before the process started, such as that of the newest block.
    pub fn start(clock: Clock, last_known_ms: Option<u64>) -> Self {
        let (now_ms, now) = (clock.unix_ms(), Instant::now());
        let away = last_known_ms.map_or(0, |known| now_ms.abs_diff(known));
        let jumped = away > AWAY.as_millis() as u64;
        if jumped {
            tracing::warn!(
                away_days = away / 86_400_000,
                "the clock is far from the newest block's time: nothing is deleted for its age for a day"
            );
        }
        let believed = last_known_ms.filter(|_| jumped).unwrap_or(now_ms);
        let believed_from = if jumped { now + STEADY } else { now };
        Self { clock, read: (now_ms, now), believed: (believed, now), believed_from }
    }

    /// The time, Unix in milliseconds, as far as it is known.
    pub fn about_ms(&mut self) -> u64 {
        self.now_ms().unwrap_or_else(|| self.believed.0 + self.believed.1.elapsed().as_millis() as u64)
    }

    /// The time, Unix in milliseconds; None while it is not believed. To be called at least every few minutes.
    pub fn now_ms(&mut self) -> Option<u64> {
        let (now_ms, now) = (self.clock.unix_ms(), Instant::now());
        let (then_ms, then) = self.read;
        let expected_ms = then_ms + (now - then).as_millis() as u64;
        if now_ms.abs_diff(expected_ms) > JUMP.as_millis() as u64 {
            tracing::warn!(now_ms, expected_ms, "the clock has jumped: nothing is deleted for its age for a day");
            self.believed_from = now + STEADY;
        }
        self.read = (now_ms, now);
        let believes = now >= self.believed_from;
        if believes {
            self.believed = self.read;
        }
        believes.then_some(now_ms)
    }
}

/// What is no longer kept.
#[derive(Debug, Default)]
pub struct Gone {
    /// Folders of blocks, to be deleted.
    pub folders: Vec<String>,
    /// What the blocks held of the WAL.
    pub records: Vec<(Tenant, WalRange)>,
}

/// Takes blocks of `owner` out of `contents` that the limits do not allow.
pub fn expire(contents: &Contents, owner: &Owner, limits: Limits, now_ms: Option<u64>, counts: &Counts) -> Gone {
    let mut gone = Gone::default();
    for (tenant, blocks) in contents.blocks() {
        let expired = expired(&blocks, owner, limits, now_ms);
        if expired.is_empty() {
            continue;
        }
        for (meta, reason) in &expired {
            counts.add(Event::ExpiredBlock, reason, 1);
            counts.add(Event::ExpiredSpan, reason, meta.spans);
            gone.records.extend(meta.wal.iter().map(|records| (tenant.clone(), records.clone())));
        }
        let ids: Vec<Uuid> = expired.iter().map(|(meta, _)| meta.id).collect();
        tracing::info!(%tenant, blocks = ids.len(), "blocks are older or larger than what is kept");
        let folders = blocks.whole.iter().filter(|block| ids.contains(&block.meta().id));
        gone.folders.extend(folders.map(|block| block.path().to_owned()));
        contents.replace(&tenant, &ids, None);
    }
    gone
}

fn expired(blocks: &Blocks, owner: &Owner, limits: Limits, now_ms: Option<u64>) -> Vec<(Arc<Meta>, &'static str)> {
    let mut ages: Vec<_> = blocks.whole.iter().map(|block| block.meta()).filter(|meta| owner.owns(meta)).collect();
    ages.sort_by_key(|meta| (meta.created_ms, meta.id));
    let mut bytes: u64 = ages.iter().map(|meta| meta.bytes()).sum();
    let oldest_ms = match (now_ms, limits.max_age) {
        (Some(now_ms), Some(max_age)) => now_ms.saturating_sub(max_age.as_millis() as u64),
        _ => 0,
    };
    let goes = |meta: &Arc<Meta>| {
        let too_many = limits.max_bytes.is_some_and(|max_bytes| bytes > max_bytes);
        bytes -= meta.bytes();
        let reason = if meta.created_ms < oldest_ms { Some("age") } else { too_many.then_some("bytes") };
        Some((meta.clone(), reason?))
    };
    ages.into_iter().map_while(goes).collect()
}
