//! Agents that speak clew.v1 badly, repeat themselves or lie.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clew_proto::v1::{
    AgentMessage, Batch, Codec, CollectorMessage, Durable, Found, Hello, Status, agent_message, collector_message,
    intake_client::IntakeClient,
};
use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::support::{Pair, SOON, collector_door, eventually, spans};

/// An agent's side of a stream.
struct Stream {
    outbox: mpsc::Sender<AgentMessage>,
    inbox: Streaming<CollectorMessage>,
}

fn message(kind: agent_message::Kind) -> AgentMessage {
    AgentMessage { kind: Some(kind) }
}

fn hello(agent: [u8; 16]) -> Hello {
    Hello { agent_id: agent.to_vec().into(), node: "hostile".to_owned(), ..Hello::default() }
}

impl Stream {
    /// Opens a stream with this first message; the status if the collector ends it.
    async fn open(url: &str, first: AgentMessage) -> Result<Self, tonic::Status> {
        let mut client =
            IntakeClient::connect(url.to_owned()).await.map_err(|error| tonic::Status::from_error(error.into()))?;
        let (outbox, messages) = mpsc::channel(16);
        // There is room.
        let _ = outbox.try_send(first);
        let mut inbox = client.deliver(ReceiverStream::new(messages)).await?.into_inner();
        match inbox.message().await? {
            Some(CollectorMessage { kind: Some(collector_message::Kind::Welcome(_)) }) => Ok(Self { outbox, inbox }),
            other => Err(tonic::Status::internal(format!("no Welcome, but {other:?}"))),
        }
    }

    /// Opens one as this agent.
    async fn greet(url: &str, agent: [u8; 16]) -> Result<Self> {
        Ok(Self::open(url, message(agent_message::Kind::Hello(hello(agent)))).await?)
    }

    async fn send(&self, kind: agent_message::Kind) -> Result<()> {
        Ok(self.outbox.send(message(kind)).await?)
    }

    /// What the collector says until something about this batch: None when it is durable, why when it is refused.
    async fn settled(&mut self, seq: u64) -> Result<Option<String>> {
        let listening = async {
            loop {
                let message = self.inbox.message().await?.context("the stream ended")?;
                match message.kind {
                    Some(collector_message::Kind::Durable(Durable { upto, ranges }))
                        if seq < upto || ranges.iter().any(|range| (range.first..range.end).contains(&seq)) =>
                    {
                        return Ok(None);
                    }
                    Some(collector_message::Kind::Refused(refused)) if refused.seq == seq => {
                        return Ok(Some(refused.reason));
                    }
                    _ => {}
                }
            }
        };
        timeout(SOON, listening).await.with_context(|| format!("nothing was said of batch {seq}"))?
    }

    /// Waits until the collector ends the stream.
    async fn ended(&mut self) -> Result<()> {
        let listening = async { while let Ok(Some(_)) = self.inbox.message().await {} };
        timeout(SOON, listening).await.context("the stream is still open")
    }
}

/// A batch in good order.
fn batch(seq: u64, spans: &[[u8; 16]]) -> Batch {
    let raw = spans::request(spans.iter().map(|trace| spans::span(*trace))).encode_to_vec();
    let payload = Bytes::from(zstd::bulk::compress(&raw, 1).unwrap_or_default());
    Batch {
        seq,
        codec: Codec::Zstd as i32,
        spans: spans.len() as u32,
        raw_bytes: raw.len() as u32,
        crc32c: crc32c::crc32c(&payload),
        payload,
        ..Batch::default()
    }
}

