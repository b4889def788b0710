//! The queue: a segmented log of packed requests, and what is known of their whereabouts.
//!
//! - `lately`: how long what is settled stays, for the hashes of its requests
//! - `progress`: which batches are durable at a collector, and which collectors may hold the others
//! - `rejected`: the folder of batches that a collector will never take
//! - `search`: spans of one trace among those that wait

mod lately;
mod progress;
mod rejected;
mod search;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use clew_common::{
    log::{self, Appender, Log, Reader, Record, WhenFull},
    otlp::{
        pack::{Pack, RETRY_WINDOW, Store, StoreError},
        record::{Head, SPANS},
    },
    ranges::SeqRanges,
    world::World,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use self::{lately::Lately, progress::Progress, rejected::Rejected};
use crate::{metrics::QueueMetrics, options::Options};

pub use self::{
    progress::Life,
    search::{Hits, SEARCH_DEADLINE},
};

/// The agent's durable queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    appender: Appender,
    reader: Reader,
    shared: Arc<Shared>,
    world: World,
    metrics: QueueMetrics,
}

struct Shared {
    state: Mutex<State>,
    /// While the log takes no more than this, what is settled stays for as long as its requests may be sent again.
    lasting_bytes: u64,
    progress_file: PathBuf,
    rejected: Rejected,
}

struct State {
    progress: Progress,
    /// What waits: not durable anywhere that the agent knows of.
    waiting: Waiting,
    lately: Lately,
}

/// What waits in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Waiting {
    fn add(&mut self, bytes: u32) {
        self.batches += 1;
        self.bytes += u64::from(bytes);
    }

    fn remove(&mut self, bytes: u32) {
        self.batches = self.batches.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes.into());
    }
}

/// An opened queue, and what the packer must know of it.
pub struct Opened {
    /// The queue.
    pub queue: Queue,
    /// For the hashes of requests.
    pub salt: u64,
    /// Requests that were accepted lately.
    pub known: Vec<(u64, u128)>,
}

