//! The agent stream, clew.v1 Intake. `docs/protocol.md` has its rules.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    otlp::record::{BatchKey, Codec, Head},
    ranges::SeqRanges,
    shutdown::Drain,
    world::World,
};
use clew_proto::v1::{
    AgentMessage, Batch, Busy, CollectorMessage, Durable, Hello, Refused, SeqRange, Welcome, agent_message,
    collector_message, intake_server::Intake as IntakeService,
};
use clew_storage::{AppendError, Claim, Claimed, Decoded, Place, Storage};
use futures_util::Stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::{
    agents::{Agents, Connected},
    metrics::IntakeMetrics,
};

/// The agent must greet within this.
const GREETING: Duration = Duration::from_secs(10);
/// Messages that wait for the connection.
const OUTBOX: usize = 64;
/// More ranges than these are not told: they are told when they have grown together.
const MAX_RANGES: usize = 1000;
/// A batch waits this long for memory before its agent is told to wait and to send it again.
const PATIENCE: Duration = Duration::from_secs(10);
/// So seldom the log says that agents are told to wait.
const TELL_BUSY: Duration = Duration::from_secs(10);
/// An agent is told to wait this long when there is no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Names of nodes and clusters may be this long.
const MAX_NAME_BYTES: usize = 255;
const UNIT: usize = 1024;

/// Takes the spans of agents. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    /// Where they go.
    pub storage: Storage,
    /// Who is connected.
    pub agents: Agents,
    /// Names the store.
    pub collector_id: Uuid,
    /// Bytes that one agent may have in flight.
    pub window_bytes: u64,
    /// Bytes of one batch after decompression.
    pub max_batch_bytes: usize,
    /// Batches may name their tenant.
    pub multi_tenancy: bool,
    /// Memory for batches on their way to the disk, in KiB.
    pub room: Arc<Semaphore>,
    /// When the log last said that agents are told to wait. Unix time in milliseconds.
    pub told_busy_ms: Arc<AtomicU64>,
    /// Threads.
    pub world: World,
    /// What is counted.
    pub metrics: IntakeMetrics,
    /// Ends the streams.
    pub drain: Drain,
}

impl Intake {
    /// Memory for `bytes` of batches.
    pub fn room(bytes: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new((bytes / UNIT).max(1)))
    }
}

#[tonic::async_trait]
impl IntakeService for Intake {
    type DeliverStream = Pin<Box<dyn Stream<Item = Result<CollectorMessage, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let mut inbox = request.into_inner();
        let first = timeout(GREETING, inbox.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came within 10 s"))??;
        let Some(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message of a stream has to be Hello"));
        };
        let agent_id = Uuid::from_slice(&hello.agent_id)
            .map_err(|_| Status::invalid_argument(format!("agent_id has {} bytes, not 16", hello.agent_id.len())))?;
        if hello.node.len() > MAX_NAME_BYTES || hello.cluster.len() > MAX_NAME_BYTES {
            return Err(Status::invalid_argument("node or cluster has more than 255 bytes"));
        }

        let (outbox, messages) = mpsc::channel(OUTBOX);
        let (durable, news) = self.storage.agent(agent_id, hello.first_seq);
        let (durable_upto, ranges) = told(&durable);
        let welcome = Welcome {
            collector_id: self.collector_id.as_bytes().to_vec().into(),
            durable_upto,
            durable: ranges,
            window_bytes: self.window_bytes,
        };
        // There is room: nothing was sent before.
        let _ = outbox.try_send(message(collector_message::Kind::Welcome(welcome)));
        let connected = self.agents.connect(hello.node.clone(), outbox.clone());
        tracing::info!(agent = %agent_id, node = hello.node, cluster = hello.cluster, first_seq = hello.first_seq, "an agent connected");
        self.metrics.streams.inc();
        let stream = AgentStream { intake: self.clone(), agent_id, inbox, outbox, connected };
        tokio::spawn(stream.run(news));
        let messages = tokio_stream::StreamExt::map(ReceiverStream::new(messages), Ok);
        Ok(Response::new(Box::pin(messages)))
    }
}

/// One agent's stream.
struct AgentStream {
    intake: Intake,
    agent_id: Uuid,
    inbox: Streaming<AgentMessage>,
    outbox: mpsc::Sender<CollectorMessage>,
    connected: Connected,
}