/// A batch of these bytes as they are, which says to have one span.
fn plain(payload: Bytes) -> Batch {
    let (crc32c, raw_bytes) = (crc32c::crc32c(&payload), payload.len() as u32);
    Batch { codec: Codec::Identity as i32, spans: 1, raw_bytes, crc32c, payload, ..Batch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_come_twice_late_or_out_of_order_are_stored_once() -> Result<()> {
    let mut pair = Pair::start(&[], &[])?;
    let (url, agent) = (pair.collector.url(), rand::random());
    let traces: Vec<[u8; 16]> = (0..6).map(|_| spans::id()).collect();
    let made: Vec<Batch> = traces.iter().zip(1..).map(|(trace, seq)| batch(seq, &[*trace])).collect();
    let mut stream = Stream::greet(&url, agent).await?;
    for number in [5, 2, 2, 0, 5, 1] {
        stream.send(agent_message::Kind::Batch(made[number].clone())).await?;
        assert_eq!(stream.settled(made[number].seq).await?, None);
    }
    // On a second stream beside the first, and after the collector was killed.
    let mut second = Stream::greet(&url, agent).await?;
    for number in [0, 3, 3, 2] {
        second.send(agent_message::Kind::Batch(made[number].clone())).await?;
        assert_eq!(second.settled(made[number].seq).await?, None);
    }
    assert_eq!(collector_door(&pair.collector).metric("agent_spans_total"), 5);
    pair.collector.process.kill()?;
    pair.collector.restart()?;
    let mut third = Stream::greet(&url, agent).await?;
    for made in &made {
        third.send(agent_message::Kind::Batch(made.clone())).await?;
        assert_eq!(third.settled(made.seq).await?, None);
    }
    assert_eq!(collector_door(&pair.collector).metric("agent_spans_total"), 1);
    assert_eq!(collector_door(&pair.collector).metric("agent_repeated_batches_total"), 5);
    pair.all_found(&traces).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_what_it_says_is_refused_for_good() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let mut stream = Stream::greet(&pair.collector.url(), rand::random()).await?;
    let good = batch(1, &[spans::id()]);
    let zeros = Bytes::from(zstd::bulk::compress(&vec![0; 1 << 30], 1)?);
    let zeros_crc = crc32c::crc32c(&zeros);
    let mut deep = spans::span(spans::id());
    deep.trace_id.truncate(7);
    let bad = Bytes::from(spans::request([deep]).encode_to_vec());
    let lies = [
        ("tenant", Batch { tenant: "../x".to_owned(), ..good.clone() }),
        ("codec", Batch { codec: 99, ..good.clone() }),
        ("spans", Batch { spans: 2, ..good.clone() }),
        ("bytes", Batch { raw_bytes: 10, ..good.clone() }),
        ("limit", Batch { raw_bytes: u32::MAX, ..good.clone() }),
        // A bomb, which says what it is or does not.
        ("limit", Batch { raw_bytes: 1 << 30, payload: zeros.clone(), crc32c: zeros_crc, ..good.clone() }),
        ("bytes", Batch { raw_bytes: 1000, payload: zeros, crc32c: zeros_crc, ..good.clone() }),
        ("OTLP", plain(bad.slice(..bad.len() - 1))),
        ("trace_id", plain(bad)),
    ];
    let count = lies.len() as u64;
    for (seq, (about, lie)) in (1..).zip(lies) {
        stream.send(agent_message::Kind::Batch(Batch { seq, ..lie })).await?;
        let why = stream.settled(seq).await?.with_context(|| format!("the lie about {about} was taken"))?;
        ensure!(why.contains(about), "refused, but not for its {about}: {why}");
    }
    let trace = spans::id();
    stream.send(agent_message::Kind::Batch(batch(100, &[trace]))).await?;
    assert_eq!(stream.settled(100).await?, None);
    let door = pair.collector_door();
    let refused = |reason: &str| door.metric(&format!("agent_refused_batches_total{{reason=\"{reason}\"}}"));
    assert_eq!(refused("invalid") + refused("undecodable"), count);
    door.stayed_within(128 << 20)?;
    pair.all_found(&[trace]).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_changed_on_the_way_ends_the_stream_and_may_come_again() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let (url, agent, trace) = (pair.collector.url(), rand::random(), spans::id());
    let good = batch(1, &[trace]);
    let mut stream = Stream::greet(&url, agent).await?;
    stream.send(agent_message::Kind::Batch(Batch { crc32c: good.crc32c ^ 1, ..good.clone() })).await?;
    stream.ended().await?;
    let mut stream = Stream::greet(&url, agent).await?;
    stream.send(agent_message::Kind::Batch(good)).await?;
    assert_eq!(stream.settled(1).await?, None);
    assert_eq!(pair.collector_door().metric("agent_refused_batches_total{reason=\"checksum\"}"), 1);
    pair.all_found(&[trace]).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_or_goes_on_wrongly_is_ended() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let (url, agent) = (pair.collector.url(), rand::random());
    let wrong = [
        agent_message::Kind::Batch(batch(1, &[spans::id()])),
        agent_message::Kind::Status(Status::default()),
        agent_message::Kind::Found(Found::default()),
        agent_message::Kind::Hello(Hello { agent_id: vec![1; 15].into(), ..hello(agent) }),
        agent_message::Kind::Hello(Hello { node: "n".repeat(256), ..hello(agent) }),
    ];
    for first in wrong {
        let status = Stream::open(&url, message(first)).await.err().context("it was welcomed")?;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let status = Stream::open(&url, AgentMessage { kind: None }).await.err().context("it was welcomed")?;
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut twice = Stream::greet(&url, agent).await?;
    twice.send(agent_message::Kind::Hello(hello(agent))).await?;
    twice.ended().await?;
    // Answers that nobody asked for, and nonsense in numbers.
    let mut odd = Stream::greet(&url, agent).await?;
    for ask_id in [0, 1, u64::MAX] {
        let found = Found { ask_id, payload: vec![0xFF; 100_000].into(), last: ask_id == 1, partial: false };
        odd.send(agent_message::Kind::Found(found)).await?;
    }
    let boast = Status { queue_bytes: u64::MAX, queue_batches: 1, oldest_age_ms: u64::MAX, ..Status::default() };
    odd.send(agent_message::Kind::Status(boast)).await?;
    let trace = spans::id();
    odd.send(agent_message::Kind::Batch(batch(u64::MAX - 1, &[trace]))).await?;
    assert_eq!(odd.settled(u64::MAX - 1).await?, None);
    // It says that spans wait with it, and does not answer: lookups are made without it, and say so.
    pair.all_found(&[trace]).await?;
    let partial = || pair.collector_door().metric("lookups_total{outcome=\"partial\"}") > 0;
    eventually("an answer was marked partial", SOON, partial).await?;
    drop(odd);
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_to_have_found_is_only_believed_of_the_trace_asked_for() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let (asked, other) = (spans::id(), spans::id());
    let mut stream = Stream::greet(&pair.collector.url(), rand::random()).await?;
    stream.send(agent_message::Kind::Status(Status { queue_batches: 1, ..Status::default() })).await?;
    let answering = tokio::spawn(async move {
        while let Ok(Some(said)) = stream.inbox.message().await {
            let Some(collector_message::Kind::Ask(ask)) = said.kind else { continue };
            let payload = spans::request([spans::span(asked), spans::span(other)]).encode_to_vec();
            for payload in [payload, b"\xFF\xFF garbage".to_vec()] {
                let found = Found { ask_id: ask.ask_id, payload: payload.into(), last: false, partial: false };
                stream.send(agent_message::Kind::Found(found)).await?;
            }
            let last = Found { ask_id: ask.ask_id, last: true, ..Found::default() };
            stream.send(agent_message::Kind::Found(last)).await?;
        }
        Ok::<(), anyhow::Error>(())
    });
    let found = pair.find(asked, 1).await?;
    assert!(found.iter().all(|span| span.trace_id == asked) && found.len() == 1, "{found:?}");
    answering.abort();
    pair.still_serves().await
}
