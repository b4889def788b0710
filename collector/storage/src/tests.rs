use std::{path::PathBuf, sync::Arc};

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

use crate::{Claim, DecodeError, Opened, Options, Storage, decode};

const AGENT: Uuid = Uuid::from_bytes([7; 16]);

fn options(max_memory_bytes: usize) -> Options {
    Options {
        data: PathBuf::from("/store"),
        segment_bytes: 1 << 20,
        max_wal_bytes: 64 << 20,
        max_record_bytes: 1 << 20,
        max_memory_bytes,
    }
}

fn world(disk: &SimDisk) -> World {
    World {
        disk: Arc::new(disk.clone()),
        work: Work::Inline,
        clock: Clock::Tokio { epoch_ms: 1_000_000, zero: tokio::time::Instant::now() },
        random: Random::seeded(1),
    }
}

fn open(disk: &SimDisk, max_memory_bytes: usize) -> Opened {
    Storage::open(options(max_memory_bytes), world(disk)).unwrap()
}

fn trace(number: u8) -> TraceId {
    TraceId::new([number; 16]).unwrap()
}

/// An uncompressed batch with one span for each trace.
fn batch(traces: &[u8], name: &str) -> Bytes {
    let span = |number: &u8| Span {
        trace_id: vec![*number; 16],
        span_id: vec![*number; 8],
        name: name.to_owned(),
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { spans: traces.iter().map(span).collect(), ..Default::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }.encode_to_vec().into()
}

async fn append(
    storage: &Storage,
    tenant: &str,
    seq: u64,
    traces: &[u8],
    name: &str,
) -> Result<(), crate::AppendError> {
    let Claim::New(claimed) = storage.claim(BatchKey { agent: AGENT, seq }) else { panic!("batch {seq} is not new") };
    let payload = batch(traces, name);
    let raw_bytes = payload.len() as u32;
    let decoded = decode(Codec::Identity, payload.clone(), raw_bytes, traces.len() as u32).unwrap();
    let head = Head {
        codec: Codec::Identity,
        spans: traces.len() as u32,
        raw_bytes,
        accepted_ms: 1_000_000,
        tenant: Tenant::new(tenant).unwrap(),
        batch: Some(claimed.key()),
        redelivery: false,
        hashes: vec![u128::from(seq)],
        marks: vec![],
    };
    storage.append(head, payload, decoded).await?;
    claimed.durable();
    Ok(())
}

/// The names of the spans of a trace, as a tenant sees them.
fn find(storage: &Storage, tenant: &str, number: u8) -> Vec<String> {
    let parts = storage.snapshot(&Tenant::new(tenant).unwrap()).trace(&trace(number));
    let spans = parts.into_iter().flat_map(|part| TracesData::decode(part.unwrap()).unwrap().resource_spans);
    spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_appended_is_found_by_its_tenant_at_once_and_after_a_restart() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    append(&storage, "a", 1, &[1, 2], "first").await.unwrap();
    append(&storage, "a", 2, &[2, 3], "second").await.unwrap();
    append(&storage, "b", 3, &[2], "other").await.unwrap();
    for storage in [storage, {
        disk.crash(1);
        open(&disk, 16 << 20).storage
    }] {
        assert_eq!(find(&storage, "a", 2), ["first", "second"]);
        assert_eq!(find(&storage, "b", 2), ["other"]);
        assert!(find(&storage, "b", 1).is_empty());
        assert!(find(&storage, "c", 1).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_does_not_see_what_comes_later() {
    let storage = open(&SimDisk::new(), 16 << 20).storage;
    append(&storage, "a", 1, &[1], "first").await.unwrap();
    let before = storage.snapshot(&Tenant::new("a").unwrap());
    append(&storage, "a", 2, &[1], "second").await.unwrap();
    assert_eq!(before.trace(&trace(1)).len(), 1);
    assert_eq!(find(&storage, "a", 1), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn durable_batches_are_remembered_over_a_restart_and_a_failed_one_may_come_again() {
    let disk = SimDisk::new();
    let opened = open(&disk, 16 << 20);
    append(&opened.storage, "a", 1, &[1], "x").await.unwrap();
    append(&opened.storage, "a", 3, &[1], "x").await.unwrap();
    drop(opened.storage.claim(BatchKey { agent: AGENT, seq: 2 }));
    assert!(matches!(opened.storage.claim(BatchKey { agent: AGENT, seq: 2 }), Claim::New(_)));
    disk.crash(1);
    let again = open(&disk, 16 << 20);
    assert_eq!((again.collector_id, again.salt), (opened.collector_id, opened.salt));
    let durable = again.storage.durable(AGENT);
    assert_eq!([1, 2, 3, 4].map(|seq| durable.contains(seq)), [true, false, true, false]);
    assert!(matches!(again.storage.claim(BatchKey { agent: AGENT, seq: 3 }), Claim::Durable));
    assert_eq!(again.known.iter().map(|(_, hash)| *hash).collect::<Vec<_>>(), [1, 3]);
    let (durable, _) = again.storage.agent(AGENT, 3);
    assert_eq!(durable.upto(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_being_stored_is_not_stored_twice() {
    let storage = open(&SimDisk::new(), 16 << 20).storage;
    let key = BatchKey { agent: AGENT, seq: 1 };
    let first = storage.claim(key);
    assert!(matches!(storage.claim(key), Claim::Pending));
    drop(first);
    assert!(matches!(storage.claim(key), Claim::New(_)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_had_nothing_stored_is_forgotten_when_it_leaves() {
    let storage = open(&SimDisk::new(), 16 << 20).storage;
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    for agent in [AGENT, Uuid::from_bytes([8; 16])] {
        let (_, news) = storage.agent(agent, 5);
        assert_eq!(storage.durable(agent).upto(), 5);
        storage.leave(agent, news);
    }
    assert_eq!(storage.durable(AGENT).upto(), 5);
    assert_eq!(storage.durable(Uuid::from_bytes([8; 16])).upto(), 0);
}

#[tokio::test(start_paused = true)]
async fn past_its_memory_spans_are_read_from_the_wal() {
    let disk = SimDisk::new();
    let storage = open(&disk, 8 << 10).storage;
    let long = "x".repeat(1000);
    for seq in 1..=20 {
        append(&storage, "a", seq, &[seq as u8], &long).await.unwrap();
    }
    assert!(storage.stats().memory.raw_bytes <= 4 << 10);
    for number in 1..=20 {
        assert_eq!(find(&storage, "a", number), std::slice::from_ref(&long), "trace {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_index_refuses_retryably() {
    let storage = open(&SimDisk::new(), 400).storage;
    let mut refused = None;
    for seq in 1..=20 {
        if let Err(error) = append(&storage, "a", seq, &[seq as u8], "x").await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("the index never filled");
    assert!(error.is_retryable() && error.to_string().contains("200 bytes"), "{error}");
}

#[test]
fn a_batch_that_is_not_what_it_says_is_refused() {
    let raw = batch(&[1, 2], "x");
    let size = raw.len() as u32;
    let packed = Bytes::from(zstd::bulk::compress(&raw, 1).unwrap());
    assert_eq!(decode(Codec::Zstd, packed.clone(), size, 2).unwrap().raw, raw);
    assert!(matches!(decode(Codec::Zstd, packed.clone(), size - 1, 2), Err(DecodeError::Compression { .. })));
    assert!(matches!(
        decode(Codec::Zstd, packed.slice(..packed.len() - 1), size, 2),
        Err(DecodeError::Compression { .. })
    ));
    assert!(matches!(decode(Codec::Zstd, raw.clone(), size, 2), Err(DecodeError::Compression { .. })));
    assert!(matches!(decode(Codec::Zstd, packed, size, 3), Err(DecodeError::Count { found: 2, said: 3 })));
    assert!(matches!(decode(Codec::Identity, raw.slice(..raw.len() - 1), size - 1, 2), Err(DecodeError::Malformed(_))));
    let zero = batch(&[0, 2], "x");
    assert!(matches!(
        decode(Codec::Identity, zero.clone(), zero.len() as u32, 1),
        Err(DecodeError::BadSpans { count: 1, .. })
    ));
}
