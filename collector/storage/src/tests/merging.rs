//! When merges wait, and that they do not wait for ever.

use std::{io::ErrorKind, time::Duration};

use clew_common::{log::SimDisk, shutdown};

use super::{
    append,
    fickle::{Fate, Fickle},
    find, open, options, store, world,
};
use crate::{Event, Storage};

async fn blocks(storage: &Storage, count: u64) {
    for seq in 1..=count {
        append(storage, "a", seq, &[seq as u8, 100], &format!("span {seq}")).await.unwrap();
        storage.flush().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_does_not_begin_on_a_disk_without_room_for_it_and_does_when_there_is_some() {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    blocks(&storage, 8).await;
    let files = store(&disk).list("").unwrap();
    let used = crate::store::Store::free_bytes(&*store(&disk)).unwrap().map(|free| u64::MAX - free).unwrap();
    // Room for the WAL's two files, and not for a merge beside them.
    let beside = 2 << 20;
    disk.set_capacity(used + beside);
    storage.compact().unwrap();
    assert_eq!((storage.stats().blocks, store(&disk).list("").unwrap()), (8, files));
    assert!(storage.stats().merge_missing_bytes > 0);
    storage.compact().unwrap();
    assert_eq!(storage.counts().get(Event::MergeWait, "disk"), 1);
    disk.set_capacity(used + beside + storage.stats().merge_missing_bytes);
    storage.compact().unwrap();
    assert_eq!((storage.stats().blocks, storage.stats().merge_missing_bytes), (1, 0));
    assert_eq!(find(&storage, "a", 100).len(), 8);
    assert_eq!(storage.counts().get(Event::MergeFailure, "store"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_merge_wrote_before_the_disk_was_full_does_not_keep_it_full() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = Storage::open(options(16 << 20), fickle.clone(), world(&disk)).unwrap().storage;
    blocks(&storage, 8).await;
    let before = store(&disk).list("").unwrap();
    fickle.now(|doing, path| match doing == "put" && path.ends_with("filter.bin") {
        true => Fate::Fails(ErrorKind::StorageFull),
        false => Fate::Well,
    });
    assert!(storage.compact().is_err());
    assert!(store(&disk).list("").unwrap().len() > before.len());
    disk.set_capacity(0);
    storage.compact().unwrap();
    assert_eq!(store(&disk).list("").unwrap(), before);
    disk.set_capacity(u64::MAX);
    fickle.now(|_, _| Fate::Well);
    storage.compact().unwrap();
    assert_eq!((storage.stats().blocks, find(&storage, "a", 100).len()), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn while_memory_is_full_a_merge_waits_and_not_for_ever() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = Storage::open(options(64 << 10), fickle.clone(), world(&disk)).unwrap().storage;
    blocks(&storage, 8).await;
    for seq in 9.. {
        if append(&storage, "a", seq, &[seq as u8], "x").await.is_err() {
            break;
        }
    }
    // Neither flushes nor merges get any further.
    fickle.now(|doing, _| if doing == "create" { Fate::Fails(ErrorKind::TimedOut) } else { Fate::Well });
    let (stopper, drain) = shutdown::channel();
    let maintained = tokio::spawn(storage.clone().maintain(drain));
    let count = |event, reason| storage.counts().get(event, reason);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!((count(Event::MergeWait, "memory"), count(Event::MergeFailure, "store")), (1, 0));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(count(Event::MergeFailure, "store") > 0, "it still waits");
    // Once there is memory again, nothing waits.
    fickle.now(|_, _| Fate::Well);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let waits = count(Event::MergeWait, "memory");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((storage.stats().memory_batches, count(Event::MergeWait, "memory")), (0, waits));
    stopper.hurry();
    maintained.await.unwrap().unwrap();
}