impl AgentStream {
    /// Listens until either side ends the stream. Batches that are being stored then are stored all the same.
    async fn run(mut self, mut news: watch::Receiver<()>) {
        let why = loop {
            tokio::select! {
                biased;
                message = self.inbox.message() => match message {
                    Ok(Some(AgentMessage { kind })) => if let Err(why) = self.hear(kind).await { break why },
                    Ok(None) => break "the agent ended it".to_owned(),
                    Err(status) => break status.message().to_owned(),
                },
                changed = news.changed() => {
                    if changed.is_err() || self.tell_durable().await.is_err() {
                        break "nobody listens".to_owned();
                    }
                }
                () = self.intake.drain.begun() => break "the collector stops".to_owned(),
                () = self.outbox.closed() => break "nobody listens".to_owned(),
            }
        };
        self.intake.storage.leave(self.agent_id, news);
        tracing::info!(agent = %self.agent_id, node = self.connected.node, why, "an agent's stream ended");
    }

    async fn tell_durable(&self) -> Result<(), mpsc::error::SendError<CollectorMessage>> {
        let (upto, ranges) = told(&self.intake.storage.durable(self.agent_id));
        self.outbox.send(message(collector_message::Kind::Durable(Durable { upto, ranges }))).await
    }

    async fn hear(&mut self, kind: Option<agent_message::Kind>) -> Result<(), String> {
        use agent_message::Kind;
        match kind {
            Some(Kind::Batch(batch)) => self.take(batch).await?,
            Some(Kind::Status(status)) => {
                self.intake.storage.forget_below(self.agent_id, status.first_seq);
                self.connected.set_status(status);
            }
            Some(Kind::Found(found)) => self.connected.found(found),
            Some(Kind::Hello(Hello { .. })) => return Err("it greeted twice".to_owned()),
            // For newer collectors.
            None => {}
        }
        Ok(())
    }

    /// Begins to store a batch. Waits while there is no memory for it, and so holds the agent back.
    async fn take(&self, batch: Batch) -> Result<(), String> {
        let metrics = &self.intake.metrics;
        metrics.batches.inc();
        metrics.bytes.inc_by(batch.payload.len() as u64);
        let key = BatchKey { agent: self.agent_id, seq: batch.seq };
        let claimed = match self.intake.storage.claim(key) {
            Claim::New(claimed) => claimed,
            Claim::Durable => {
                metrics.repeated_batches.inc();
                return self.tell_durable().await.map_err(|_| "nobody listens".to_owned());
            }
            Claim::Pending => {
                metrics.repeated_batches.inc();
                return Ok(());
            }
        };
        if crc32c::crc32c(&batch.payload) != batch.crc32c {
            // The agent checks what it reads: this happened on the way. On a new stream it comes again.
            metrics.refused("checksum", 0);
            return Err(format!("the checksum of batch {} is wrong", batch.seq));
        }
        let (tenant, codec) = match check(&batch, self.intake.max_batch_bytes) {
            Ok(checked) => checked,
            Err(reason) => {
                metrics.refused("invalid", batch.spans);
                return self.refuse(batch.seq, reason).await;
            }
        };
        let tenant = if self.intake.multi_tenancy { tenant } else { Tenant::default() };
        if let Err(error) = self.intake.storage.admit(&tenant) {
            metrics.refused("tenants", batch.spans);
            return self.refuse(batch.seq, error.to_string()).await;
        }
        // A batch of a lie may be larger than it says to become.
        let units = batch.raw_bytes.max(batch.payload.len() as u32).div_ceil(UNIT as u32);
        let room = self.intake.room.clone().acquire_many_owned(units).await.map_err(|error| error.to_string())?;
        let storing =
            Storing { intake: self.intake.clone(), outbox: self.outbox.clone(), claimed, tenant, codec, _room: room };
        tokio::spawn(storing.run(batch));
        Ok(())
    }

    async fn refuse(&self, seq: u64, reason: String) -> Result<(), String> {
        tracing::error!(agent = %self.agent_id, seq, reason, "refused a batch for good");
        let refused = message(collector_message::Kind::Refused(Refused { seq, reason }));
        self.outbox.send(refused).await.map_err(|_| "nobody listens".to_owned())
    }
}

