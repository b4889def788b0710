//! A store that fails, is away for a while or loses answers: every span is found once all the same.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Duration};

use clew_common::{
    ids::Tenant,
    log::{Disk, SimDisk},
    shutdown,
    world::{Random, World},
};

use super::{
    append,
    fickle::{Fate, Fickle},
    find, options, store, world,
};
use crate::{Event, Opened, Storage};

fn open(disk: &SimDisk, fickle: &Arc<Fickle>, max_memory_bytes: usize) -> Opened {
    Storage::open(options(max_memory_bytes), fickle.clone(), world(disk)).unwrap()
}

fn opened(disk: &SimDisk, fickle: &Arc<Fickle>) -> Storage {
    open(disk, fickle, 16 << 20).storage
}

/// The first so many requests of a kind for a file have this fate, the others go well.
fn first(times: usize, doing: &'static str, name: &'static str, fate: Fate) -> impl FnMut(&str, &str) -> Fate + Send {
    let mut left = times;
    move |what, path| {
        if what == doing && path.ends_with(name) && left > 0 {
            left -= 1;
            fate
        } else {
            Fate::Well
        }
    }
}

fn away(doing: &'static str) -> impl FnMut(&str, &str) -> Fate + Send {
    move |what, _| if what == doing { Fate::Fails(ErrorKind::TimedOut) } else { Fate::Well }
}

fn metas(disk: &SimDisk) -> usize {
    store(disk).list("").unwrap().iter().filter(|file| file.path.ends_with("meta.json")).count()
}

#[tokio::test(start_paused = true)]
async fn the_wal_of_what_became_a_block_goes_though_other_spans_wait() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), away("put"));
    let storage = opened(&disk, &fickle);
    let long = "x".repeat(100_000);
    for seq in 1..=30 {
        append(&storage, "a", seq, &[seq as u8], &long).await.unwrap();
        // Two generations.
        if seq % 15 == 0 {
            assert!(storage.flush().is_err());
        }
    }
    let segments = || disk.list(Path::new("/store/wal")).unwrap().iter().filter(|name| name.ends_with(".seg")).count();
    let before = segments();
    let mut metas = 0;
    fickle.now(move |what, path| {
        metas += usize::from(what == "put" && path.ends_with("meta.json"));
        if metas > 1 { Fate::Fails(ErrorKind::TimedOut) } else { Fate::Well }
    });
    assert!(storage.flush().is_err());
    assert_eq!(storage.stats().blocks, 1);
    tokio::task::yield_now().await;
    storage.wal().close().await;
    assert!(segments() < before, "{} of {before} segments", segments());
}

