//! Spans become blocks, and blocks become larger ones.

use std::path::Path;

use clew_common::{
    ids::Tenant,
    log::{Disk, SimDisk},
    otlp::record::BatchKey,
};

use super::{AGENT, append, find, open, store};
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
