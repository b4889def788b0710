//! Reads the WAL at start: what is in no block yet goes back into memory, and from there into blocks when that is full.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use clew_common::{
    backoff::Backoff,
    ids::Tenant,
    log::Work,
    otlp::record::{Head, HeadError, SPANS},
    ranges::SeqRanges,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    checkpoint::Expired,
    contents::Blocks,
    decode::Encoded,
    errors::OpenError,
    flush::FlushError,
    memtable::{Arrival, Packed},
    side_by_side::processors,
    stats::Event,
    storage::Inner,
    wal::Entry,
};

/// Records that wait for a decoder, for each of them.
const WAITING: usize = 4;

/// As columns spans take about as much as on the wire, and a batch so much more.
const BATCH_BYTES: usize = 8 << 10;

/// What the blocks of a store hold of the logs.
pub struct InBlocks {
    /// Of each tenant, since each has blocks of its own.
    pub stored: HashMap<(Tenant, Uuid), SeqRanges>,
    /// There are blocks that could not be asked.
    pub in_doubt: bool,
    /// Records below may be in blocks under another name.
    pub unsure_before: u64,
}

impl InBlocks {
    /// What blocks say, and the records of those that are no longer kept.
    pub fn of(blocks: &HashMap<Tenant, Blocks>, expired: &Expired, in_doubt: bool, unsure_before: u64) -> Self {
        let mut stored = expired.clone();
        for (tenant, blocks) in blocks {
            for wal in blocks.whole.iter().flat_map(|block| &block.meta().wal) {
                let ranges = stored.entry((tenant.clone(), wal.collector)).or_default();
                wal.ranges.iter().for_each(|(first, end)| ranges.insert_range(*first..*end));
            }
        }
        Self { stored, in_doubt, unsure_before }
    }

    /// How many of these records are in no block.
    fn lost_with(&self, records: &[(Uuid, Range<u64>)]) -> u64 {
        let of = |(log, seqs): &(Uuid, Range<u64>)| {
            let mut stored = SeqRanges::default();
            for (_, ranges) in self.stored.iter().filter(|((_, of), _)| of == log) {
                ranges.within(seqs.clone()).ranges().for_each(|range| stored.insert_range(range));
            }
            let stored: u64 = stored.ranges().map(|range| range.end - range.start).sum();
            seqs.end - seqs.start - stored
        };
        records.iter().map(of).sum()
    }
}

/// A record that has to go into memory.
struct Wanted {
    seq: u64,
    head: Head,
    spans: Bytes,
}

