//! A log in a store, under faults: whatever was acked is found, once, by the next process.

mod crash;
mod epochs;
mod faults;
mod store;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clew_common::{
    log::{AppendError, Record, SimDisk, Work},
    ranges::SeqRanges,
    world::{Clock, Random, World},
};
use futures_util::future::join_all;
use uuid::Uuid;

use self::store::{Fate, Faulty, Files};
use super::{Entry, Limits, Objects, OpenError, Options, Wal};
use crate::store::Store;

fn world(work: Work, seed: u64) -> World {
    World {
        disk: Arc::new(SimDisk::new()),
        work,
        clock: Clock::Tokio { epoch_ms: 1_700_000_000_000 + seed, zero: tokio::time::Instant::now() },
        random: Random::seeded(seed),
    }
}

/// Small objects, so that there are several.
fn options() -> Options {
    let limits = Limits { object_bytes: 64, worth_bytes: 64, max_waiting_bytes: 4096, ..Limits::default() };
    Options { limits, ..Options::new("node-1") }
}

fn open(store: &Arc<Faulty>, seed: u64) -> Result<Wal, OpenError> {
    let store: Arc<dyn Store> = store.clone();
    Ok(Wal::Objects(Objects::open(store, world(Work::Inline, seed), options())?))
}

fn record(payload: &str) -> Record {
    Record { kind: 1, head: Bytes::from_static(b">"), body: Bytes::copy_from_slice(payload.as_bytes()) }
}

/// Everything that the log holds.
fn read(wal: &Wal) -> Vec<Entry> {
    let (mut entries, mut all) = (wal.entries(), Vec::new());
    loop {
        let next = entries.read().unwrap();
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

fn text(payload: &Bytes) -> String {
    String::from_utf8(payload[1..].to_vec()).unwrap()
}

fn texts(wal: &Wal) -> Vec<String> {
    read(wal).iter().map(|entry| text(&entry.payload)).collect()
}

/// Object files of the log, by path.
fn objects(files: &Files) -> Vec<String> {
    files.0.lock().keys().filter(|path| path.ends_with(".wal")).cloned().collect()
}

/// A process as the engine is one: what it acked lies in its memory until it is in a block, and the blocks name the records
/// that they hold.
struct Process {
    wal: Wal,
    store: Arc<Faulty>,
    /// By number: payload, and whether it may be there twice.
    memory: BTreeMap<u64, (String, bool)>,
    blocks: usize,
}

/// What a block holds: the payloads, and the names of their records.
#[derive(serde::Serialize, serde::Deserialize)]
struct Block {
    spans: Vec<(String, bool)>,
    wal: Vec<(Uuid, Vec<(u64, u64)>)>,
}

impl Process {
    fn start(store: Arc<Faulty>, seed: u64) -> Option<Self> {
        let wal = open(&store, seed).ok()?;
        wal.notes().checkpoints().ok()?;
        let mut stored: HashMap<Uuid, SeqRanges> = HashMap::new();
        let blocks = blocks(&store.files);
        for (log, ranges) in blocks.iter().flat_map(|block| &block.wal) {
            ranges.iter().for_each(|(first, end)| stored.entry(*log).or_default().insert_range(*first..*end));
        }
        let (mut memory, mut entries) = (BTreeMap::new(), wal.entries());
        loop {
            let next = entries.read().ok()?;
            if next.is_empty() {
                break;
            }
            for Entry { seq, source: (log, theirs), payload, may_duplicate, .. } in next {
                if !stored.get(&log).is_some_and(|stored| stored.contains(theirs)) {
                    assert!(memory.insert(seq, (text(&payload), may_duplicate)).is_none(), "number {seq} twice");
                }
            }
        }
        Some(Self { wal, store, memory, blocks: blocks.len() })
    }

    /// Appends all at once; gives those that were acked.
    async fn append(&mut self, payloads: &[String]) -> Vec<String> {
        let appended = join_all(payloads.iter().map(|payload| self.wal.append(record(payload))));
        let Ok(outcomes) = tokio::time::timeout(Duration::from_secs(120), appended).await else { return Vec::new() };
        let mut acked = Vec::new();
        for (payload, outcome) in payloads.iter().zip(outcomes) {
            if let Ok(seq) = outcome {
                self.memory.insert(seq, (payload.clone(), false));
                acked.push(payload.clone());
            }
        }
        acked
    }

    /// Memory becomes a block, then the log below goes.
    fn flush(&mut self) {
        let mut seqs = SeqRanges::default();
        self.memory.keys().for_each(|seq| seqs.insert(*seq));
        let sources = self.wal.sources(&seqs);
        let ranges = |seqs: &SeqRanges| seqs.above().map(|range| (range.start, range.end)).collect();
        let block = Block {
            spans: self.memory.values().cloned().collect(),
            wal: sources.iter().map(|(log, seqs)| (*log, ranges(seqs))).collect(),
        };
        let path = format!("blocks/{:03}-{}", self.blocks, self.store.requests());
        self.blocks += 1;
        if self.store.put(&path, serde_json::to_vec(&block).unwrap().into()).is_err() {
            return;
        }
        self.memory.clear();
        if self.wal.notes().write_checkpoint(b"checkpoint").is_ok() {
            self.wal.free_before(self.wal.committed());
        }
    }

    /// All that can be found, each as often as it is there.
    fn found(&self) -> BTreeMap<String, (usize, bool)> {
        let stored = blocks(&self.store.files).into_iter().flat_map(|block| block.spans);
        let mut found: BTreeMap<String, (usize, bool)> = BTreeMap::new();
        for (payload, may_duplicate) in stored.chain(self.memory.values().cloned()) {
            let entry = found.entry(payload).or_default();
            entry.0 += 1;
            entry.1 |= may_duplicate;
        }
        found
    }
}

fn blocks(files: &Files) -> Vec<Block> {
    let files = files.0.lock();
    let blocks = files.iter().filter(|(path, _)| path.starts_with("blocks/"));
    blocks.map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect()
}

/// Each of `acked` is found once; anything is found twice only if it says that it may be.
fn assert_found_once(process: &Process, acked: &[String], case: &str) {
    let found = process.found();
    for payload in acked {
        assert!(found.contains_key(payload), "{case}: {payload} was acked and is lost; found {found:?}");
    }
    for (payload, (times, may_duplicate)) in &found {
        assert!(*times == 1 || *may_duplicate, "{case}: {payload} is found {times} times");
    }
}
