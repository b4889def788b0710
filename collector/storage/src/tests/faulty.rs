//! Requests to the store fail anywhere in the life of spans: start, flush, merge, refresh, lookup, scan, sweep. Each span is found
//! once all the same, or the answer says that some may be missing.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clew_common::{
    ids::Tenant,
    log::SimDisk,
    world::{Random, World},
};

use super::{
    append,
    fickle::{Fate, Fickle},
    find, options, store, trace, world,
};
use crate::{OpenError, Options, Snapshot, Storage};

const BATCHES: u64 = 8;
/// Trace 200 has a span of each batch.
const SHARED: u8 = 200;
const SWEEP_DELAY: Duration = Duration::from_secs(601);
const FATES: [Fate; 3] = [Fate::Fails(ErrorKind::TimedOut), Fate::Fails(ErrorKind::PermissionDenied), Fate::AnswerLost];

fn name(seq: u64) -> String {
    format!("span {seq}")
}

fn snapshot(storage: &Storage) -> Snapshot {
    storage.snapshot(&Tenant::new("a").unwrap())
}

/// The spans of a trace, and whether some may be missing.
fn look_up(storage: &Storage, number: u8) -> (Vec<String>, bool) {
    let parts = snapshot(storage).trace(&trace(number));
    let partial = parts.iter().any(Result::is_err);
    let found = parts.into_iter().filter_map(Result::ok).collect();
    (super::names(found), partial)
}

/// How many spans a scan of everything finds, and whether some may be missing.
fn scan(storage: &Storage) -> (u64, bool) {
    let snapshot = snapshot(storage);
    let mut partial = snapshot.damaged().count() > 0;
    let mut spans: u64 =
        snapshot.memory().flat_map(|memory| memory.batches(&|| true)).map(|batch| batch.num_rows() as u64).sum();
    for batch in snapshot.blocks().iter().flat_map(|block| block.batches(3)) {
        match batch {
            Ok(batch) => spans += batch.num_rows() as u64,
            Err(_) => partial = true,
        }
    }
    (spans, partial)
}

/// Whether spans may be there twice: what a block held that could not be read was read from the WAL again.
fn may_duplicate(storage: &Storage) -> bool {
    let snapshot = snapshot(storage);
    snapshot.memory().any(|memory| memory.may_duplicate())
        || snapshot.blocks().iter().any(|block| block.meta().may_duplicate)
}

/// Asks while the store may fail: what is said to be whole is all that was acked, and nothing is there that nobody sent.
fn ask(storage: &Storage, acked: u64, context: &str) {
    let (spans, partial) = scan(storage);
    let doubled = may_duplicate(storage);
    assert!(partial || doubled || spans == 2 * acked, "{context}: a scan finds {spans} of {} spans", 2 * acked);
    assert!(doubled || spans <= 2 * acked, "{context}: a scan finds {spans} of {} spans", 2 * acked);
    let (mut names, partial) = look_up(storage, SHARED);
    let found = names.len();
    names.sort();
    names.dedup();
    assert!(doubled || names.len() == found, "{context}: {found} spans, and {names:?}");
    let mut all: Vec<_> = (1..=acked).map(name).collect();
    all.sort();
    assert!(names.iter().all(|name| all.contains(name)), "{context}: {names:?}");
    assert!(partial || names == all, "{context}: {names:?}");
}

/// Asks once the store has nothing to hide.
fn ask_all(storage: &Storage, acked: u64, context: &str) {
    storage.refresh().unwrap();
    storage.flush().unwrap();
    ask(storage, acked, context);
    let stats = storage.stats();
    assert_eq!((stats.damaged_blocks, stats.unavailable_blocks), (0, 0), "{context}");
    assert!(!look_up(storage, SHARED).1 && !scan(storage).1, "{context}: the answers stay partial");
    for seq in 1..=acked {
        let mut found = find(storage, "a", seq as u8);
        found.dedup();
        assert_eq!(found, [name(seq)], "{context}");
    }
}

/// Two processes, one after the other, over a store of which one request fails, or some do.
struct Lives {
    disk: SimDisk,
    fickle: Arc<Fickle>,
    /// A failure is the end of a process, and not a reason to try again.
    dies: bool,
    /// Each process chooses other ids, as it would.
    processes: AtomicU64,
    context: String,
}

impl Lives {
    fn new(disk: SimDisk, fickle: Arc<Fickle>, dies: bool, context: String) -> Self {
        Self { disk, fickle, dies, processes: AtomicU64::new(0), context }
    }

