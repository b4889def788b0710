//! Looks a trace up in several blocks at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clew_common::{ids::TraceId, log::Work};

use super::{Block, BlockError, GoOn};
use crate::side_by_side::side_by_side;

/// The spans of a trace in some blocks, in the order of the blocks: of each that has any what [`Block::trace_while`] gives. After a no
/// some are missing. Blocking.
///
/// A trace is in more than one block until they have been merged, and each takes as long as the others: threads that live for no longer
/// share those that are not in the cache.
pub fn trace_in(blocks: &[&Block], trace: &TraceId, work: Work, go_on: GoOn<'_>) -> Vec<Result<Bytes, BlockError>> {
    let threads = match work {
        Work::Threads => blocks.iter().filter(|block| !block.cache.has_trace(block.meta.id, *trace)).count(),
        Work::Inline => 1,
    };
    let next = AtomicUsize::new(0);
    let look_up = || {
        let blocks = std::iter::from_fn(|| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            blocks.get(at).filter(|_| go_on(0)).map(|block| (at, block.trace_while(trace, go_on)))
        });
        blocks.collect::<Vec<_>>()
    };
    let mut found: Vec<_> = side_by_side(threads, "lookup", look_up).into_iter().flatten().collect();
    found.sort_unstable_by_key(|(at, _)| *at);
    found.into_iter().filter_map(|(_, found)| found.transpose()).collect()
}
