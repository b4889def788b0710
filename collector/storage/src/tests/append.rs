use std::time::Duration;

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::SimDisk,
    otlp::record::{BatchKey, Codec},
};
use uuid::Uuid;

use super::{AGENT, append, batch, find, open, trace};
use crate::{
    Claim, DecodeError,
    decode::{Decoder, Encoded},
};

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
    // What it says not to send again is not made durable by saying so, nor forgotten: a copy of it may send it.
    let (durable, _) = again.storage.agent(AGENT, 4);
    assert_eq!([1, 2, 3, 4].map(|seq| durable.contains(seq)), [true, false, true, false]);
    again.storage.forget_below(AGENT, u64::MAX);
    assert!(matches!(again.storage.claim(BatchKey { agent: AGENT, seq: 4 }), Claim::New(_)));
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
    let other = Uuid::from_bytes([8; 16]);
    for agent in [AGENT, other] {
        let (_, news) = storage.agent(agent, 0);
        storage.leave(agent, news);
    }
    assert!(storage.durable(AGENT).contains(1));
    assert_eq!(storage.agents(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_memory_refuses_retryably_until_it_is_flushed() {
    let storage = open(&SimDisk::new(), 64 << 10).storage;
    let mut refused = None;
    for seq in 1..=200 {
        if let Err(error) = append(&storage, "a", seq, &[seq as u8], "x").await {
            refused = Some((seq, error));
            break;
        }
    }
    let (seq, error) = refused.expect("the memory never filled");
    assert!(error.is_retryable() && error.to_string().contains("65536 bytes"), "{error}");
    storage.flush().unwrap();
    append(&storage, "a", seq, &[seq as u8], "x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_memory_goes_on_when_spans_became_a_block() {
    let storage = open(&SimDisk::new(), 64 << 10).storage;
    let mut seq = 1;
    while append(&storage, "a", seq, &[seq as u8], "x").await.is_ok() {
        seq += 1;
    }
    let patience = Duration::from_secs(10);
    let started = tokio::time::Instant::now();
    assert!(storage.room(1, patience).await.err().unwrap().is_retryable());
    assert_eq!(started.elapsed(), patience);
    let waiting = tokio::spawn({
        let storage = storage.clone();
        async move { storage.room(1, patience).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    storage.flush().unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), patience + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn memory_that_is_kept_for_a_batch_is_nobody_elses_until_it_is_given_up() {
    let storage = open(&SimDisk::new(), 64 << 10).storage;
    let place = storage.room(64 << 10, Duration::ZERO).await.unwrap();
    assert!(storage.room(1, Duration::from_secs(10)).await.is_err());
    let waiting = tokio::spawn({
        let storage = storage.clone();
        async move { storage.room(1, Duration::from_secs(10)).await.map(drop) }
    });
    let started = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(place);
    waiting.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(1));
}

#[test]
fn a_batch_that_is_not_what_it_says_is_refused() {
    let decoder = Decoder::default();
    let decode = |codec, payload, raw_bytes, spans| {
        decoder.decode(&Encoded { codec, payload, raw_bytes, spans }).map(|decoded| decoded.count)
    };
    let raw = batch(&[1, 2], "x");
    let size = raw.len() as u32;
    let packed = Bytes::from(zstd::bulk::compress(&raw, 1).unwrap());
    assert_eq!(decode(Codec::Zstd, packed.clone(), size, 2).unwrap(), 2);
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

#[test]
fn a_batch_that_has_passed_the_check_opens_to_the_same_columns_after_others_that_have_not() {
    let decoder = Decoder::default();
    let encoded = |raw: &Bytes, spans| {
        let payload = zstd::bulk::compress(raw, 1).unwrap().into();
        Encoded { codec: Codec::Zstd, payload, raw_bytes: raw.len() as u32, spans }
    };
    let good = encoded(&batch(&[1, 1, 2, 1], "x"), 4);
    let columns = decoder.decode(&good).unwrap().spans.batch;
    for broken in [batch(&[0], "x"), batch(&[1, 2, 3], "long").slice(..40), batch(&[1], "x")] {
        assert!(decoder.check(&encoded(&broken, 3)).is_err());
        assert_eq!(decoder.check(&good).unwrap(), [[1; 16], [2; 16], [1; 16]]);
        let _ = decoder.open(&encoded(&broken, 3));
        assert_eq!(decoder.open(&good).unwrap().batch, columns);
    }
    // Text that is none, behind the check's back.
    let mut raw = batch(&[1], "name").to_vec();
    let name = raw.windows(4).position(|bytes| bytes == b"name").unwrap();
    raw[name] = 0xff;
    assert!(decoder.open(&encoded(&raw.into(), 1)).is_err());
    assert_eq!(decoder.open(&good).unwrap().batch, columns);
    // There is room for more than it says by now, and it has more.
    decoder.check(&encoded(&batch(&[1; 3000], "large"), 3000)).unwrap();
    let twice = good.payload.repeat(2).into();
    let twice = Encoded { payload: twice, ..good };
    assert!(matches!(decoder.check(&twice), Err(DecodeError::Compression { .. })));
}