    fn open(&self) -> Storage {
        loop {
            let random = Random::seeded(self.processes.fetch_add(1, Relaxed));
            let world = World { random, ..world(&self.disk) };
            match Storage::open(options(16 << 20), self.fickle.clone(), world) {
                Ok(opened) => return opened.storage,
                // Whoever starts it starts it again.
                Err(OpenError::Blocks(_)) => self.disk.kill(),
                Err(error) => panic!("{}: {error}", self.context),
            }
        }
    }

    /// Does something until it succeeds.
    fn insist<E: std::fmt::Display>(&self, storage: &mut Storage, work: impl Fn(&Storage) -> Result<(), E>) {
        let mut tries = 0;
        while let Err(error) = work(storage) {
            tries += 1;
            assert!(tries < 50, "{}: {error}", self.context);
            if self.dies {
                self.disk.kill();
                *storage = self.open();
            }
        }
    }

    async fn run(&self) {
        let mut storage = self.open();
        for seq in 1..=BATCHES {
            append(&storage, "a", seq, &[seq as u8, SHARED], &name(seq)).await.unwrap();
            self.insist(&mut storage, Storage::flush);
            ask(&storage, seq, &self.context);
        }
        self.insist(&mut storage, Storage::compact);
        ask(&storage, BATCHES, &self.context);
        for _ in 0..2 {
            tokio::time::advance(SWEEP_DELAY).await;
            storage.sweep();
            ask(&storage, BATCHES, &self.context);
        }
        drop(storage);
        self.disk.kill();
        let mut storage = self.open();
        ask(&storage, BATCHES, &self.context);
        self.insist(&mut storage, Storage::refresh);
        ask(&storage, BATCHES, &self.context);
    }

    /// Nothing fails any more.
    async fn end(&self) {
        self.fickle.now(|_, _| Fate::Well);
        self.disk.kill();
        let storage = self.open();
        ask_all(&storage, BATCHES, &self.context);
        storage.compact().unwrap();
        for _ in 0..2 {
            tokio::time::advance(SWEEP_DELAY).await;
            storage.sweep();
        }
        ask_all(&storage, BATCHES, &self.context);
        let folders: std::collections::HashSet<_> = store(&self.disk)
            .list("")
            .unwrap()
            .into_iter()
            .filter_map(|file| Some(file.path.rsplit_once('/')?.0.to_owned()))
            .collect();
        assert_eq!(folders.len(), storage.stats().blocks, "{}: files are left: {folders:?}", self.context);
    }
}

