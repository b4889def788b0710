//! What is found in a healthy store, and in one with flipped bytes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use clew_common::{
    ids::Tenant,
    log::{Disk, SimDisk},
};

use super::{
    append,
    fickle::{Fate, Fickle},
    open, open_in_store, store, world,
};
use crate::{
    block::{META, Meta},
    storage::Storage,
    store::Store,
    verify::{
        Damage, Look, Wal, check_block, folders, is_damage, look, read_store_wals, read_wal, set_aside, stand_still,
    },
};

/// Two blocks, and a WAL with records that are in none.
async fn filled() -> SimDisk {
    let disk = SimDisk::new();
    let storage = open(&disk, 16 << 20).storage;
    for seq in 1..=2 {
        append(&storage, "a", seq, &[seq as u8, 9], "x").await.unwrap();
        storage.flush().unwrap();
    }
    for seq in 3..=5 {
        append(&storage, "a", seq, &[seq as u8], "y").await.unwrap();
    }
    drop(storage);
    disk.kill();
    disk
}

fn wal(disk: &SimDisk) -> (Vec<u64>, Vec<Damage>) {
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    // A thread of its own: the test has a runtime already.
    std::thread::scope(|scope| {
        let read =
            || read_wal(disk, Path::new("/store/wal"), |record| records.push(record.seq), |found| damage.push(found));
        scope.spawn(read).join().unwrap().unwrap();
    });
    (records, damage)
}

