//! Tests of the log, on the simulated disk unless they say otherwise.

mod append;
mod crash;
mod damage;
mod faults;
mod format;
mod free;
mod lives;
mod read;
mod real;
mod simdisk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::future::join_all;

use super::segment::file_name;
use super::*;

const DIR: &str = "/log";

/// Small segments: four records of 200 bytes fill one.
fn options() -> Options {
    let weigh = |_, start: &[u8]| start.len() as u64;
    Options { segment_bytes: 1024, max_record_bytes: 1 << 20, weigh, ..Options::new(DIR, 1 << 20) }
}

fn open(disk: &SimDisk) -> Log {
    open_with(disk, options())
}

fn open_with(disk: &SimDisk, options: Options) -> Log {
    try_open(disk, options).unwrap()
}

fn try_open(disk: &SimDisk, options: Options) -> Result<Log, OpenError> {
    Log::open(Arc::new(disk.clone()), options, Work::Inline)
}

/// `len` bytes that tell which record they are of.
fn payload(tag: u64, len: usize) -> Bytes {
    let mut bytes = tag.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|at| (tag as usize * 31 + at * 7) as u8));
    bytes.truncate(len);
    bytes.into()
}

fn record(payload: &Bytes) -> Record {
    let middle = payload.len() / 3;
    Record { kind: payload.len() as u8, head: payload.slice(..middle), body: payload.slice(middle..) }
}

async fn append(log: &Log, payload: &Bytes) -> Result<Appended, AppendError> {
    log.appender.append(record(payload)).await
}

/// Appends `count` records of `len` bytes, one group each; gives their payloads.
async fn fill(log: &Log, count: u64, len: usize) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        let payload = payload(log.appender.stats().next_seq.load(Relaxed), len);
        append(log, &payload).await.unwrap();
        payloads.push(payload);
    }
    payloads
}

/// Appends all at once; gives each outcome.
async fn append_together(log: &Log, payloads: &[Bytes]) -> Vec<Result<Appended, AppendError>> {
    let pending: Vec<_> = payloads.iter().map(|payload| log.appender.append(record(payload))).collect();
    let mut outcomes = Vec::new();
    for each in pending {
        outcomes.push(each.await);
    }
    outcomes
}

fn read_from(log: &Log, seq: u64) -> Vec<Entry> {
    try_read_from(log, seq).unwrap()
}

fn try_read_from(log: &Log, seq: u64) -> Result<Vec<Entry>, ReadError> {
    let mut cursor = log.reader.cursor(seq);
    let mut all = Vec::new();
    loop {
        let entries = log.reader.next(&mut cursor, 700)?;
        if entries.is_empty() {
            return Ok(all);
        }
        all.extend(entries);
    }
}

fn seqs_and_payloads(entries: &[Entry]) -> Vec<(u64, Bytes)> {
    entries.iter().map(|entry| (entry.seq, entry.payload.clone())).collect()
}

/// The payloads numbered from `first` on.
fn numbered(first: u64, payloads: &[Bytes]) -> Vec<(u64, Bytes)> {
    (first..).zip(payloads.iter().cloned()).collect()
}

fn segment_path(base: u64) -> PathBuf {
    Path::new(DIR).join(file_name(base))
}

fn segments(disk: &SimDisk) -> Vec<u64> {
    disk.list(Path::new(DIR)).unwrap().iter().filter_map(|name| super::segment::base_of(name)).collect()
}

fn stat(log: &Log, of: impl Fn(&Stats) -> &AtomicU64) -> u64 {
    of(&log.appender.stats()).load(Relaxed)
}