#[tokio::test(start_paused = true)]
async fn any_one_request_may_fail_in_any_way_and_every_span_is_found_once() {
    let ways: Vec<_> = FATES.into_iter().flat_map(|fate| [(fate, false), (fate, true)]).collect();
    // Every third: they come in rows of a few for each file. The ways take turns.
    for (at, (fate, dies)) in (1..).step_by(3).zip(ways.into_iter().cycle()) {
        let disk = SimDisk::new();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let fickle = Fickle::new(store(&disk), move |_, _| match count.fetch_add(1, Relaxed) + 1 == at {
            true => fate,
            false => Fate::Well,
        });
        let lives = Lives::new(disk, fickle, dies, format!("request {at}: {fate:?}, dies: {dies}"));
        lives.run().await;
        let reached = asked.load(Relaxed) >= at;
        lives.end().await;
        if !reached {
            assert!(at > 200, "there are only {at} requests");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_may_fail_by_chance_all_the_time_and_every_span_is_found_once() {
    for seed in 1..=24 {
        let disk = SimDisk::new();
        let random = Random::seeded(seed);
        let fickle = Fickle::new(store(&disk), move |_, _| match random.bits() % 20 {
            fate @ 0..3 => FATES[fate as usize],
            _ => Fate::Well,
        });
        let lives = Lives::new(disk, fickle, seed % 2 == 0, format!("seed {seed}"));
        lives.run().await;
        lives.end().await;
    }
}

/// What is asked for of a file fails, until the store is told otherwise.
fn away(doing: &'static str, file: &'static str) -> impl FnMut(&str, &str) -> Fate + Send {
    move |what, path| match what == doing && path.ends_with(file) {
        true => Fate::Fails(ErrorKind::TimedOut),
        false => Fate::Well,
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_partial_while_a_file_is_away_and_whole_when_it_is_back() {
    for (doing, file) in [("open", "spans.parquet"), ("read", "spans.parquet"), ("size", "resources.parquet")] {
        let disk = SimDisk::new();
        let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
        let lives = Lives::new(disk, fickle, false, format!("{doing} {file}"));
        let storage = lives.open();
        append(&storage, "a", 1, &[1, SHARED], &name(1)).await.unwrap();
        storage.flush().unwrap();
        append(&storage, "a", 2, &[2, SHARED], &name(2)).await.unwrap();
        lives.fickle.now(away(doing, file));
        assert_eq!(look_up(&storage, SHARED), (vec![name(2)], true), "{}", lives.context);
        // Of what the filter does not know nothing is missing.
        assert_eq!(look_up(&storage, 2), (vec![name(2)], false), "{}", lives.context);
        if file == "spans.parquet" {
            assert_eq!(scan(&storage), (2, true), "{}", lives.context);
        }
        lives.fickle.now(|_, _| Fate::Well);
        ask_all(&storage, 2, &lives.context);
        let damage = crate::Event::Damage;
        assert!(damage.reasons().iter().all(|reason| storage.counts().get(damage, reason) == 0), "{}", lives.context);
    }
}

#[tokio::test(start_paused = true)]
async fn files_of_merged_blocks_are_deleted_late_though_the_store_refuses_for_a_while() {
    let disk = SimDisk::new();
    let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
    let lives = Lives::new(disk.clone(), fickle, false, "deleting".to_owned());
    let storage = lives.open();
    for seq in 1..=8 {
        append(&storage, "a", seq, &[seq as u8, SHARED], &name(seq)).await.unwrap();
        storage.flush().unwrap();
    }
    let before = snapshot(&storage);
    storage.compact().unwrap();
    let folders = || {
        let files = store(&disk).list("").unwrap();
        let metas = files.iter().filter(|file| file.path.ends_with("meta.json")).count();
        (metas, files.len())
    };
    let all = folders();
    assert_eq!(all.0, 9);
    // Too early.
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!((storage.sweep(), folders()), (0, all));
    assert!(before.trace(&trace(SHARED)).iter().all(Result::is_ok));
    for (doing, fate) in [
        ("delete", Fate::Fails(ErrorKind::TimedOut)),
        ("list", Fate::Fails(ErrorKind::TimedOut)),
        ("delete", Fate::AnswerLost),
    ] {
        lives.fickle.now(move |what, _| if what == doing { fate } else { Fate::Well });
        tokio::time::advance(SWEEP_DELAY).await;
        assert_eq!(storage.sweep(), 0, "{doing}: {fate:?}");
        ask(&storage, 8, "deleting");
    }
    lives.fickle.now(|_, _| Fate::Well);
    tokio::time::advance(SWEEP_DELAY).await;
    assert_eq!(storage.sweep(), 8);
    assert_eq!(folders().0, 1);
    ask_all(&storage, 8, "deleting");
}

#[tokio::test(start_paused = true)]
async fn what_others_have_in_the_store_is_found_once_whichever_request_for_it_fails() {
    let shared = |name: &str| Options { data: name.into(), sole: false, ..options(16 << 20) };
    for (fate, merged) in FATES.into_iter().flat_map(|fate| [(fate, false), (fate, true)]) {
        let batches = if merged { 8 } else { 2 };
        let all: Vec<_> = (1..=batches).map(name).collect();
        for at in (1..).step_by(2) {
            let disk = SimDisk::new();
            let context = format!("request {at}: {fate:?}, merged: {merged}");
            let one = Storage::open(shared("/one"), store(&disk), world(&disk)).unwrap().storage;
            let fickle = Fickle::new(store(&disk), |_, _| Fate::Well);
            let other = World { random: Random::seeded(2), ..world(&disk) };
            let two = Storage::open(shared("/two"), fickle.clone(), other).unwrap().storage;
            for seq in 1..=batches {
                append(&one, "a", seq, &[seq as u8, SHARED], &name(seq)).await.unwrap();
                one.flush().unwrap();
            }
            if merged {
                two.refresh().unwrap();
                one.compact().unwrap();
            }
            let mut asked = 0;
            let reached = Arc::new(AtomicU64::new(0));
            let last = reached.clone();
            fickle.now(move |_, _| {
                asked += 1;
                last.store(asked, Relaxed);
                if asked == at { fate } else { Fate::Well }
            });
            let refreshed = two.refresh();
            let is_known = refreshed.is_ok() || merged;
            let (mut found, partial) = look_up(&two, SHARED);
            found.sort();
            assert!(partial || !is_known || found == all, "{context}: {found:?}");
            let several = found.len();
            found.dedup();
            assert_eq!(found.len(), several, "{context}");
            fickle.now(|_, _| Fate::Well);
            two.refresh().unwrap();
            let (mut found, partial) = look_up(&two, SHARED);
            found.sort();
            assert_eq!((found, partial), (all.clone(), false), "{context}");
            assert_eq!(scan(&two), (2 * batches, false), "{context}");
            if reached.load(Relaxed) < at {
                assert!(at > 2, "there are only {at} requests");
                break;
            }
        }
    }
}
