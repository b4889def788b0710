//! What goes on by itself: spans become blocks, small blocks become large ones, old ones go, those of others come and go.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use clew_common::{
    log::Work,
    shutdown::Drain,
    threads::{NoThreads, Threads},
};

use crate::{
    compact::CompactError, contents::Contents, flush::FlushError, retention, stats::Event, storage::Inner, wal::Wal,
};

/// How often to look whether spans are old enough for a block, and whether there is something to merge.
const LOOK: Duration = Duration::from_secs(1);
/// How often to look for blocks that are too old, or are to be deleted.
const SWEEP: Duration = Duration::from_secs(10);
/// How often to look for what other collectors have in the store.
const REFRESH: Duration = Duration::from_secs(10);
/// The pause after something that may go better later.
const RETRY: Duration = Duration::from_secs(2);
/// Under load spans gather for so long, up to a quarter of the memory: larger blocks are merged less often.
const GATHER: Duration = Duration::from_secs(5);

/// Why the store's own work had to stop. What was acked is in the WAL.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// Spans cannot become blocks.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// There is no thread that could make blocks of them.
    #[error(transparent)]
    Threads(#[from] NoThreads),
    /// The checkpoint cannot be written.
    #[error("cannot write the checkpoint: {0}")]
    Checkpoint(std::io::Error),
}

impl MaintainError {
    /// Whether it may go better later.
    fn may_pass(&self, inner: &Inner) -> bool {
        match self {
            Self::Flush(error) => error.may_pass(&*inner.flusher.store),
            Self::Threads(_) => true,
            Self::Checkpoint(error) => {
                let is_remote = matches!(inner.wal, Wal::Objects(_)) && inner.flusher.store.is_remote();
                is_remote || error.kind() == ErrorKind::StorageFull
            }
        }
    }
}

/// Runs until `drain` begins.
///
/// # Errors
/// When the disk fails.
pub async fn run(inner: Arc<Inner>, drain: Drain) -> Result<(), MaintainError> {
    tokio::select! {
        biased;
        () = drain.begun() => Ok(()),
        error = flush(&inner) => Err(error),
        () = open(&inner, &drain) => Ok(()),
        () = compact(&inner, &drain) => Ok(()),
        () = expire(&inner) => Ok(()),
        () = refresh(&inner) => Ok(()),
    }
}

/// Makes columns of what the start has found in the WAL, before somebody has to wait for them. Not past the memory that there is for spans.
async fn open(inner: &Inner, drain: &Drain) {
    let threads = Threads::new("open", inner.world.work, 1, inner.options.merge_nice);
    let (contents, drain, max_bytes) = (inner.contents.clone(), drain.clone(), inner.options.max_memory_bytes);
    let go_on = move |contents: &Contents| !drain.is_begun() && contents.memory().0 < max_bytes;
    let opened = threads.run(move || contents.open_packed(|| go_on(&contents))).await;
    drop(threads);
    if let Err(error) = opened {
        tracing::warn!(%error, "the first queries wait for what the start has found in the WAL");
    }
    std::future::pending().await
}

async fn flush(inner: &Arc<Inner>) -> MaintainError {
    loop {
        tokio::select! {
            biased;
            () = inner.grown.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        if is_due(inner) {
            inner.contents.seal();
        }
        let work = inner.clone();
        match inner.flushing.run(move || work.flush()).await.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => {}
            Err(error) if error.may_pass(inner) => {
                tracing::warn!(%error, "spans stay in memory and in the WAL for now");
                tokio::time::sleep(inner.world.random.jitter(RETRY)).await;
            }
            Err(error) => return error,
        }
    }
}

fn is_due(inner: &Inner) -> bool {
    let active = inner.contents.active();
    let (bytes, age, options) = (active.bytes(), active.age(), &inner.options);
    let gathered = age >= GATHER || bytes >= options.max_memory_bytes / 4;
    age >= options.flush_age || bytes >= options.flush_bytes && gathered
}

/// Merges on a thread that gives way to those who take spans in, until there is too much to merge for that.
async fn compact(inner: &Arc<Inner>, drain: &Drain) {
    loop {
        let mut patience = Patience::new(inner.clone());
        if inner.compactor.has_work() {
            patience.wait().await;
        }
        let (compactor, drain, work) = (inner.compactor.clone(), drain.clone(), inner.world.work);
        let step = move || {
            compactor.step(|| {
                patience.wait_here(&drain);
                match drain.is_begun() {
                    true => Err(CompactError::Stopped),
                    false => Ok(()),
                }
            })
        };
        let merged = match inner.compactor.is_behind() {
            true => work.run(step).await,
            false => inner.merging.run(step).await.unwrap_or_else(|error| Err(error.into())),
        };
        match merged {
            Ok(true) if work == Work::Threads => {}
            Ok(_) => tokio::time::sleep(LOOK).await,
            // `run` ends with the drain.
            Err(CompactError::Stopped) => std::future::pending().await,
            Err(error) => {
                tracing::warn!(%error, "blocks are not merged for now");
                tokio::time::sleep(inner.world.random.jitter(RETRY)).await;
            }
        }
    }
}

/// Lets a merge wait while memory is full and senders are told to retry: flushing comes first. Not for ever: the more blocks there
/// are, the more memory and time each query takes.
struct Patience {
    inner: Arc<Inner>,
    left: Duration,
}

impl Patience {
    const WAIT: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(100);

    fn new(inner: Arc<Inner>) -> Self {
        Self { inner, left: Self::WAIT }
    }

    /// Before a merge.
    async fn wait(&mut self) {
        while self.has_to_wait() {
            tokio::time::sleep(Self::STEP).await;
        }
    }

    /// The same in the middle of one, on its thread.
    fn wait_here(&mut self, drain: &Drain) {
        while self.inner.world.work == Work::Threads && !drain.is_begun() && self.has_to_wait() {
            std::thread::sleep(Self::STEP);
        }
    }

    fn has_to_wait(&mut self) -> bool {
        let has_to = self.inner.has_room(*self.inner.coming_bytes.lock()).is_err() && self.left > Duration::ZERO;
        if has_to {
            if self.left == Self::WAIT {
                self.inner.counts.add(Event::MergeWait, "memory", 1);
            }
            self.left = self.left.saturating_sub(Self::STEP);
        }
        has_to
    }
}

async fn expire(inner: &Arc<Inner>) {
    loop {
        let (work, now_ms) = (inner.clone(), inner.clock.lock().now_ms());
        let sweeping = inner.world.work.run(move || {
            let (limits, counts) = (work.options.retention, &work.counts);
            let gone = retention::expire(&work.contents, &work.compactor.owner, limits, now_ms, counts);
            if !gone.folders.is_empty() {
                work.has_expired(gone.records);
            }
            work.compactor.sweeper.later(gone.folders);
            work.compactor.sweeper.sweep()
        });
        sweeping.await;
        tokio::time::sleep(SWEEP).await;
    }
}

async fn refresh(inner: &Arc<Inner>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let work = inner.clone();
        if let Err(error) = inner.world.work.run(move || work.refresher.refresh()).await {
            tracing::warn!(%error, "cannot see what other collectors have in the store now");
        }
    }
}
