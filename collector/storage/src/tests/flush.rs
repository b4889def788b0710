//! Spans become blocks, and blocks become larger ones.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::{Disk, SimDisk},
    otlp::record::{BatchKey, Codec},
    shutdown,
};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;

use super::{AGENT, append, append_as, batch, find, open, store, trace};
use crate::Claim;

fn segments(disk: &SimDisk) -> usize {
    let names = disk.list(Path::new("/store/wal")).unwrap();
    names.iter().filter(|name| name.ends_with(".seg")).count()
}

#[tokio::test(start_paused = true)]
async fn what_was_flushed_is_found_by_its_tenant_at_once_and_after_a_restart() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    append(&storage, "a", 1, &[1, 2], "first").await.unwrap();
    append(&storage, "b", 2, &[2], "other").await.unwrap();
    storage.flush().unwrap();
    append(&storage, "a", 3, &[2, 3], "second").await.unwrap();
    assert_eq!((storage.stats().blocks, storage.stats().memory_batches), (2, 1));
    for storage in [storage, {
        disk.crash(1);
        let opened = open(&disk, 16 << 20);
        // Only what is in no block comes from the WAL.
        assert_eq!(opened.spans, 2);
        opened.storage
    }] {
        assert_eq!(find(&storage, "a", 2), ["first", "second"]);
        assert_eq!(find(&storage, "a", 3), ["second"]);
        assert_eq!(find(&storage, "b", 2), ["other"]);
        assert!(find(&storage, "b", 1).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_wal_goes_once_its_spans_are_in_blocks_and_batches_are_still_known() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    let long = "x".repeat(100_000);
    for seq in 1..=30 {
        append(&storage, "a", seq, &[seq as u8], &long).await.unwrap();
    }
    let before = segments(&disk);
    assert!(before > 2, "{before}");
    storage.flush().unwrap();
    tokio::task::yield_now().await;
    storage.wal().close().await;
    assert_eq!(segments(&disk), 1);
    drop(storage);
    disk.kill();
    let again = open(&disk, 16 << 20);
    assert_eq!(again.spans, 0);
    for seq in 1..=30 {
        assert!(matches!(again.storage.claim(BatchKey { agent: AGENT, seq }), Claim::Durable), "batch {seq}");
        assert_eq!(find(&again.storage, "a", seq as u8), std::slice::from_ref(&long));
    }
    assert_eq!(again.known.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn blocks_are_merged_and_the_merged_ones_are_deleted_later() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    for seq in 1..=8 {
        append(&storage, "a", seq, &[seq as u8, 100], &format!("span {seq}")).await.unwrap();
        storage.flush().unwrap();
    }
    assert_eq!(storage.stats().blocks, 8);
    let before = storage.snapshot(&Tenant::new("a").unwrap());
    storage.compact().unwrap();
    assert_eq!((storage.stats().blocks, storage.stats().block_spans), (1, 16));
    let all: Vec<_> = (1..=8).map(|seq| format!("span {seq}")).collect();
    let mut found = find(&storage, "a", 100);
    found.sort();
    assert_eq!(found, all);
    // A query that began before still reads the merged blocks.
    assert!(before.trace(&super::trace(100)).iter().all(Result::is_ok));
    assert_eq!(before.trace(&super::trace(100)).len(), 8);

    let metas = || store(&disk).list("").unwrap().iter().filter(|file| file.path.ends_with("meta.json")).count();
    assert_eq!(metas(), 9);
    drop((before, storage));
    disk.kill();
    let storage = open(&disk, 16 << 20).storage;
    assert_eq!((storage.stats().blocks, storage.stats().block_spans), (1, 16));
    storage.sweep();
    assert_eq!(metas(), 9);
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    storage.sweep();
    assert_eq!(metas(), 1);
    assert_eq!(find(&storage, "a", 100).len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_came_twice_is_one_after_a_merge() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    for seq in 1..=8 {
        append(&storage, "a", seq, &[7], "the same").await.unwrap();
        storage.flush().unwrap();
    }
    storage.compact().unwrap();
    assert_eq!(storage.stats().block_spans, 1);
    assert_eq!(find(&storage, "a", 7), ["the same"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_makes_answers_partial_and_nothing_else() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    for seq in 1..=2 {
        append(&storage, "a", seq, &[seq as u8], "x").await.unwrap();
        storage.flush().unwrap();
    }
    drop(storage);
    disk.kill();
    let files = store(&disk).list("").unwrap();
    let meta = files.iter().find(|file| file.path.ends_with("meta.json")).unwrap();
    disk.flip(&Path::new("/store/blocks").join(&meta.path), 0, 3);
    let storage = open(&disk, 16 << 20).storage;
    assert_eq!((storage.stats().blocks, storage.stats().damaged_blocks), (1, 1));
    let mut found = 0;
    for number in 1..=2 {
        let parts = storage.snapshot(&Tenant::new("a").unwrap()).trace(&super::trace(number));
        assert_eq!(parts.iter().filter(|part| part.is_err()).count(), 1);
        found += parts.iter().filter(|part| part.is_ok()).count();
    }
    // The damaged block's spans came back from the WAL, which still has them.
    assert_eq!(found, 2);
}

/// Leaves 100 batches in the WAL and in no block; says how much memory they took.
async fn crash_with_100_batches(disk: &SimDisk) -> usize {
    let storage = open(disk, 16 << 20).storage;
    for seq in 1..=100 {
        append(&storage, "default", seq, &[seq as u8, 200], &format!("batch {seq}")).await.unwrap();
    }
    let used = storage.stats().memory_bytes;
    disk.crash(1);
    used
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_what_memory_held_makes_no_block() {
    let disk = SimDisk::new();
    let used = crash_with_100_batches(&disk).await;
    // What was on its way when memory became full.
    let again = open(&disk, used - used / 20);
    assert_eq!((again.spans, again.storage.stats().blocks), (200, 0));
    assert_eq!(find(&again.storage, "default", 200).len(), 100);
    // Taking spans in waits for these parts of it to become blocks.
    again.storage.flush().unwrap();
    assert!(again.storage.stats().blocks >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_more_than_memory_may_hold_makes_blocks() {
    let disk = SimDisk::new();
    let used = crash_with_100_batches(&disk).await;
    let again = open(&disk, used / 4);
    assert_eq!(again.spans, 200);
    let stats = again.storage.stats();
    assert!(stats.memory_bytes < used / 4 * 9 / 8 && stats.blocks >= 3, "{stats:?}");
    // Nothing was freed of the WAL: the blocks say what they hold.
    disk.crash(1);
    let storage = open(&disk, 16 << 20).storage;
    for seq in 1..=100 {
        assert_eq!(find(&storage, "default", seq as u8), [format!("batch {seq}")]);
    }
    assert_eq!(find(&storage, "default", 200).len(), 100);
}

/// A batch with a resource, in which each span says the same at length: as columns it takes little of what it takes on the wire.
fn repeating(traces: &[u8]) -> Bytes {
    let mut decoded = TracesData::decode(batch(traces, &"x".repeat(1000))).unwrap();
    decoded.resource_spans[0].schema_url = "https://example.com/schema".to_owned();
    decoded.encode_to_vec().into()
}

#[tokio::test(start_paused = true)]
async fn what_a_start_has_found_is_opened_while_nobody_asks_and_counts_as_it_did() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    for seq in 1..=3 {
        let raw = repeating(&[seq; 100]);
        let raw_bytes = raw.len() as u32;
        append_as(&storage, "a", seq.into(), (Codec::Identity, raw, raw_bytes), 100).await.unwrap();
    }
    let before = storage.stats().memory_bytes;
    drop(storage);
    disk.kill();
    let storage = open(&disk, 16 << 20).storage;
    assert!(storage.stats().memory_bytes > 2 * before, "{} and {before}", storage.stats().memory_bytes);
    let (stopper, drain) = shutdown::channel();
    let work = tokio::spawn(storage.clone().maintain(drain));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(storage.stats().memory_bytes, before);
    stopper.drain();
    work.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_start_has_found_goes_into_a_block_with_its_resource_though_nobody_looked_at_it() {
    let disk = SimDisk::new();
    let raw = repeating(&[1, 2]);
    let raw_bytes = raw.len() as u32;
    let storage = open(&disk, 16 << 20).storage;
    append_as(&storage, "a", 1, (Codec::Identity, raw, raw_bytes), 2).await.unwrap();
    drop(storage);
    disk.kill();
    let storage = open(&disk, 16 << 20).storage;
    storage.flush().unwrap();
    assert_eq!((storage.stats().memory_bytes, storage.stats().block_spans), (0, 2));
    let parts = storage.snapshot(&Tenant::new("a").unwrap()).trace(&trace(1));
    let found = TracesData::decode(parts[0].clone().unwrap()).unwrap();
    assert_eq!(found.resource_spans[0].schema_url, "https://example.com/schema");
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_what_only_looking_into_memory_came_upon() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    let snapshot = storage.snapshot(&Tenant::new("a").unwrap());
    assert_eq!(snapshot.damaged().count(), 0);
    // As when a record cannot be opened after the snapshot was made.
    storage.counts().left_out(7, "undecodable", &std::io::Error::other("it cannot be opened"));
    assert_eq!(snapshot.damaged().count(), 1);
    assert_eq!(snapshot.trace(&trace(1)).iter().filter(|part| part.is_err()).count(), 1);
}
