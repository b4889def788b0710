//! The process dies at every change of the disk in turn; afterwards everything acked is there once.

use std::path::Path;

use clew_common::log::{Disk, SimDisk};

use super::{append, find, open, open_in_store};
use crate::Storage;

const BATCHES: u64 = 10;
const APPEND: std::time::Duration = std::time::Duration::from_secs(60);

/// Appends, flushes, merges and sweeps until something fails; gives the batches that were acked.
async fn work(storage: &Storage) -> Vec<u64> {
    let mut acked = Vec::new();
    for seq in 1..=BATCHES {
        let name = format!("span {seq}");
        // A WAL in the store does not give up on its own.
        let traces = [seq as u8, 200];
        let appended = tokio::time::timeout(APPEND, append(storage, "a", seq, &traces, &name)).await;
        if !matches!(appended, Ok(Ok(()))) {
            return acked;
        }
        acked.push(seq);
        if storage.flush().is_err() {
            return acked;
        }
    }
    let _ = storage.compact();
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    storage.sweep();
    acked
}

fn check(storage: &Storage, acked: &[u64], at: u64) {
    let mut spans = 0;
    for seq in 1..=BATCHES {
        let found = find(storage, "a", seq as u8);
        if acked.contains(&seq) {
            assert_eq!(found, [format!("span {seq}")], "crash at {at}");
        }
        spans += 2 * found.len() as u64;
    }
    assert_eq!(find(storage, "a", 200).len() as u64, spans / 2, "crash at {at}");
    let stats = storage.stats();
    assert_eq!(stats.damaged_blocks, 0, "crash at {at}");
    // What is not yet in blocks becomes one: then every span counts once.
    storage.flush().unwrap();
    assert_eq!(storage.stats().block_spans, spans, "crash at {at}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_change_of_the_disk_leaves_every_acked_span_once() {
    for at in 1.. {
        let disk = SimDisk::new();
        let storage = open(&disk, 16 << 20).storage;
        disk.crash_at(at);
        let acked = work(&storage).await;
        let ended = !disk.is_down();
        drop(storage);
        disk.crash(at);
        check(&open(&disk, 16 << 20).storage, &acked, at);
        if ended {
            assert!(at > 100, "the work has only {at} steps");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_anywhere_loses_nothing_that_was_acked() {
    for at in 1.. {
        let disk = SimDisk::new();
        let storage = open(&disk, 16 << 20).storage;
        let before = disk.file_syncs();
        disk.fail_sync_at(at);
        let acked = work(&storage).await;
        let reached = disk.file_syncs() - before;
        drop(storage);
        disk.crash(at);
        check(&open(&disk, 16 << 20).storage, &acked, at);
        if acked.len() as u64 == BATCHES && at > 2 * reached.max(30) {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_wal_in_the_store_too() {
    // Every third: the changes come in rows of a few for each file.
    for at in (1..).step_by(3) {
        let disk = SimDisk::new();
        let storage = open_in_store(&disk, 1).storage;
        disk.crash_at(at);
        let acked = work(&storage).await;
        let ended = !disk.is_down();
        drop(storage);
        disk.crash(at);
        check(&open_in_store(&disk, 2).storage, &acked, at);
        assert!(
            disk.list(Path::new("/store")).unwrap().iter().all(|name| name == "blocks"),
            "the data folder was touched"
        );
        if ended {
            assert!(at > 100, "the work has only {at} steps");
            return;
        }
    }
}
