use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    log::{SimDisk, Work},
    otlp::record::{BatchKey, Codec, Head},
    world::{Clock, Random, World},
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message;
use uuid::Uuid;

use crate::{
    Claim, Opened, Options, Storage,
    block::Layout,
    retention,
    store::{Folder, Store},
};

mod append;
mod crash;
mod extremes;
mod faulty;
mod fickle;
mod flush;
mod merging;
mod outside;
mod shared;
mod tail;
mod trouble;
mod verify;

const AGENT: Uuid = Uuid::from_bytes([7; 16]);

pub(crate) fn options(max_memory_bytes: usize) -> Options {
    Options {
        data: PathBuf::from("/store"),
        wal: None,
        segment_bytes: 1 << 20,
        max_wal_bytes: 64 << 20,
        max_record_bytes: 1 << 20,
        flush_bytes: max_memory_bytes,
        flush_age: Duration::from_secs(300),
        max_memory_bytes,
        max_tenants: 100,
        layout: Layout::default(),
        cache_bytes: 1 << 20,
        sweep_delay: Duration::from_secs(600),
        merge_nice: 0,
        retention: retention::Limits::default(),
        sole: true,
        heir_of: Vec::new(),
    }
}

pub(crate) fn world(disk: &SimDisk) -> World {
    World {
        disk: Arc::new(disk.clone()),
        work: Work::Inline,
        clock: Clock::Tokio { epoch_ms: 1_000_000, zero: tokio::time::Instant::now() },
        random: Random::seeded(1),
    }
}

fn open(disk: &SimDisk, max_memory_bytes: usize) -> Opened {
    Storage::open(options(max_memory_bytes), store(disk), world(disk)).unwrap()
}

/// With nothing in the data folder. Each process has a seed of its own, as it would have.
fn open_in_store(disk: &SimDisk, seed: u64) -> Opened {
    let options = Options { wal: Some(crate::wal::Options::new("node-1")), ..options(16 << 20) };
    let world = World { random: Random::seeded(seed), ..world(disk) };
    Storage::open(options, store(disk), world).unwrap()
}

pub(crate) fn store(disk: &SimDisk) -> Arc<dyn Store> {
    Arc::new(Folder::new(Arc::new(disk.clone()), Path::new("/store/blocks")))
}

pub(crate) fn trace(number: u8) -> TraceId {
    TraceId::new([number; 16]).unwrap()
}

/// An uncompressed batch with one span for each trace.
pub(crate) fn batch(traces: &[u8], name: &str) -> Bytes {
    let span = |number: &u8| Span {
        trace_id: vec![*number; 16],
        span_id: vec![*number; 8],
        name: name.to_owned(),
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { spans: traces.iter().map(span).collect(), ..Default::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }.encode_to_vec().into()
}

pub(crate) async fn append(
    storage: &Storage,
    tenant: &str,
    seq: u64,
    traces: &[u8],
    name: &str,
) -> Result<(), crate::AppendError> {
    let payload = batch(traces, name);
    let raw_bytes = payload.len() as u32;
    append_as(storage, tenant, seq, (Codec::Identity, payload, raw_bytes), traces.len() as u32).await
}

/// Appends a batch as it came: its codec, its payload, and the bytes that it becomes.
async fn append_as(
    storage: &Storage,
    tenant: &str,
    seq: u64,
    (codec, payload, raw_bytes): (Codec, Bytes, u32),
    spans: u32,
) -> Result<(), crate::AppendError> {
    let Claim::New(claimed) = storage.claim(BatchKey { agent: AGENT, seq }) else { panic!("batch {seq} is not new") };
    let decoded = storage.decode(codec, payload.clone(), raw_bytes, spans).unwrap();
    let head = Head {
        codec,
        spans,
        raw_bytes,
        accepted_ms: 1_000_000,
        tenant: Tenant::new(tenant).unwrap(),
        batch: Some(claimed.key()),
        redelivery: false,
        hashes: vec![u128::from(seq)],
        marks: vec![],
    };
    let place = storage.room(raw_bytes as usize, Duration::ZERO).await?;
    storage.append(place, head, payload, decoded).await?;
    claimed.durable();
    Ok(())
}

/// The names of the spans of a trace, as a tenant sees them.
pub(crate) fn find(storage: &Storage, tenant: &str, number: u8) -> Vec<String> {
    let parts = storage.snapshot(&Tenant::new(tenant).unwrap()).trace(&trace(number));
    names(parts.into_iter().map(Result::unwrap).collect())
}

/// The names of spans in OTLP.
fn names(parts: Vec<Bytes>) -> Vec<String> {
    let spans = parts.into_iter().flat_map(|part| TracesData::decode(part).unwrap().resource_spans);
    spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).map(|span| span.name).collect()
}