/// What can be said of a batch before it is opened.
fn check(batch: &Batch, max_bytes: usize) -> Result<(Tenant, Codec), String> {
    let tenant = Tenant::from_field(&batch.tenant).map_err(|error| error.to_string())?;
    let codec = Codec::try_from(batch.codec)
        .map_err(|number| format!("codec {number} is unknown; 1 (identity) and 2 (zstd) are known"))?;
    if batch.raw_bytes as usize > max_bytes || batch.payload.len() > max_bytes {
        return Err(format!(
            "the batch has {} bytes ({} compressed), the limit is {max_bytes}",
            batch.raw_bytes,
            batch.payload.len()
        ));
    }
    Ok((tenant, codec))
}

/// A batch on its way to the disk.
struct Storing {
    intake: Intake,
    outbox: mpsc::Sender<CollectorMessage>,
    claimed: Claimed,
    tenant: Tenant,
    codec: Codec,
    _room: OwnedSemaphorePermit,
}

impl Storing {
    async fn run(self, batch: Batch) {
        // When the stream has ended, the agent sends the batch again.
        if let Err(said) = self.store(batch).await {
            let _ = self.outbox.send(message(said)).await;
            return;
        }
        // The news of it goes to the agent's newest stream, whichever that is now.
        self.claimed.durable();
    }

    /// Makes a batch durable, or gives what the agent is told instead.
    async fn store(&self, batch: Batch) -> Result<(), collector_message::Kind> {
        let (codec, payload, storage) = (self.codec, batch.payload.clone(), self.intake.storage.clone());
        let (seq, spans) = (batch.seq, batch.spans);
        // Before the work: while spans become blocks there is room again every moment.
        let place = storage.room(batch.raw_bytes as usize, PATIENCE).await.map_err(|error| self.busy(seq, &error))?;
        let opening = move || storage.decode(codec, payload, batch.raw_bytes, spans);
        let decoded = self.intake.world.work.run(opening).await;
        let decoded = decoded.map_err(|error| self.refused("undecodable", seq, spans, &error))?;
        let appended = self.append(place, batch.redelivery, batch.payload, decoded).await;
        appended.map_err(|error| match error.is_final() {
            true => self.refused("too_large", seq, spans, &error),
            false => self.busy(seq, &error),
        })
    }

    async fn append(
        &self,
        place: Place,
        redelivery: bool,
        payload: Bytes,
        decoded: Decoded,
    ) -> Result<(), AppendError> {
        let spans = decoded.count;
        let head = Head {
            codec: self.codec,
            spans,
            raw_bytes: decoded.raw_bytes,
            accepted_ms: self.intake.world.clock.unix_ms(),
            tenant: self.tenant.clone(),
            batch: Some(self.claimed.key()),
            redelivery,
            hashes: Vec::new(),
            marks: Vec::new(),
        };
        self.intake.storage.append(place, head, payload, decoded).await?;
        self.intake.metrics.spans.inc_by(spans.into());
        Ok(())
    }

    fn busy(&self, seq: u64, error: &AppendError) -> collector_message::Kind {
        self.intake.metrics.busy.inc();
        // Each batch in flight comes here: the log says it now and then, the metric counts them.
        let (now_ms, told_ms) = (self.intake.world.clock.unix_ms(), &self.intake.told_busy_ms);
        let before_ms = told_ms.load(Relaxed);
        if now_ms.abs_diff(before_ms) >= TELL_BUSY.as_millis() as u64
            && told_ms.compare_exchange(before_ms, now_ms, Relaxed, Relaxed).is_ok()
        {
            tracing::warn!(agent = %self.claimed.key().agent, seq, %error, "cannot take batches now: agents keep them");
        }
        collector_message::Kind::Busy(Busy {
            retry_after_ms: RETRY_AFTER.as_millis() as u64,
            reason: error.to_string(),
        })
    }

    fn refused(&self, label: &'static str, seq: u64, spans: u32, error: &dyn Error) -> collector_message::Kind {
        self.intake.metrics.refused(label, spans);
        tracing::error!(agent = %self.claimed.key().agent, seq, %error, "refused a batch for good");
        collector_message::Kind::Refused(Refused { seq, reason: error.to_string() })
    }
}

fn told(durable: &SeqRanges) -> (u64, Vec<SeqRange>) {
    let ranges = durable.above().take(MAX_RANGES).map(|range| SeqRange { first: range.start, end: range.end });
    (durable.upto(), ranges.collect())
}

fn message(kind: collector_message::Kind) -> CollectorMessage {
    CollectorMessage { kind: Some(kind) }
}