#[tokio::test(start_paused = true)]
async fn a_block_that_was_there_though_its_writing_seemed_to_fail_is_not_written_twice() {
    for (doing, fate) in [("put", Fate::AnswerLost), ("size", Fate::Fails(ErrorKind::TimedOut))] {
        let disk = SimDisk::new();
        let fickle = Fickle::new(store(&disk), first(1, doing, "meta.json", fate));
        let storage = opened(&disk, &fickle);
        append(&storage, "a", 1, &[1, 2], "x").await.unwrap();
        assert!(storage.flush().is_err());
        // Days differ by now: the block's folder must not.
        tokio::time::advance(Duration::from_secs(2 * 86_400)).await;
        storage.flush().unwrap();
        assert_eq!((metas(&disk), storage.stats().blocks), (1, 1));
        drop(storage);
        disk.kill();
        let storage = opened(&disk, &Fickle::new(store(&disk), |_, _| Fate::Well));
        assert_eq!((storage.stats().block_spans, find(&storage, "a", 1).len()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_seemed_to_fail_is_not_made_twice_though_there_is_more_to_merge_by_then() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = opened(&disk, &fickle);
    for seq in 1..=8 {
        append(&storage, "a", seq, &[seq as u8, 100], "x").await.unwrap();
        storage.flush().unwrap();
    }
    fickle.now(first(1, "put", "meta.json", Fate::AnswerLost));
    assert!(storage.compact().is_err());
    append(&storage, "a", 9, &[9, 101], "x").await.unwrap();
    storage.flush().unwrap();
    storage.compact().unwrap();
    assert_eq!(storage.stats().blocks, 2);
    drop(storage);
    disk.kill();
    let storage = opened(&disk, &Fickle::new(store(&disk), |_, _| Fate::Well));
    // Span 100 is the same in all eight.
    assert_eq!((storage.stats().blocks, storage.stats().block_spans), (2, 8 + 1 + 2));
    assert_eq!(find(&storage, "a", 100).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_does_not_give_for_a_moment_at_start_is_asked_for_again() {
    let disk = SimDisk::new();
    let storage = opened(&disk, &Fickle::new(store(&disk), |_, _| Fate::Well));
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    storage.flush().unwrap();
    drop(storage);
    disk.kill();
    let moment = first(3, "read", "meta.json", Fate::Fails(ErrorKind::TimedOut));
    let again = open(&disk, &Fickle::new(store(&disk), moment), 16 << 20);
    let stats = again.storage.stats();
    assert_eq!((stats.blocks, stats.damaged_blocks, again.spans), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_away_at_start_comes_back_and_what_is_replayed_may_be_there_twice() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = opened(&disk, &fickle);
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    storage.flush().unwrap();
    drop(storage);
    disk.kill();
    fickle.now(|doing, path| match (doing, path.ends_with("meta.json")) {
        ("read", true) => Fate::Fails(ErrorKind::TimedOut),
        _ => Fate::Well,
    });
    let again = open(&disk, &fickle, 16 << 20);
    let (storage, tenant) = (again.storage, Tenant::new("a").unwrap());
    assert_eq!(again.spans, 1);
    assert_eq!(storage.snapshot(&tenant).damaged().count(), 1);
    assert!(storage.snapshot(&tenant).memory().all(|memory| memory.may_duplicate()));
    // Nothing is merged meanwhile: it may be the merge of others.
    storage.compact().unwrap();
    fickle.now(|_, _| Fate::Well);
    storage.refresh().unwrap();
    let stats = storage.stats();
    assert_eq!((stats.blocks, stats.damaged_blocks), (1, 0));
    storage.flush().unwrap();
    let snapshot = storage.snapshot(&tenant);
    let doubtful: Vec<bool> = snapshot.blocks().iter().map(|block| block.meta().may_duplicate).collect();
    assert_eq!(doubtful, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_merged_block_that_comes_back_takes_the_place_of_what_it_replaces() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = opened(&disk, &fickle);
    for seq in 1..=8 {
        append(&storage, "a", seq, &[seq as u8], "x").await.unwrap();
        storage.flush().unwrap();
    }
    storage.compact().unwrap();
    let merged = storage.snapshot(&Tenant::new("a").unwrap()).blocks()[0].path().to_owned();
    drop(storage);
    disk.kill();
    let meta = format!("{merged}/meta.json");
    fickle.now(move |doing, path| match doing == "read" && path == meta {
        true => Fate::Fails(ErrorKind::TimedOut),
        false => Fate::Well,
    });
    let storage = opened(&disk, &fickle);
    storage.compact().unwrap();
    assert_eq!(storage.stats().blocks, 8);
    fickle.now(|_, _| Fate::Well);
    storage.refresh().unwrap();
    assert_eq!((storage.stats().blocks, storage.stats().block_spans), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn a_store_over_a_network_that_refuses_stops_no_collector() {
    let disk = SimDisk::new();
    let denied = |doing: &str, _: &str| match doing {
        "put" | "create" => Fate::Fails(ErrorKind::PermissionDenied),
        _ => Fate::Well,
    };
    let fickle = Fickle::new(store(&disk), denied);
    let storage = opened(&disk, &fickle);
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    let (stopper, drain) = shutdown::channel();
    let maintained = tokio::spawn(storage.clone().maintain(drain));
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(!maintained.is_finished());
    assert_eq!((storage.stats().blocks, find(&storage, "a", 1).len()), (0, 1));
    assert!(storage.counts().get(Event::FlushFailure, "store") > 10);
    fickle.now(|_, _| Fate::Well);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((storage.stats().blocks, storage.stats().memory_batches), (1, 0));
    stopper.hurry();
    maintained.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_stops_it() {
    let disk = SimDisk::new();
    let denied = |doing: &str, _: &str| match doing {
        "put" | "create" => Fate::Fails(ErrorKind::PermissionDenied),
        _ => Fate::Well,
    };
    let storage = opened(&disk, &Fickle::local(store(&disk), denied));
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    let (_stopper, drain) = shutdown::channel();
    let ended = tokio::time::timeout(Duration::from_secs(400), storage.maintain(drain)).await;
    assert!(ended.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_more_than_memory_may_hold_waits_for_a_store_that_is_away() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = opened(&disk, &fickle);
    for seq in 1..=50 {
        append(&storage, "a", seq, &[seq as u8], &format!("batch {seq}")).await.unwrap();
    }
    let used = storage.stats().memory_bytes;
    disk.crash(1);
    let mut refused = 0;
    fickle.now(move |doing, _| {
        if doing == "create" && refused < 5 {
            refused += 1;
            return Fate::Fails(if refused % 2 == 0 { ErrorKind::TimedOut } else { ErrorKind::PermissionDenied });
        }
        Fate::Well
    });
    let again = open(&disk, &fickle, used / 4);
    assert_eq!(again.spans, 50);
    assert!(again.storage.stats().blocks >= 3);
    drop(again);
    disk.crash(1);
    fickle.now(away("create"));
    let storage = opened(&disk, &fickle);
    for seq in 1..=50 {
        assert_eq!(find(&storage, "a", seq as u8), [format!("batch {seq}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_identity_is_damaged_what_the_wal_holds_may_be_in_blocks_too_and_is_marked_so() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let storage = opened(&disk, &fickle);
    append(&storage, "a", 1, &[1], "x").await.unwrap();
    storage.flush().unwrap();
    drop(storage);
    disk.kill();
    // A bit of the name: as JSON it reads as well as before.
    disk.flip(std::path::Path::new("/store/identity"), 60, 0);
    // Another process, and other ids.
    let world = World { random: Random::seeded(2), ..world(&disk) };
    // Also at the next start, which finds a name.
    for _ in 0..2 {
        let again = Storage::open(options(16 << 20), fickle.clone(), world.clone()).unwrap();
        assert_eq!(again.spans, 1);
        assert!(again.storage.snapshot(&Tenant::new("a").unwrap()).memory().all(|memory| memory.may_duplicate()));
        drop(again);
        disk.kill();
    }
}
