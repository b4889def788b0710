//! The write-ahead log: what was acked is in it until it is in a block.
//!
//! Two kinds, one interface. On disk it is a `clew_common::log`, and one group is one fdatasync. In a store it is objects of
//! `wal/<name>/<epoch>/`, put before the ack, so that a collector owns no disk: `queue` gathers records into groups, `objects`
//! puts them (`object` has the bytes), `epochs` finds what earlier processes left, `owner` notices a second process of the
//! same name, `entries` reads everything back, `peek`
//! from outside. `notes` are the small files beside it.

mod entries;
mod epochs;
mod notes;
mod object;
mod objects;
mod owner;
mod peek;
mod place;
mod queue;
mod sources;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use clew_common::{
    log::{self, AppendError, Appender, Failure, Log, Reader, Record, Stats},
    ranges::SeqRanges,
};
use tokio::sync::watch;
use uuid::Uuid;

pub use entries::Entries;
pub use notes::{CHECKPOINT, Notes, is_whole, seal};
pub use objects::{Objects, Options};
pub use peek::{Peeked, peek, stand_still};
pub use queue::Limits;

use crate::store::StoreError;

/// A write-ahead log. Cheap to clone.
#[derive(Clone)]
pub enum Wal {
    /// In a folder.
    Disk {
        /// Writes it.
        appender: Appender,
        /// Reads it.
        reader: Reader,
        /// Whose it is.
        collector: Uuid,
        /// Small files beside it.
        notes: Notes,
    },
    /// In a store.
    Objects(Objects),
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in this process.
    pub seq: u64,
    /// Its name for ever: the log that it was appended to, and its number there.
    pub source: (Uuid, u64),
    /// What whoever appended it said.
    pub kind: u8,
    /// Shares one buffer with the entries read in the same call.
    pub payload: Bytes,
    /// It may be stored a second time under another name.
    pub may_duplicate: bool,
}

/// So many ranges of records are remembered of a log in a store.
const MAX_PIECES: usize = 1 << 12;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// That of the folder.
    #[error(transparent)]
    Log(#[from] log::OpenError),
    /// The name cannot be part of a path.
    #[error(
        "{name:?} is no name for a collector: a name has 1 to 128 letters, digits, '-', '_' or '.', and does not start with '.'"
    )]
    Name {
        /// Which.
        name: String,
    },
    /// The name is in use.
    #[error("{root} is in use: process {pid} on {host} writes it; stop that process or give this one another name")]
    Owned {
        /// Where in the store.
        root: String,
        /// Where the other one runs.
        host: String,
        /// And as which process.
        pid: u32,
    },
    /// A file is of a newer program.
    #[error(
        "{path} is of format version {version}, which this program does not know (it knows {known}); nothing was changed"
    )]
    Version {
        /// Which file.
        path: String,
        /// Its version.
        version: u32,
        /// The newest version that is known.
        known: u32,
    },
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread cannot be started.
    #[error("cannot start a thread of the WAL: {0}")]
    Thread(std::io::Error),
}

impl OpenError {
    fn owned(place: &place::Place, owner: &owner::Owner) -> Self {
        Self::Owned { root: place.root().to_owned(), host: owner.host.clone(), pid: owner.pid }
    }

