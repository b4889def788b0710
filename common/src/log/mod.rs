//! The segmented log: the agent's queue and the collector's WAL.
//!
//! Appended records become durable in groups (one write and one fdatasync for whatever arrived while the last sync ran),
//! are read back by sequence number or by position, and go a whole segment file at a time. Sequence numbers never go back
//! and are never used twice, whatever was freed, torn or damaged. The bytes are in `docs/formats.md`.
//!
//! In the order in which data flows: [`Appender`] hands records to the one [`writer`], which lays them out as
//! [`segment`] says, through a [`Disk`]; [`Reader`] finds them again with the help of [`scan`]; [`recover`] makes sense of
//! a folder at start. Nothing but `writer`, `recover` and `quarantine` changes a segment file.

mod appender;
mod disk;
mod error;
mod quarantine;
mod reader;
mod real;
mod recover;
mod scan;
mod segment;
mod shared;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod stats;
mod survey;
mod work;
mod writer;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use appender::{Appender, Evicted};
pub use disk::{Disk, DiskFile, read_full, read_whole, replace_whole};
pub use error::{AppendError, Failure, OpenError, ReadError};
pub use reader::{Cursor, Reader};
pub use real::RealDisk;
pub use recover::Recovery;
pub use segment::{HEAD_BYTES as RECORD_HEAD_BYTES, Head as RecordHead, record_head};
#[cfg(any(test, feature = "sim"))]
pub use sim::SimDisk;
pub use stats::Stats;
pub use work::Work;

/// How many of a payload's first bytes [`Options::weigh`] is shown, at most.
pub const WEIGH_BYTES: usize = 256;

/// What a log is made of. Wrong combinations are refused by [`Log::open`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The log's own folder; made if it is not there. One process at a time may have it open.
    pub dir: PathBuf,
    /// Size of a segment file, preallocated. A record that does not fit one gets a segment of its own size.
    pub segment_bytes: u64,
    /// The most that segment files (at their preallocated size) and quarantined copies may take on disk; at least two
    /// segments.
    pub max_bytes: u64,
    /// The largest payload (head and body) that is accepted.
    pub max_record_bytes: u32,
    /// What happens when a new segment would pass `max_bytes`.
    pub when_full: WhenFull,
    /// How much a record counts for (spans), told from its kind and its payload's first [`WEIGH_BYTES`] bytes.
    pub weigh: fn(kind: u8, payload_start: &[u8]) -> u64,
}

impl Options {
    /// 64 MiB segments, 16 MiB records, refusing past `max_bytes`, each record weighing 1.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Options {
        Options {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            max_bytes,
            max_record_bytes: 16 << 20,
            when_full: WhenFull::Refuse,
            weigh: |_, _| 1,
        }
    }
}

/// What a log does when its disk budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Appends get [`AppendError::Full`] until something is freed.
    Refuse,
    /// The oldest segment goes, its records counted and told to [`Appender::evictions`].
    EvictOldest,
}

/// What is appended. The payload on disk is `head` followed by `body`, so that a header need not be copied together with
/// what it describes.
#[derive(Clone, Debug)]
pub struct Record {
    /// The caller's own; the log gives it back and passes it to [`Options::weigh`].
    pub kind: u8,
    pub head: Bytes,
    pub body: Bytes,
}

/// Where a record is. Stays right for as long as the record's segment exists; segments are never rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The segment's base sequence number, which is its file's name.
    pub segment: u64,
    /// Where the record's head starts in the file.
    pub offset: u64,
    /// Bytes of payload.
    pub len: u32,
}

/// A record that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub seq: u64,
    pub position: Position,
}

/// A record that was read and whose checksum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub kind: u8,
    /// Shares one buffer with the entries read in the same call: copy what is kept for long.
    pub payload: Bytes,
    pub position: Position,
}

/// Bytes that hold no valid record where one should be, or that should be a segment's header or seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The segment's file.
    pub path: PathBuf,
    /// Where they start.
    pub offset: u64,
    pub bytes: u64,
    /// The numbers that lost records among them can have had; empty when there was none.
    pub seqs: Range<u64>,
}

/// The start of a record whose checksum was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub seq: u64,
    pub kind: u8,
    /// The payload's first bytes.
    pub start: Bytes,
    pub position: Position,
}

/// An open log. The folder is locked until [`Appender::close`] or until the last `Appender` is dropped.
pub struct Log {
    pub appender: Appender,
    pub reader: Reader,
    pub recovery: Recovery,
}

impl Log {
    /// Locks the folder, makes sense of what is in it and starts the one writer: a thread named `clew-log`, or with
    /// [`Work::Inline`] a task of the tokio runtime that this is called in. Blocking.
    ///
    /// Damage is no error: it is counted in [`Recovery`], kept in `quarantine/`, and what follows it is still found.
    /// An unknown format version is one, and leaves the folder as it was.
    pub fn open(disk: Arc<dyn Disk>, options: Options, work: Work) -> Result<Log, OpenError> {
        let (writer, shared, recovery) = recover::open(disk, options)?;
        let appender = Appender::start(writer, Arc::clone(&shared), work)?;
        Ok(Log { appender, reader: Reader::new(shared), recovery })
    }
}
