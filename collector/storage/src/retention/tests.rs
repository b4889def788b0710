//! What is deleted, and which clocks are believed.

use std::path::PathBuf;

use clew_common::{log::SimDisk, shutdown, world::World};

use super::*;
use crate::{
    Options, Storage,
    tests::{append, find, options, store, world},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
const START_MS: u64 = 1_800_000_000_000;

fn at(epoch_ms: u64) -> Clock {
    Clock::Tokio { epoch_ms, zero: Instant::now() }
}

/// With a clock that shows this time now.
fn open(disk: &SimDisk, limits: Limits, now_ms: u64) -> Storage {
    let options = Options { retention: limits, data: PathBuf::from("/store"), ..options(16 << 20) };
    let world = World { clock: at(now_ms), ..world(disk) };
    Storage::open(options, store(disk), world).unwrap().storage
}

/// Lets the store do its work for so long.
async fn run(storage: &Storage, time: Duration) {
    let (stopper, drain) = shutdown::channel();
    let maintained = tokio::spawn(storage.clone().maintain(drain));
    tokio::time::sleep(time).await;
    stopper.drain();
    maintained.await.unwrap().unwrap();
}

async fn block(storage: &Storage, seq: u64) {
    append(storage, "a", seq, &[seq as u8], "x").await.unwrap();
    storage.flush().unwrap();
}

fn files(disk: &SimDisk) -> usize {
    store(disk).list("").unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn blocks_that_are_too_old_go_and_their_files_after_them() {
    let disk = SimDisk::new();
    let storage = open(&disk, Limits { max_age: Some(2 * DAY), max_bytes: None }, START_MS);
    block(&storage, 1).await;
    run(&storage, DAY).await;
    block(&storage, 2).await;
    let both = files(&disk);
    assert_eq!(storage.stats().blocks, 2);
    run(&storage, DAY + Duration::from_secs(60)).await;
    assert_eq!((find(&storage, "a", 1).len(), find(&storage, "a", 2).len()), (0, 1));
    assert_eq!(files(&disk), both, "queries may still read it");
    run(&storage, Duration::from_secs(620)).await;
    assert_eq!(files(&disk), both / 2);
    run(&storage, DAY).await;
    assert_eq!((storage.stats().blocks, files(&disk)), (0, 0));
    assert_eq!([Event::ExpiredBlock, Event::ExpiredSpan].map(|event| storage.counts().get(event, "age")), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_kept_does_not_come_back_from_the_wal() {
    let disk = SimDisk::new();
    let limits = Limits { max_age: Some(2 * DAY), max_bytes: None };
    let storage = open(&disk, limits, START_MS);
    block(&storage, 1).await;
    run(&storage, 3 * DAY).await;
    assert_eq!((storage.stats().blocks, files(&disk)), (0, 0));
    append(&storage, "a", 2, &[2], "x").await.unwrap();
    drop(storage);
    for _ in 0..2 {
        disk.kill();
        let storage = open(&disk, limits, START_MS + 3 * DAY.as_millis() as u64);
        assert_eq!((find(&storage, "a", 1).len(), find(&storage, "a", 2).len()), (0, 1));
        storage.flush().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_go_while_a_tenant_has_too_many_bytes() {
    let disk = SimDisk::new();
    let storage = open(&disk, Limits::default(), START_MS);
    for seq in 1..=3 {
        block(&storage, seq).await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    append(&storage, "b", 4, &[9], "x").await.unwrap();
    storage.flush().unwrap();
    let bytes = storage.stats().block_bytes / 4;
    drop(storage);
    disk.kill();
    let limits = Limits { max_age: None, max_bytes: Some(2 * bytes + bytes / 2) };
    let storage = open(&disk, limits, START_MS);
    run(&storage, Duration::from_secs(30)).await;
    assert_eq!([1, 2, 3].map(|number| find(&storage, "a", number).len()), [0, 1, 1]);
    assert_eq!(storage.counts().get(Event::ExpiredSpan, "bytes"), 1);
    assert_eq!(find(&storage, "b", 9).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_too_old_for_a_day_after_a_clock_jumped_over_a_restart() {
    let disk = SimDisk::new();
    let limits = Limits { max_age: Some(2 * DAY), max_bytes: None };
    let storage = open(&disk, limits, START_MS);
    block(&storage, 1).await;
    drop(storage);
    disk.kill();
    let storage = open(&disk, limits, START_MS + 10 * YEAR_MS);
    // What is flushed meanwhile has the time that it would be without the jump.
    block(&storage, 2).await;
    run(&storage, DAY - Duration::from_secs(60)).await;
    let found = |storage: &Storage| [1, 2].map(|number| find(storage, "a", number).len());
    assert_eq!(found(&storage), [1, 1]);
    drop(storage);
    disk.kill();
    // The clock is right again. A process that knows only what the blocks say believes it.
    let storage = open(&disk, limits, START_MS + DAY.as_millis() as u64);
    run(&storage, Duration::from_secs(60)).await;
    assert_eq!(found(&storage), [1, 1]);
    run(&storage, DAY).await;
    assert_eq!(found(&storage), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_years_and_back_is_not_believed_until_a_day_after() {
    let mut steady = SteadyClock::start(at(START_MS), Some(START_MS - 1000));
    assert_eq!(steady.now_ms(), Some(START_MS));
    let mut expected = START_MS;
    for jump in [START_MS + 20 * YEAR_MS, START_MS / 2, START_MS] {
        steady.clock = at(jump);
        for _ in 0..23 {
            assert_eq!(steady.now_ms(), None);
            assert_eq!(steady.about_ms(), expected);
            tokio::time::advance(Duration::from_secs(3600)).await;
            expected += 3_600_000;
        }
    }
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(steady.now_ms(), Some(START_MS + DAY.as_millis() as u64));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_right_by_minutes_is_believed() {
    let mut steady = SteadyClock::start(at(START_MS), None);
    steady.clock = at(START_MS - 30 * 60 * 1000);
    assert_eq!(steady.now_ms(), Some(START_MS - 30 * 60 * 1000));
    steady.clock = at(START_MS + 20 * 60 * 1000);
    assert_eq!(steady.now_ms(), Some(START_MS + 20 * 60 * 1000));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_away_for_days_believes_its_clock_and_one_that_was_for_weeks_does_not() {
    let ago = |days: u64| Some(START_MS - days * DAY.as_millis() as u64);
    assert!(SteadyClock::start(at(START_MS), ago(6)).now_ms().is_some());
    let mut steady = SteadyClock::start(at(START_MS), ago(8));
    assert_eq!((steady.now_ms(), steady.about_ms()), (None, ago(8).unwrap()));
    tokio::time::advance(DAY).await;
    assert!(steady.now_ms().is_some());
}