    fn object(path: &str, object::UnknownVersion(version): object::UnknownVersion) -> Self {
        Self::Version { path: path.to_owned(), version, known: object::VERSION }
    }
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// That of the folder.
    #[error(transparent)]
    Log(#[from] log::ReadError),
    /// That of the store, or an object of a newer program.
    #[error(transparent)]
    Objects(#[from] OpenError),
}

impl Wal {
    /// A log in a folder, whose records are `collector`'s.
    pub fn on_disk(log: Log, collector: Uuid, notes: Notes) -> Self {
        Self::Disk { appender: log.appender, reader: log.reader, collector, notes }
    }

    /// The small files beside it.
    pub fn notes(&self) -> Notes {
        match self {
            Self::Disk { notes, .. } => notes.clone(),
            Self::Objects(objects) => objects.notes(),
        }
    }

    /// Queues a record at once; the future tells its number when it is durable. Numbers are in the order of the calls. Dropping
    /// the future does not take the record back.
    pub fn append(&self, record: Record) -> impl Future<Output = Result<u64, AppendError>> + Send + use<> {
        let (on_disk, in_store) = match self {
            Self::Disk { appender, .. } => (Some(appender.append(record)), None),
            Self::Objects(objects) => (None, Some(objects.append(record))),
        };
        async move {
            match (on_disk, in_store) {
                (Some(appended), _) => Ok(appended.await?.seq),
                (None, Some(appended)) => appended.await,
                (None, None) => Err(AppendError::Closed),
            }
        }
    }

    /// The number that the next record to become durable gets, or a lower one: every record below is durable.
    pub fn committed(&self) -> u64 {
        match self {
            Self::Disk { reader, .. } => *reader.committed().borrow(),
            Self::Objects(objects) => objects.committed(),
        }
    }

    /// Everything that is in the log, in order, for a replay at the start.
    pub fn entries(&self) -> Entries {
        match self {
            Self::Disk { reader, collector, .. } => Entries::on_disk(reader.clone(), *collector),
            Self::Objects(objects) => objects.entries(),
        }
    }

    /// The names for ever of records with these numbers: which logs, and the numbers there.
    pub fn sources(&self, seqs: &SeqRanges) -> Vec<(Uuid, SeqRanges)> {
        match self {
            Self::Disk { collector, .. } => vec![(*collector, seqs.clone())],
            Self::Objects(objects) => objects.sources(seqs),
        }
    }

    /// Those of a log's records that may still be in here; of a log in a store the newest, when they are in very many pieces.
    pub fn kept(&self, log: Uuid, records: &SeqRanges) -> SeqRanges {
        match self {
            Self::Disk { reader, collector, .. } if log == *collector => records.within(reader.first_seq()..u64::MAX),
            Self::Disk { .. } => SeqRanges::default(),
            Self::Objects(_) => {
                let mut newest = records.clone();
                newest.thin_below(u64::MAX, MAX_PIECES);
                newest
            }
        }
    }

    /// The name for ever of the record with this number: which log, and the number there.
    pub fn name(&self, seq: u64) -> Option<(Uuid, u64)> {
        match self {
            Self::Disk { collector, .. } => Some((*collector, seq)),
            Self::Objects(objects) => objects.name(seq),
        }
    }

    /// Whether a record, by its name, comes after another one; None when these are of logs that have nothing to do with each
    /// other. The epochs of a log in a store have ids that grow.
    pub fn is_after(&self, name: (Uuid, u64), other: (Uuid, u64)) -> Option<bool> {
        match self {
            Self::Disk { .. } if name.0 != other.0 => None,
            _ => Some(name > other),
        }
    }

    /// Deletes files whose every record is below `seq`. To be called once a checkpoint has been written that knows them.
    /// Blocking: in a store these are requests. What cannot be deleted now is tried again at the next call.
    pub fn free_before(&self, seq: u64) {
        match self {
            Self::Disk { appender, .. } => appender.free_before(seq),
            Self::Objects(objects) => objects.free_before(seq),
        }
    }

    /// Becomes `Some` when nothing more is taken: the process must stop.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<Failure>>> {
        match self {
            Self::Disk { appender, .. } => appender.failed(),
            Self::Objects(objects) => objects.failed(),
        }
    }

    /// Makes what is queued durable and ends. A store that is away is waited for a few seconds.
    pub async fn close(&self) {
        match self {
            Self::Disk { appender, .. } => appender.close().await,
            Self::Objects(objects) => objects.close().await,
        }
    }

    /// Counters and gauges. In a store, files are objects and groups are PUTs.
    pub fn stats(&self) -> Arc<Stats> {
        match self {
            Self::Disk { appender, .. } => appender.stats(),
            Self::Objects(objects) => objects.stats(),
        }
    }

    /// How many PUTs failed and were tried again; 0 on disk.
    pub fn failed_puts(&self) -> u64 {
        match self {
            Self::Disk { .. } => 0,
            Self::Objects(objects) => objects.failed_puts(),
        }
    }
}