/// What is damaged, with the folders of the blocks that it is in.
fn blocks(store: &Arc<dyn Store>, repair: bool) -> Vec<Damage> {
    let mut all = Vec::new();
    for found in folders(store).unwrap() {
        let damage = match found.block.as_ref().unwrap() {
            Ok(block) => check_block(&**store, &found, block).unwrap(),
            Err(error) => {
                assert!(is_damage(error));
                vec![Damage { place: error.path.clone(), what: error.why.to_string() }]
            }
        };
        if repair && !damage.is_empty() {
            set_aside(&**store, &found).unwrap();
        }
        all.extend(damage);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn nothing_is_damaged_in_a_healthy_store_and_looking_changes_nothing() {
    let disk = filled().await;
    let names = |disk: &SimDisk| disk.list(Path::new("/store/wal")).unwrap();
    let before = names(&disk);
    let (records, damage) = wal(&disk);
    assert!(records.ends_with(&[3, 4, 5]), "{records:?}");
    assert_eq!(damage, []);
    assert_eq!(blocks(&store(&disk), false), []);
    assert_eq!(names(&disk), before);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_in_any_file_of_a_block_is_found_and_repaired() {
    let disk = filled().await;
    let files: Vec<_> = folders(&store(&disk)).unwrap().remove(0).files;
    assert_eq!(files.len(), 4);
    for file in files {
        for place in [0, 1, 2, 3].map(|part| part * (file.bytes - 1) / 3) {
            let disk = filled().await;
            // Ids of blocks come from a seed: they are the same each time.
            disk.flip(&Path::new("/store/blocks").join(&file.path), place, 5);
            let damage = blocks(&store(&disk), true);
            assert!(damage.iter().any(|damage| damage.place == file.path), "{} byte {place}: {damage:?}", file.path);
            assert_eq!(blocks(&store(&disk), false), []);
            assert_eq!(folders(&store(&disk)).unwrap().len(), 1);
            let kept = store(&disk).list("a/quarantine").unwrap();
            assert_eq!(kept.len(), 4);
            assert_eq!(open(&disk, 16 << 20).storage.stats().damaged_blocks, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_in_a_record_of_the_wal_is_found_where_it_is() {
    let disk = filled().await;
    let path = segments(&disk).pop().unwrap();
    let mut healthy = wal(&disk).0;
    let damaged = healthy.remove(healthy.len() - 2);
    disk.flip(&path, place(&disk, &path, &[4; 16]).unwrap(), 1);
    let (records, damage) = wal(&disk);
    assert_eq!(records, healthy);
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert!(damage[0].what.contains(&format!(" record {damaged} was there")), "{damage:?}");
    assert!(damage[0].place.starts_with(&format!("{}, byte ", path.display())), "{damage:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_in_a_header_of_the_wal_costs_nothing_and_one_in_the_first_record_is_named() {
    let healthy = wal(&filled().await).0;
    let path = segments(&filled().await).remove(0);
    for (flipped, offset, cost, what) in [(12, 0, 0, "no record was there"), (50, 24, 1, " record 1 was there")] {
        let disk = filled().await;
        disk.flip(&path, flipped, 1);
        let (records, damage) = wal(&disk);
        assert_eq!(records, healthy[cost..]);
        let place = format!("{}, byte {offset}", path.display());
        assert!(matches!(&damage[..], [one] if one.place == place && one.what.contains(what)), "{damage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_damaged_wal_has_lost_makes_answers_partial() {
    // The second batch is in a block, the fourth is not.
    for (payload, expected) in [([2; 16], false), ([4; 16], true)] {
        let disk = filled().await;
        let hits = segments(&disk).into_iter().filter_map(|path| Some((place(&disk, &path, &payload)?, path)));
        hits.for_each(|(place, path)| disk.flip(&path, place, 1));
        let storage = open(&disk, 16 << 20).storage;
        assert_eq!(storage.wal().stats().damaged_ranges.load(Relaxed), 1);
        assert_eq!(is_partial(&storage), expected);
        storage.flush().unwrap();
        assert_eq!(is_partial(&storage), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_or_missing_of_a_wal_in_a_store_is_named_and_makes_answers_partial() {
    let disk = SimDisk::new();
    let storage = open_in_store(&disk, 1).storage;
    for seq in 1..=3 {
        append(&storage, "a", seq, &[seq as u8], "x").await.unwrap();
    }
    storage.flush().unwrap();
    for seq in 4..=9 {
        append(&storage, "a", seq, &[seq as u8], "x").await.unwrap();
    }
    drop(storage);
    disk.kill();
    let files: Vec<_> = store(&disk).list("wal").unwrap().into_iter().map(|file| file.path).collect();
    let objects: Vec<_> = files.iter().filter(|path| path.ends_with(".wal")).collect();
    let holding = |payload: u8| {
        let path = |object: &String| Path::new("/store/blocks").join(object);
        objects.iter().find_map(|object| Some((path(object), place(&disk, &path(object), &[payload; 16])?)))
    };
    assert_eq!(store_wal(&disk).1, []);

    let (path, flipped) = holding(5).unwrap();
    disk.flip(&path, flipped, 1);
    let (gone, _) = holding(8).unwrap();
    disk.remove(&gone).unwrap();
    for name in ["owner", "identity", "epoch", "checkpoint.1"] {
        let file = files.iter().find(|path| path.rsplit('/').next() == Some(name)).unwrap();
        store(&disk).put(file, b"garbage"[..].into()).unwrap();
    }
    let (wal, damage) = store_wal(&disk);
    let is_told =
        |name: &str, what: &str| damage.iter().any(|told| told.place.ends_with(name) && told.what.contains(what));
    assert!(is_told(&path.file_name().unwrap().to_string_lossy(), "those in no block are lost"), "{damage:?}");
    for name in ["owner", "identity", "epoch", "checkpoint.1"] {
        assert!(is_told(name, "it is damaged"), "{name}: {damage:?}");
    }
    assert_eq!(damage.len(), 5, "{damage:?}");
    assert_eq!(wal.missing.len(), 1, "{:?}", wal.missing);
    assert!(is_partial(&open_in_store(&disk, 2).storage));
}

#[tokio::test(start_paused = true)]
async fn a_flip_in_the_header_of_an_object_of_the_wal_costs_nothing() {
    let disk = SimDisk::new();
    let storage = open_in_store(&disk, 1).storage;
    for seq in 1..=3 {
        append(&storage, "a", seq, &[seq as u8], "x").await.unwrap();
    }
    drop(storage);
    disk.kill();
    let files = store(&disk).list("wal").unwrap().into_iter().map(|file| file.path);
    let object = files.filter(|path| path.ends_with(".wal")).nth(1).unwrap();
    disk.flip(&Path::new("/store/blocks").join(&object), 2, 0);
    let (read, damage) = store_wal(&disk);
    assert_eq!((read.records, read.missing.len()), (3, 0));
    assert!(matches!(&damage[..], [one] if one.place == object && one.what.contains("no record")), "{damage:?}");
    let storage = open_in_store(&disk, 2).storage;
    assert_eq!(storage.wal().stats().damaged_ranges.load(Relaxed), 1);
    assert!(!is_partial(&storage));
}

fn store_wal(disk: &SimDisk) -> (Wal, Vec<Damage>) {
    let mut damage = Vec::new();
    let read = read_store_wals(&store(disk), &world(disk), |_, _| (), |found| damage.push(found)).unwrap();
    (read, damage)
}

/// The files of the WAL, in order.
fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let mut names = disk.list(Path::new("/store/wal")).unwrap();
    names.retain(|name| name.ends_with(".seg"));
    names.sort_unstable();
    names.into_iter().map(|name| Path::new("/store/wal").join(name)).collect()
}

/// Where the bytes first are in a file.
fn place(disk: &SimDisk, path: &Path, wanted: &[u8; 16]) -> Option<u64> {
    let bytes = clew_common::log::read_whole(disk, path).unwrap();
    bytes.windows(16).position(|bytes| bytes == wanted).map(|place| place as u64)
}

fn is_partial(storage: &Storage) -> bool {
    let snapshot = storage.snapshot(&Tenant::new("a").unwrap());
    let by_trace = snapshot.trace(&super::trace(3)).iter().any(Result::is_err);
    assert_eq!(by_trace, snapshot.damaged().count() > 0);
    by_trace
}

/// What a look at the first block shows.
fn first(store: &Arc<dyn Store>) -> Look {
    look(&**store, &folders(store).unwrap()[0])
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_give_now_is_no_damage() {
    let disk = filled().await;
    assert_eq!(first(&store(&disk)), Look::Whole { spans: 2 });
    for kind in [std::io::ErrorKind::TimedOut, std::io::ErrorKind::ConnectionRefused] {
        for (doing, name) in
            [("read", META), ("read", "filter.bin"), ("open", "spans.parquet"), ("size", "spans.parquet")]
        {
            let fickle: Arc<dyn Store> = Fickle::new(store(&disk), move |what, path| {
                if what == doing && path.ends_with(name) { Fate::Fails(kind) } else { Fate::Well }
            });
            let seen = first(&fickle);
            assert!(matches!(&seen, Look::Unseen(unseen) if unseen.place.ends_with(name)), "{doing} {name}: {seen:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_of_a_newer_version_is_no_damage() {
    let disk = filled().await;
    let found = folders(&store(&disk)).unwrap().remove(0);
    let meta = found.block.unwrap().unwrap().meta().clone();
    let newer = Meta { version: 1000, ..Meta::clone(&meta) };
    store(&disk).put(&format!("{}/{META}", found.path), newer.to_bytes().unwrap().into()).unwrap();
    assert!(matches!(first(&store(&disk)), Look::Unseen(unseen) if unseen.what.contains("1000")));
}

#[tokio::test(start_paused = true)]
async fn logs_in_a_store_are_counted_before_a_repair() {
    let disk = SimDisk::new();
    assert_eq!(stand_still(&store(&disk), &world(&disk), std::time::Duration::ZERO).unwrap(), 0);
    let _storage = open_in_store(&disk, 1);
    assert_eq!(stand_still(&store(&disk), &world(&disk), std::time::Duration::ZERO).unwrap(), 1);
}
