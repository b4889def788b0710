//! One stream to one collector. `docs/protocol.md` has its rules.

use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use clew_common::{
    log::{Cursor, Entry, ReadError},
    otlp::record::{Head, SPANS},
    ranges::SeqRanges,
    shutdown::Drain,
};
use clew_proto::v1::{
    AgentMessage, Batch, Busy, CollectorMessage, Durable, Hello, Refused, SeqRange, Status, Welcome, agent_message,
    collector_message, intake_client::IntakeClient,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};
use uuid::Uuid;

use super::{Sender, asks::Asks, flight::Flight};
use crate::queue::Waiting;

/// The collector must greet within this.
const GREETING: Duration = Duration::from_secs(10);
/// How often the collector hears how much waits, while that changes.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How often progress is written down.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Records are read from disk in pieces of about this size.
const READ_BYTES: usize = 1 << 20;
/// Messages that wait for the connection. Few: each may be a megabyte.
const OUTBOX: usize = 8;
/// What is in flight may take this long to settle before the agent goes back to a preferred collector.
const LEAVING: Duration = Duration::from_secs(10);
/// A collector cannot ask for a longer pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Larger messages from a collector end the stream.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Why a stream ended in good order.
pub enum Ended {
    /// Nothing waits, and the agent is to stop.
    Drained,
    /// This collector, which is preferred, can be reached again.
    PreferredIsBack(usize),
    /// All that an earlier process left is settled: what the next one wrote goes under another name.
    LifeOver,
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The collector cannot be reached.
    #[error("cannot connect: {}", chain(.0))]
    Connect(#[from] tonic::transport::Error),
    /// It ended the stream.
    #[error("the stream ended: {} ({:?})", .0.message(), .0.code())]
    Ended(#[from] tonic::Status),
    /// It closed the stream without a word.
    #[error("the collector closed the stream")]
    Closed,
    /// It did not greet, or not as it should.
    #[error("no greeting: {0}")]
    Greeting(&'static str),
    /// The queue cannot be read or written.
    #[error("the queue: {0}")]
    Queue(String),
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

type Reading = Pin<Box<dyn Future<Output = Read> + Send>>;

/// What a reading of the queue brought.
struct Read {
    cursor: Cursor,
    entries: Result<Vec<Entry>, ReadError>,
    /// What is to be read next.
    next_seq: u64,
}

/// An open stream.
pub struct Stream<'a> {
    sender: &'a Sender,
    outbox: mpsc::Sender<AgentMessage>,
    inbox: Streaming<CollectorMessage>,
    collector: Uuid,
    /// Batches from here on have another name.
    life_end: u64,
    window_bytes: u64,
    flight: Flight,
    /// Read from disk, not yet sent.
    ready: VecDeque<Entry>,
    /// None while a reading has it.
    cursor: Option<Cursor>,
    reading: Option<Reading>,
    /// The sequence number that is to be read next.
    next_seq: u64,
    paused_until: Option<Instant>,
    last_status: Option<Waiting>,
    asks: Asks,
}

impl<'a> Stream<'a> {
    /// Connects and greets.
    ///
    /// # Errors
    /// When the collector cannot be reached or does not answer the greeting.
    #[tracing::instrument(name = "connect", skip_all, fields(collector = %endpoint.uri()))]
    pub async fn open(sender: &'a Sender, endpoint: &Endpoint) -> Result<Self, StreamError> {
        let channel = (sender.connect)(endpoint.clone()).await?;
        let mut client = IntakeClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let (life, life_end) =
            sender.queue.life().ok_or_else(|| StreamError::Queue("nobody wrote what it holds".to_owned()))?;
        let first_seq = sender.queue.first_seq();
        let agent_id = Bytes::copy_from_slice(life.id.as_bytes());
        let hello = Hello { agent_id, first_seq, ..sender.hello.clone() };
        // There is room: nothing was sent before.
        let _ = outbox.try_send(message(agent_message::Kind::Hello(hello)));
        let opening = async {
            let mut inbox = client.deliver(ReceiverStream::new(messages)).await?.into_inner();
            match inbox.message().await? {
                Some(CollectorMessage { kind: Some(collector_message::Kind::Welcome(welcome)) }) => {
                    Ok((inbox, welcome))
                }
                _ => Err(StreamError::Greeting("the collector's first message was no Welcome")),
            }
        };
        let (inbox, welcome) =
            timeout(GREETING, opening).await.map_err(|_| StreamError::Greeting("none came in 10 s"))??;
        let Welcome { collector_id, durable_upto, durable, window_bytes } = welcome;
        let collector =
            Uuid::from_slice(&collector_id).map_err(|_| StreamError::Greeting("the collector's id is not a UUID"))?;

        let queue = sender.queue.clone();
        // What it says of batches by this name says nothing of others.
        let said = said(durable_upto, &durable).within(life.first_seq..life_end);
        sender
            .world
            .work
            .run(move || {
                queue.settle_all(&said);
                queue.expose_to(collector)
            })
            .await
            .map_err(|error| StreamError::Queue(error.to_string()))?;
        let next_seq = sender.queue.first_seq();
        Ok(Self {
            asks: Asks::start(
                sender.queue.clone(),
                sender.world.clone(),
                outbox.clone(),
                sender.metrics.sender.clone(),
            ),
            outbox,
            inbox,
            collector,
            life_end,
            // One batch may always fly, however large.
            window_bytes: window_bytes.max(1),
            flight: Flight::default(),
            ready: VecDeque::new(),
            cursor: Some(sender.queue.reader().cursor(next_seq)),
            reading: None,
            next_seq,
            paused_until: None,
            last_status: None,
            sender,
        })
    }

    /// Sends and listens until the stream breaks, or a preferred collector is back, or all is sent and `drain` has begun.
    ///
    /// # Errors
    /// When the stream breaks. What was in flight is sent again on the next one.
    pub async fn run(mut self, drain: &Drain, preferred: impl Future<Output = usize>) -> Result<Ended, StreamError> {
        let mut preferred = std::pin::pin!(preferred);
        let mut leave_for = None;
        let mut committed = self.sender.queue.reader().committed();
        let mut status_ticks = interval(STATUS_EVERY);
        let mut save_ticks = interval(SAVE_EVERY);
        status_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        save_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = (*committed.borrow_and_update()).min(self.life_end);
            if leave_for.is_none() {
                self.read_on(end);
            }
            if let Some((preferred, at_last)) = leave_for
                && (self.flight.is_empty() || Instant::now() >= at_last)
            {
                return Ok(Ended::PreferredIsBack(preferred));
            }
            if self.next_seq >= self.life_end && self.ready.is_empty() && self.flight.is_empty() {
                let settled = self.sender.queue.first_seq() >= self.life_end;
                let stuck = || StreamError::Queue("a batch cannot be read and cannot be set aside".to_owned());
                return if settled { Ok(Ended::LifeOver) } else { Err(stuck()) };
            }
            if drain.is_begun() && self.next_seq >= end && self.ready.is_empty() && self.flight.is_empty() {
                return Ok(Ended::Drained);
            }
            let may_send = leave_for.is_none() && self.may_send();
            tokio::select! {
                biased;
                message = self.inbox.message() => match message?.map(|message| message.kind) {
                    Some(kind) => self.hear(kind),
                    None => return Err(StreamError::Closed),
                },
                read = finished(&mut self.reading) => self.have_read(read)?,
                permit = self.outbox.clone().reserve_owned(), if may_send => {
                    let permit = permit.map_err(|_| StreamError::Closed)?;
                    if let Some(entry) = self.ready.pop_front()
                        && let Some(batch) = batch_of(self.sender, &mut self.flight, self.collector, &entry)
                    {
                        permit.send(message(agent_message::Kind::Batch(batch)));
                    }
                }
                () = sleep_until(self.paused_until.unwrap_or_else(Instant::now)), if self.paused_until.is_some() => {
                    self.paused_until = None;
                }
                changed = committed.changed() => changed.map_err(|_| StreamError::Queue("it was closed".to_owned()))?,
                _ = status_ticks.tick() => self.report(Tick::Yes),
                _ = save_ticks.tick() => self.sender.queue.save_progress(),
                back = &mut preferred, if leave_for.is_none() => {
                    tracing::info!(collector = %self.sender.collectors[back].uri(), "a preferred collector is back");
                    leave_for = Some((back, Instant::now() + LEAVING));
                }
                () = sleep_until(leave_for.map_or_else(Instant::now, |(_, at_last)| at_last)), if leave_for.is_some() => {}
                () = drain.begun(), if !drain.is_begun() => {}
            }
            self.report(Tick::No);
        }
    }

    /// Starts to read what comes next, if there is something and there is room for it.
    fn read_on(&mut self, end: u64) {
        let room = self.ready.is_empty() && self.flight.bytes() < self.window_bytes && self.paused_until.is_none();
        if !room || self.next_seq >= end {
            return;
        }
        let Some(mut cursor) = self.cursor.take() else { return };
        let (queue, work, mut next_seq) = (self.sender.queue.clone(), self.sender.world.work, self.next_seq);
        // More than `end` may be committed by now, and be read.
        let life_end = self.life_end;
        self.reading = Some(Box::pin(work.run(move || {
            let entries = queue.reader().next(&mut cursor, READ_BYTES);
            // A jump is a gap: what was there will never be sent.
            for entry in entries.iter().flatten() {
                queue.skip(next_seq..entry.seq.min(life_end));
                next_seq = (entry.seq + 1).min(life_end);
            }
            if entries.as_ref().is_ok_and(Vec::is_empty) {
                queue.skip(next_seq..end);
                next_seq = end;
            }
            Read { cursor, entries, next_seq }
        })));
    }

    fn have_read(&mut self, read: Read) -> Result<(), StreamError> {
        self.reading = None;
        self.cursor = Some(read.cursor);
        let entries = read.entries.map_err(|error| StreamError::Queue(error.to_string()))?;
        self.next_seq = read.next_seq;
        let durable = self.sender.queue.durable();
        for entry in entries.into_iter().filter(|entry| entry.seq < self.life_end) {
            if entry.kind != SPANS {
                self.sender.queue.settle(entry.seq, entry.position.len);
            } else if !durable.contains(entry.seq) {
                self.ready.push_back(entry);
            }
        }
        Ok(())
    }

    fn may_send(&self) -> bool {
        self.paused_until.is_none()
            && self.ready.front().is_some_and(|entry| {
                self.flight.is_empty() || self.flight.bytes() + u64::from(entry.position.len) <= self.window_bytes
            })
    }

    fn hear(&mut self, kind: Option<collector_message::Kind>) {
        use collector_message::Kind;
        match kind {
            Some(Kind::Durable(Durable { upto, ranges })) => {
                let now = Instant::now();
                for (seq, sent) in self.flight.take_durable(&said(upto, &ranges)) {
                    self.sender.queue.settle(seq, sent.bytes);
                    self.sender.metrics.sender.durable_after(now - sent.at);
                }
            }
            Some(Kind::Refused(Refused { seq, reason })) => {
                if self.flight.take(seq).is_some() {
                    tracing::error!(
                        seq,
                        reason,
                        "the collector refused a batch for good; it is kept in the folder rejected/"
                    );
                    self.sender.queue.reject(seq, &reason);
                }
            }
            // One for each batch in flight: the first one tells it all.
            Some(Kind::Busy(_)) if self.paused_until.is_some() => {}
            Some(Kind::Busy(Busy { retry_after_ms, reason })) => {
                self.sender.metrics.sender.busy.inc();
                tracing::warn!(retry_after_ms, reason, "the collector is busy");
                let pause = Duration::from_millis(retry_after_ms).min(MAX_PAUSE);
                self.paused_until = Some(Instant::now() + self.sender.world.random.jitter(pause));
                self.rewind();
            }
            Some(Kind::Ask(ask)) => self.asks.ask(ask),
            // A greeting comes once; what is unknown is for newer agents.
            Some(Kind::Welcome(_)) | None => {}
        }
    }

    /// Goes back to the first batch that is not settled.
    fn rewind(&mut self) {
        self.flight.clear();
        self.ready.clear();
        self.reading = None;
        self.next_seq = self.sender.queue.first_seq();
        self.cursor = Some(self.sender.queue.reader().cursor(self.next_seq));
    }

    /// Tells the collector how much waits: at once when that becomes or ceases to be nothing, else now and then.
    fn report(&mut self, tick: Tick) {
        let queue = &self.sender.queue;
        let waiting = queue.waiting();
        let turned = self.last_status.is_none_or(|last| (last.batches == 0) != (waiting.batches == 0));
        let oldest_age_ms = match tick {
            Tick::Yes => queue.oldest_age_ms(),
            Tick::No => 0,
        };
        if tick == Tick::Yes {
            self.sender.metrics.queue.set_oldest_age_ms(oldest_age_ms);
        }
        if turned || (tick == Tick::Yes && self.last_status != Some(waiting)) {
            let status = Status {
                queue_bytes: waiting.bytes,
                queue_batches: waiting.batches,
                oldest_age_ms,
                first_seq: queue.first_seq(),
                counters: self.sender.metrics.totals(),
            };
            // When the connection is choked, the next one will say it.
            if self.outbox.try_send(message(agent_message::Kind::Status(status))).is_ok() {
                self.last_status = Some(waiting);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tick {
    Yes,
    No,
}

async fn finished(reading: &mut Option<Reading>) -> Read {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// The message for a queued record, which is then in flight. None when it is settled or unreadable.
fn batch_of(sender: &Sender, flight: &mut Flight, collector: Uuid, entry: &Entry) -> Option<Batch> {
    let (head, spans_at) = match Head::decode(&entry.payload) {
        Ok(decoded) => decoded,
        Err(error) => {
            sender.queue.reject(entry.seq, &error.to_string());
            return None;
        }
    };
    let payload = entry.payload.slice(spans_at..);
    let redelivery = sender.queue.sending(entry.seq, collector);
    flight.add(entry.seq, entry.position.len, Instant::now());
    let counts = &sender.metrics.sender;
    counts.sent_batches.inc();
    counts.sent_bytes.inc_by(payload.len() as u64);
    counts.redelivered_batches.inc_by(redelivery.into());
    Some(Batch {
        seq: entry.seq,
        tenant: head.tenant.as_field().to_owned(),
        codec: head.codec as i32,
        spans: head.spans,
        raw_bytes: head.raw_bytes,
        crc32c: crc32c::crc32c(&payload),
        payload,
        redelivery,
        origin_agent: Bytes::new(),
        origin_seq: 0,
    })
}

fn message(kind: agent_message::Kind) -> AgentMessage {
    AgentMessage { kind: Some(kind) }
}

fn said(upto: u64, ranges: &[SeqRange]) -> SeqRanges {
    let mut said = SeqRanges::below(upto);
    ranges.iter().for_each(|range| said.insert_range(range.first..range.end));
    said
}