/// Why a queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log says no.
    #[error("cannot open the queue: {0}")]
    Log(#[from] log::OpenError),
    /// One of the small files beside it cannot be read or written.
    #[error("cannot open the queue's {what}: {source}")]
    File {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Queue {
    /// Opens the queue in `options.data`, or makes it.
    ///
    /// # Errors
    /// When the folder is another process's, or cannot be read or written.
    pub fn open(options: &Options, world: World, metrics: QueueMetrics) -> Result<Opened, OpenError> {
        let log = Log::open(
            world.disk.clone(),
            log::Options {
                dir: options.data.join("queue"),
                segment_bytes: options.segment_bytes.0,
                max_bytes: options.max_queue_bytes.0,
                // Compressed and with its head, a request is never much larger than raw.
                max_record_bytes: u32::try_from(options.max_request_bytes.0 + (16 << 20)).unwrap_or(u32::MAX),
                when_full: WhenFull::EvictOldest,
                weigh: Head::weigh,
            },
            world.work,
        )?;
        let file = |what| move |source| OpenError::File { what, source };
        let progress_file = options.data.join("progress");
        let next_seq = *log.reader.committed().borrow();
        let mut progress =
            Progress::load(&*world.disk, &progress_file, &world, next_seq).map_err(file("progress file"))?;
        progress.durable.insert_below(log.reader.first_seq());
        let salt = progress.salt;
        progress.save(&*world.disk, &progress_file).map_err(file("progress file"))?;
        let rejected = Rejected::open(
            world.disk.clone(),
            options.data.join("rejected"),
            options.max_rejected_bytes.0,
            metrics.clone(),
        )
        .map_err(file("rejected folder"))?;
        let queue = Self {
            appender: log.appender,
            reader: log.reader,
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    progress,
                    waiting: Waiting::default(),
                    lately: Lately::new(next_seq, Instant::now()),
                }),
                lasting_bytes: options.max_queue_bytes.0 / 2,
                progress_file,
                rejected,
            }),
            world,
            metrics,
        };
        let known = queue.take_stock();
        Ok(Opened { queue, salt, known })
    }

    /// Goes through the heads of what waits: how much it is, and which requests were accepted lately.
    fn take_stock(&self) -> Vec<(u64, u128)> {
        let recently = self.world.clock.unix_ms().saturating_sub(RETRY_WINDOW.as_millis() as u64);
        let mut known = Vec::new();
        let mut waiting = Waiting::default();
        let durable = self.durable();
        let mut scan = search::Heads::new(self.reader.clone(), self.reader.first_seq());
        while let Some((seq, head, position)) = scan.next() {
            if !durable.contains(seq) {
                waiting.add(position.len);
            }
            if head.accepted_ms >= recently {
                known.extend(head.hashes.iter().map(|hash| (head.accepted_ms, *hash)));
            }
        }
        self.shared.state.lock().waiting = waiting;
        self.metrics.set_waiting(waiting);
        known
    }

    fn count(&self, change: impl FnOnce(&mut Waiting)) {
        let mut state = self.shared.state.lock();
        change(&mut state.waiting);
        self.metrics.set_waiting(state.waiting);
    }

    /// What sends reads from here.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Which batches are durable at a collector.
    pub fn durable(&self) -> SeqRanges {
        self.shared.state.lock().progress.durable.clone()
    }

    /// The lowest batch that may still be sent.
    pub fn first_seq(&self) -> u64 {
        self.shared.state.lock().progress.durable.upto()
    }

    /// Who wrote the lowest batch that may still be sent, and where the batches of the next one begin.
    pub fn life(&self) -> Option<(Life, u64)> {
        let state = self.shared.state.lock();
        state.progress.life_of(state.progress.durable.upto())
    }

    /// What waits.
    pub fn waiting(&self) -> Waiting {
        self.shared.state.lock().waiting
    }

    /// Milliseconds since the oldest waiting batch was accepted; 0 when nothing waits. Reads from disk.
    pub fn oldest_age_ms(&self) -> u64 {
        if self.waiting().batches == 0 {
            return 0;
        }
        let oldest = search::Heads::new(self.reader.clone(), self.first_seq()).next();
        oldest.map_or(0, |(_, head, _)| self.world.clock.unix_ms().saturating_sub(head.accepted_ms))
    }

    /// Takes note that a batch of so many bytes is durable or will never be sent; frees what is not needed any more.
    pub fn settle(&self, seq: u64, bytes: u32) {
        {
            let mut state = self.shared.state.lock();
            if state.progress.durable.contains(seq) {
                return;
            }
            state.progress.durable.insert(seq);
            state.waiting.remove(bytes);
            self.metrics.set_waiting(state.waiting);
        }
        self.free();
    }

    /// Frees what is settled and will not be asked for again. Past half of its disk, or when the disk is full, the queue
    /// frees all that is settled: a retry is then only known while the process runs.
    fn free(&self) {
        let mut state = self.shared.state.lock();
        let (upto, needed) = (state.progress.durable.upto(), state.lately.first_needed(Instant::now()));
        drop(state);
        let much = self.appender.stats().used_bytes.load(Relaxed) > self.shared.lasting_bytes;
        self.appender.free_before(if much { upto } else { upto.min(needed) });
    }

    /// Takes note of what a collector says to have already. Blocking: reads the heads of what that settles.
    pub fn settle_all(&self, said: &SeqRanges) {
        let mut heads = search::Heads::new(self.reader.clone(), self.first_seq());
        let end = said.above().last().map_or(said.upto(), |range| range.end);
        while let Some((seq, _, position)) = heads.next()
            && seq < end
        {
            if said.contains(seq) {
                self.settle(seq, position.len);
            }
        }
    }

    /// Takes note that sequence numbers are missing from the log, because they were evicted or are damaged: they will
    /// never be sent. Blocking: reads the heads of what is damaged.
    pub fn skip(&self, missing: std::ops::Range<u64>) {
        if missing.is_empty() {
            return;
        }
        // A batch whose head can be read was counted as waiting, also when the rest of it is damaged.
        let mut heads = search::Heads::new(self.reader.clone(), missing.start);
        let damaged: Vec<_> = std::iter::from_fn(|| heads.next()).take_while(|(seq, ..)| *seq < missing.end).collect();
        let mut spans = 0;
        {
            let mut state = self.shared.state.lock();
            for (seq, head, position) in &damaged {
                if !state.progress.durable.contains(*seq) {
                    state.waiting.remove(position.len);
                    spans += u64::from(head.spans);
                }
            }
            state.progress.durable.insert_range(missing);
            self.metrics.set_waiting(state.waiting);
        }
        if spans > 0 {
            self.metrics.evicted_spans("damaged", spans);
            tracing::error!(spans, batches = damaged.len(), "batches in the queue are damaged and will not be sent");
        }
        self.free();
    }

    /// Takes note that batches go to this collector from now on: after a crash it may have any of them.
    ///
    /// # Errors
    /// When it cannot be written down. Nothing may be sent then.
    pub fn expose_to(&self, collector: Uuid) -> std::io::Result<()> {
        let progress = {
            let mut state = self.shared.state.lock();
            if state.progress.sent.contains_key(&collector) {
                return Ok(());
            }
            state.progress.sent.insert(collector, 0);
            state.progress.clone()
        };
        progress.save(&*self.world.disk, &self.shared.progress_file)
    }

    /// Takes note that a batch is being sent to a collector; says whether another one may have it.
    pub fn sending(&self, seq: u64, collector: Uuid) -> bool {
        let mut state = self.shared.state.lock();
        let next = state.progress.sent.entry(collector).or_default();
        *next = (*next).max(seq + 1);
        state.progress.sent.iter().any(|(other, next)| *other != collector && *next > seq)
    }

    /// Writes down what is durable, so that a restart need not ask, and frees what has become old.
    pub fn save_progress(&self) {
        self.free();
        let progress = {
            let mut state = self.shared.state.lock();
            let upto = state.progress.durable.upto();
            // A collector that was sent nothing of what waits can have none of it.
            state.progress.sent.retain(|_, next| *next > upto);
            state.progress.clone()
        };
        if let Err(error) = progress.save(&*self.world.disk, &self.shared.progress_file) {
            // It only saves work after a restart.
            tracing::debug!(%error, "cannot save the queue's progress");
        }
    }

    /// Moves a batch that will never be sent out of the queue. Blocking.
    pub fn reject(&self, seq: u64, reason: &str) {
        let mut cursor = self.reader.cursor(seq);
        match self.reader.next(&mut cursor, 1) {
            Ok(entries) => {
                if let Some(entry) = entries.first().filter(|entry| entry.seq == seq) {
                    self.shared.rejected.keep(entry, reason);
                    self.settle(seq, entry.position.len);
                }
            }
            Err(error) => tracing::error!(%error, seq, "a refused batch cannot be read; it stays in the queue"),
        }
    }

    /// Counts what was dropped to make room.
    pub fn evicted(&self, evicted: &log::Evicted) {
        let durable = self.durable();
        let lost = evicted.records.iter().filter(|(seq, _)| !durable.contains(*seq));
        let (batches, spans) = lost.fold((0u64, 0u64), |(batches, spans), (_, weight)| (batches + 1, spans + weight));
        if batches > 0 {
            self.metrics.evicted_spans("queue_full", spans);
            tracing::warn!(
                batches,
                spans,
                "the queue is full: dropped its oldest spans. More disk (max_queue_bytes) or a collector that can be reached would keep them."
            );
        }
        if let Some((last, _)) = evicted.records.last() {
            let mut state = self.shared.state.lock();
            let average = state.waiting.bytes / state.waiting.batches.max(1);
            state.waiting.batches = state.waiting.batches.saturating_sub(batches);
            state.waiting.bytes = state.waiting.bytes.saturating_sub(batches * average);
            state.progress.durable.insert_below(last + 1);
            self.metrics.set_waiting(state.waiting);
        }
    }

    /// The log's own view, for those who wait for news and for the end.
    pub fn appender(&self) -> &Appender {
        &self.appender
    }
}

impl Store for Queue {
    fn store(&self, pack: Pack) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let head = Head::of(&pack).with_marks(&pack.traces).encode();
        let bytes = (head.len() + pack.payload.len()) as u32;
        // Counted before it can be sent, so that it is never settled first.
        self.count(|waiting| waiting.add(bytes));
        let record = Record { kind: SPANS, head, body: pack.payload };
        let appended = self.appender.append(record.clone());
        let queue = self.clone();
        Box::pin(async move {
            let appended = match appended.await {
                // What is settled and was kept for its hashes makes room.
                Err(error) if error.is_retryable() => {
                    queue.appender.free_before(queue.first_seq());
                    queue.appender.append(record).await
                }
                appended => appended,
            };
            match appended {
                Ok(appended) => {
                    queue.shared.state.lock().lately.accepted(appended.seq, Instant::now());
                    Ok(())
                }
                Err(error) => {
                    queue.count(|waiting| waiting.remove(bytes));
                    Err(error.into())
                }
            }
        })
    }
}