/// Replays the WAL; gives the number of spans that were in no block.
///
/// # Errors
/// When the WAL cannot be read, or a record is of an unknown version; when memory is full and a block cannot be written.
pub fn replay(inner: &Inner, blocks: &InBlocks, recently_ms: u64) -> Result<u64, OpenError> {
    if inner.world.work == Work::Inline {
        let mut spans = 0;
        let mut full = Ok(());
        read(inner, blocks, recently_ms, |wanted| {
            spans += publish(inner, wanted);
            full = std::mem::replace(&mut full, Ok(())).and_then(|()| make_room(inner));
        })?;
        return full.map(|()| spans);
    }
    let threads = processors();
    let (to_decoders, waiting) = mpsc::sync_channel::<Wanted>(WAITING * threads);
    // It goes with the last decoder: should all of them fail, who sends is told and does not wait for ever.
    let waiting = Arc::new(Mutex::new(waiting));
    std::thread::scope(|scope| {
        let decoders: Vec<_> = (0..threads)
            .map(|_| {
                let waiting = waiting.clone();
                scope.spawn(move || {
                    let mut spans = 0;
                    let next = || waiting.lock().recv();
                    while let Ok(wanted) = next() {
                        spans += publish(inner, wanted);
                        make_room(inner)?;
                    }
                    Ok(spans)
                })
            })
            .collect();
        drop(waiting);
        let outcome = read(inner, blocks, recently_ms, |wanted| {
            // When all decoders are gone they have failed: joining them says how.
            let _ = to_decoders.send(wanted);
        });
        drop(to_decoders);
        let spans =
            decoders.into_iter().map(|decoder| decoder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let spans = spans.sum::<Result<u64, OpenError>>();
        outcome.and(spans)
    })
}

fn read(inner: &Inner, blocks: &InBlocks, recently_ms: u64, mut want: impl FnMut(Wanted)) -> Result<(), OpenError> {
    let mut log = inner.wal.entries();
    loop {
        let entries = log.read()?;
        if entries.is_empty() {
            inner.counts.add(Event::LeftOutRecord, "damaged", blocks.lost_with(&log.lost()));
            return Ok(());
        }
        for Entry { seq, source: (log, theirs), payload, may_duplicate, .. } in
            entries.into_iter().filter(|entry| entry.kind == SPANS)
        {
            let (mut head, spans_at) = match Head::decode(&payload) {
                Ok(decoded) => decoded,
                Err(error @ HeadError::Version(_)) => return Err(OpenError::Record { seq, error }),
                Err(error) => {
                    inner.counts.left_out(seq, "head", &error);
                    continue;
                }
            };
            if let Some(batch) = head.batch {
                inner.batches.note(batch);
            }
            if head.accepted_ms >= recently_ms {
                inner.recent.extend(head.accepted_ms, &head.hashes);
            }
            // A block that cannot be read now may have it.
            head.redelivery |= may_duplicate || blocks.in_doubt || seq < blocks.unsure_before;
            if !blocks.stored.get(&(head.tenant.clone(), log)).is_some_and(|stored| stored.contains(theirs)) {
                want(Wanted { seq, head, spans: payload.slice(spans_at..) });
            }
        }
    }
}

/// Makes blocks of the oldest of what is in memory, if there is more than what a process had when it was killed: taking spans in
/// ends at `max_memory_bytes`, but for what was on its way. One thread writes while others go on to read, up to a quarter more.
/// What the blocks hold stays in the WAL until the next flush: a start after this one knows it from them.
fn make_room(inner: &Inner) -> Result<(), OpenError> {
    let max = inner.options.max_memory_bytes;
    let (full, fullest) = (max + max / 8, max + max / 4);
    let bytes = || inner.contents.memory().0;
    let Some(_one) = (if bytes() < fullest { inner.room.try_lock() } else { Some(inner.room.lock()) }) else {
        return Ok(());
    };
    if inner.contents.active().bytes() >= max / 4 {
        inner.contents.seal();
    }
    while bytes() >= full && flush_patiently(inner)? {}
    Ok(())
}

/// Flushes the oldest sealed generation, however long the store is away: there is no other place for what the WAL holds, and
/// ending the start would only begin it again.
fn flush_patiently(inner: &Inner) -> Result<bool, FlushError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        match inner.flusher.flush_oldest() {
            Err(error) if error.may_pass(&*inner.flusher.store) => {
                tracing::warn!(%error, "the start waits for the store: memory is full of what the WAL holds");
            }
            done => return done,
        }
        let pause = backoff.next(&inner.world.random);
        if inner.world.work == Work::Threads {
            std::thread::sleep(pause);
        }
    }
}

/// Has the spans of a record found. They become columns when somebody looks at them: a start does not wait for that.
fn publish(inner: &Inner, Wanted { seq, head, spans }: Wanted) -> u64 {
    // What it was cut out of is not kept for it.
    let record = Encoded::of(&head, Bytes::copy_from_slice(&spans));
    let traces = match inner.decoder.check(&record) {
        Ok(traces) => traces,
        Err(error) => {
            inner.counts.left_out(seq, "undecodable", &error);
            return 0;
        }
    };
    let (decoder, counts) = (inner.decoder.clone(), inner.counts.clone());
    let open = move || decoder.open(&record).inspect_err(|error| counts.left_out(seq, "undecodable", error)).ok();
    let packed = Packed { traces, bytes: head.raw_bytes as usize + BATCH_BYTES, open: Box::new(open) };
    inner.contents.publish(&head.tenant, seq, head.redelivery, Arrival::Packed(packed), || ());
    head.spans.into()
}
