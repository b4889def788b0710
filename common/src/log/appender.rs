//! The handle by which records are appended, and the loop that gathers them into groups for the writer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::{AppendError, Failure, OpenError};
use super::shared::Shared;
use super::stats::Stats;
use super::writer::{Queued, Writer};
use super::{Appended, Record, Work};

// A group's limit bounds how long its first record waits for the last one's bytes.
const GROUP_BYTES: usize = 8 << 20;

/// A segment's records that were evicted, oldest first: (sequence number, weight).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    pub records: Vec<(u64, u64)>,
}

/// Appends records. Clones go to the same writer.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::UnboundedSender<Message>,
    shared: Arc<Shared>,
    max_record_bytes: u64,
}

enum Message {
    Append(Queued),
    FreeBefore(u64),
    Close(oneshot::Sender<()>),
}

impl Appender {
    pub(super) fn start(writer: Writer, shared: Arc<Shared>, work: Work) -> Result<Appender, OpenError> {
        let (queue, messages) = mpsc::unbounded_channel();
        let max_record_bytes = writer.max_record_bytes();
        match work {
            Work::Inline => {
                tokio::spawn(run_inline(writer, messages));
            }
            Work::Threads => {
                let thread = std::thread::Builder::new().name("clew-log".into());
                thread.spawn(move || run_on_thread(writer, messages)).map_err(|error| OpenError::Io {
                    doing: "start the writer thread of",
                    path: shared.dir.clone(),
                    error,
                })?;
            }
        }
        Ok(Appender { queue, shared, max_record_bytes })
    }

    /// Queues a record at once; the future tells when it is durable. Records become durable in the order of the calls.
    /// Dropping the future does not take the record back.
    ///
    /// The queue has no limit of its own: callers bound what they have waiting here.
    pub fn append(&self, record: Record) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        let queued = self.queue(record);
        async move {
            match queued?.await {
                Ok(outcome) => outcome,
                // The writer went away with the record: only when its runtime did, or it panicked.
                Err(_) => Err(AppendError::Closed),
            }
        }
    }

    fn queue(&self, record: Record) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let bytes = record.head.len() as u64 + record.body.len() as u64;
        if bytes > self.max_record_bytes {
            return Err(AppendError::TooLarge { bytes, max: self.max_record_bytes });
        }
        let (reply, outcome) = oneshot::channel();
        self.queue.send(Message::Append(Queued { record, reply })).map_err(|_| AppendError::Closed)?;
        Ok(outcome)
    }

    /// Deletes the segments whose every record is below `seq`, except the one being written, which goes when it is left.
    pub fn free_before(&self, seq: u64) {
        // A closed log frees nothing: the next one that opens the folder will be told again.
        let _ = self.queue.send(Message::FreeBefore(seq));
    }

    /// Makes what is queued durable, stops the writer and releases the folder's lock. Later appends get
    /// [`AppendError::Closed`]; reading goes on.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = closed.await;
        }
    }

    /// Becomes `Some` at the I/O error after which nothing more is taken: the process must stop.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<Failure>>> {
        self.shared.failed.subscribe()
    }

    /// Tells of every eviction from now on. The newest caller is told; nobody needs to be.
    pub fn evictions(&self) -> mpsc::UnboundedReceiver<Evicted> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.shared.evictions.lock() = Some(sender);
        receiver
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }
}

/// What arrived while the last group was synced.
#[derive(Default)]
struct Group {
    appends: Vec<Queued>,
    free_before: Option<u64>,
    close: Option<oneshot::Sender<()>>,
}

impl Group {
    fn gather(first: Message, messages: &mut mpsc::UnboundedReceiver<Message>) -> Group {
        let mut group = Group::default();
        let mut bytes = group.add(first);
        while bytes < GROUP_BYTES && group.close.is_none() {
            match messages.try_recv() {
                Ok(message) => bytes += group.add(message),
                Err(_) => break,
            }
        }
        group
    }

    fn add(&mut self, message: Message) -> usize {
        match message {
            Message::Append(queued) => {
                let bytes = queued.record.head.len() + queued.record.body.len();
                self.appends.push(queued);
                return bytes;
            }
            Message::FreeBefore(seq) => self.free_before = self.free_before.max(Some(seq)),
            Message::Close(done) => self.close = Some(done),
        }
        0
    }
}

fn run_on_thread(mut writer: Writer, mut messages: mpsc::UnboundedReceiver<Message>) {
    while let Some(first) = messages.blocking_recv() {
        let group = Group::gather(first, &mut messages);
        // First, because it may make room for what comes with it.
        writer.free_before(group.free_before);
        let started = std::time::Instant::now();
        if writer.write(group.appends) {
            writer.sync();
            writer.timed(started.elapsed());
        }
        if let Some(done) = group.close {
            return close(writer, messages, done);
        }
    }
}

async fn run_inline(mut writer: Writer, mut messages: mpsc::UnboundedReceiver<Message>) {
    while let Some(first) = messages.recv().await {
        let group = Group::gather(first, &mut messages);
        writer.free_before(group.free_before);
        if writer.write(group.appends) {
            // Others run between the write and the sync, as they do with threads: groups form, and crashes fall here.
            match writer.simulated_sync() {
                Duration::ZERO => tokio::task::yield_now().await,
                takes => tokio::time::sleep(takes).await,
            }
            writer.sync();
        }
        if let Some(done) = group.close {
            return close(writer, messages, done);
        }
    }
}

fn close(writer: Writer, mut messages: mpsc::UnboundedReceiver<Message>, done: oneshot::Sender<()>) {
    messages.close();
    drop(writer);
    // Nobody may be waiting any more.
    let _ = done.send(());
    while let Ok(message) = messages.try_recv() {
        match message {
            Message::Append(queued) => queued.refuse(AppendError::Closed),
            Message::Close(done) => drop(done.send(())),
            Message::FreeBefore(_) => {}
        }
    }
}
