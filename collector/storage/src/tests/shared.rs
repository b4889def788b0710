//! Several collectors share a store.

use std::{path::PathBuf, time::Duration};

use clew_common::{
    ids::Tenant,
    log::SimDisk,
    world::{Random, World},
};

use super::{append, find, options, store, world};
use crate::{Opened, Options, Storage};

/// The collector whose data is in this folder, in the store that all share.
fn open(disk: &SimDisk, name: &str, seed: u64) -> Opened {
    let options = Options { data: PathBuf::from(format!("/{name}")), sole: false, ..options(16 << 20) };
    let world = World { random: Random::seeded(seed), ..world(disk) };
    Storage::open(options, store(disk), world).unwrap()
}

fn files(disk: &SimDisk) -> Vec<String> {
    let mut files: Vec<_> = store(disk).list("").unwrap().into_iter().map(|file| file.path).collect();
    files.sort();
    files
}

async fn blocks(storage: &Storage, batches: std::ops::RangeInclusive<u64>) {
    for seq in batches {
        append(storage, "a", seq, &[seq as u8, 100], &format!("span {seq}")).await.unwrap();
        storage.flush().unwrap();
    }
}

fn damaged(storage: &Storage) -> usize {
    storage.snapshot(&Tenant::new("a").unwrap()).damaged().count()
}

#[tokio::test(start_paused = true)]
async fn each_merges_and_deletes_only_its_own_blocks_and_finds_those_of_all() {
    let disk = SimDisk::new();
    let one = open(&disk, "one", 1).storage;
    blocks(&one, 1..=8).await;
    let two = open(&disk, "two", 2).storage;
    assert_eq!(find(&two, "a", 100).len(), 8);
    let before = files(&disk);
    two.compact().unwrap();
    tokio::time::advance(Duration::from_secs(601)).await;
    two.sweep();
    assert_eq!(files(&disk), before);

    blocks(&two, 11..=18).await;
    one.compact().unwrap();
    two.compact().unwrap();
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!((one.sweep(), two.sweep()), (8, 8));
    for storage in [&one, &two] {
        storage.refresh().unwrap();
        assert_eq!((storage.stats().blocks, find(storage, "a", 100).len(), damaged(storage)), (2, 16, 0));
    }
    drop((one, two));
    disk.kill();
    for (name, seed) in [("one", 3), ("two", 4)] {
        let storage = open(&disk, name, seed).storage;
        assert_eq!((storage.stats().blocks, find(&storage, "a", 100).len()), (2, 16));
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_write_is_seen_after_a_while_and_what_they_delete_goes() {
    let disk = SimDisk::new();
    let one = open(&disk, "one", 1).storage;
    let two = open(&disk, "two", 2).storage;
    blocks(&one, 1..=8).await;
    assert!(find(&two, "a", 100).is_empty());
    two.refresh().unwrap();
    assert_eq!(find(&two, "a", 100).len(), 8);
    // The merged block and those that it replaces are all there for a while.
    one.compact().unwrap();
    assert_eq!(find(&two, "a", 100).len(), 8);
    two.refresh().unwrap();
    assert_eq!((find(&two, "a", 100).len(), two.stats().blocks), (8, 1));
    for file in files(&disk) {
        store(&disk).delete(&file).unwrap();
    }
    two.refresh().unwrap();
    assert_eq!((two.stats().blocks, damaged(&two)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_block_that_another_one_writes_just_now_is_left_alone() {
    let disk = SimDisk::new();
    let one = open(&disk, "one", 1).storage;
    blocks(&one, 1..=1).await;
    let meta = files(&disk).into_iter().find(|path| path.ends_with("meta.json")).unwrap();
    store(&disk).delete(&meta).unwrap();
    let unfinished = files(&disk);
    assert!(!unfinished.is_empty());
    let two = open(&disk, "two", 2).storage;
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!((two.sweep(), files(&disk)), (0, unfinished));
    // Its own next life knows it.
    drop(one);
    disk.kill();
    let one = open(&disk, "one", 3).storage;
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!((one.sweep(), files(&disk)), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn blocks_of_a_collector_that_is_gone_are_its_heirs() {
    let disk = SimDisk::new();
    let opened = open(&disk, "one", 1);
    blocks(&opened.storage, 1..=8).await;
    let options =
        Options { data: PathBuf::from("/two"), sole: false, heir_of: vec![opened.collector_id], ..options(16 << 20) };
    drop(opened.storage);
    disk.kill();
    let world = World { random: Random::seeded(2), ..world(&disk) };
    let two = Storage::open(options, store(&disk), world).unwrap().storage;
    two.compact().unwrap();
    assert_eq!((two.stats().blocks, find(&two, "a", 100).len()), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_of_another_one_makes_answers_partial_until_it_is_set_aside() {
    let disk = SimDisk::new();
    let one = open(&disk, "one", 1).storage;
    let two = open(&disk, "two", 2).storage;
    blocks(&one, 1..=2).await;
    let filter = files(&disk).into_iter().find(|path| path.ends_with("filter.bin")).unwrap();
    disk.flip(&std::path::Path::new("/store/blocks").join(&filter), 9, 1);
    for _ in 0..2 {
        two.refresh().unwrap();
        assert_eq!((two.stats().blocks, damaged(&two)), (1, 1));
    }
    let folder = filter.rsplit_once('/').unwrap().0;
    store(&disk).delete(&format!("{folder}/meta.json")).unwrap();
    two.refresh().unwrap();
    assert_eq!((two.stats().blocks, damaged(&two)), (1, 0));
}
