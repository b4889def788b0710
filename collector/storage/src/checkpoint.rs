//! What has to be known of WAL records that are no longer there: which batches of agents they held, and which requests came
//! over OTLP lately. Written before their segments go. And of records that are still there, which of them are in no block any more
//! because it was kept for long enough.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
};

use clew_common::{ids::Tenant, ranges::SeqRanges};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wal::{CHECKPOINT, Notes, is_whole, seal};

const VERSION: u32 = 1;

/// The file, or several in a store: see [`Notes::checkpoints`]. JSON, for people who look; replaced as a whole.
pub struct File(Notes);

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is durable of each agent's batches.
    pub agents: Vec<(Uuid, SeqRanges)>,
    /// Requests over OTLP: when they were accepted (Unix time in milliseconds), and their hash.
    pub requests: Vec<(u64, u128)>,
    /// Records whose blocks were deleted for their age or size.
    pub expired: Expired,
}

/// Records, by tenant and log.
pub type Expired = HashMap<(Tenant, Uuid), SeqRanges>;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    agents: Vec<StoredAgent>,
    /// Hashes in hexadecimal: JSON's numbers are too small.
    requests: Vec<(u64, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expired: Vec<StoredExpired>,
}

#[derive(Serialize, Deserialize)]
struct StoredExpired {
    tenant: String,
    log: Uuid,
    /// First number, and the one after the last.
    records: Vec<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredAgent {
    id: Uuid,
    /// First number, and the one after the last.
    durable: Vec<(u64, u64)>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl File {
    /// Among these.
    pub fn new(notes: Notes) -> Self {
        Self(notes)
    }

    /// Reads it; empty when there is none. A damaged one is set aside: batches that come again are then stored again, and
    /// dropped as duplicates later.
    ///
    /// # Errors
    /// Those of the disk or the store; an unknown version.
    pub fn read(&self) -> io::Result<Checkpoint> {
        let mut all = Checkpoint::default();
        for bytes in self.0.checkpoints()? {
            let Some(Checkpoint { agents, requests, expired }) = Checkpoint::parse(&bytes, &self.0.path(CHECKPOINT))?
            else {
                let aside = self.0.set_aside(CHECKPOINT)?;
                tracing::error!(kept_as = aside, "the checkpoint is damaged: batches that come again are stored again");
                continue;
            };
            all.agents.extend(agents);
            all.requests.extend(requests);
            all.expired.extend(expired);
        }
        Ok(all)
    }

    /// Replaces it, durably.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let agents = checkpoint.agents.iter().map(|(id, ranges)| StoredAgent { id: *id, durable: pairs(ranges) });
        let expired = checkpoint.expired.iter().map(|((tenant, log), ranges)| StoredExpired {
            tenant: tenant.to_string(),
            log: *log,
            records: pairs(ranges),
        });
        let requests = checkpoint.requests.iter().map(|(at_ms, hash)| (*at_ms, format!("{hash:032x}")));
        let stored = Stored {
            version: VERSION,
            agents: agents.collect(),
            requests: requests.collect(),
            expired: expired.collect(),
        };
        self.0.write_checkpoint(&seal(&stored)?)
    }
}

impl Checkpoint {
    /// What a file says; None when it is damaged.
    ///
    /// # Errors
    /// An unknown version.
    pub fn parse(bytes: &[u8], path: &str) -> io::Result<Option<Self>> {
        if !is_whole(bytes) {
            return Ok(None);
        }
        // Read alone first: of another version, nothing else need be as this program knows it.
        match serde_json::from_slice(bytes) {
            Ok(Version { version }) if version != VERSION => {
                let text = format!("{path} is of format version {version}, this program knows {VERSION}");
                Err(io::Error::new(ErrorKind::Unsupported, text))
            }
            _ => Ok(serde_json::from_slice(bytes).ok().and_then(Self::of)),
        }
    }

    fn of(stored: Stored) -> Option<Self> {
        let agents = stored.agents.into_iter().map(|StoredAgent { id, durable }| (id, ranges(durable)));
        let expired = stored.expired.into_iter();
        let expired = expired
            .map(|StoredExpired { tenant, log, records }| Some(((Tenant::new(&tenant).ok()?, log), ranges(records))))
            .collect::<Option<_>>()?;
        let requests = stored.requests.into_iter();
        let requests = requests.map(|(at_ms, hash)| Some((at_ms, u128::from_str_radix(&hash, 16).ok()?)));
        Some(Self { agents: agents.collect(), requests: requests.collect::<Option<_>>()?, expired })
    }
}

fn pairs(ranges: &SeqRanges) -> Vec<(u64, u64)> {
    ranges.ranges().map(|range| (range.start, range.end)).collect()
}

fn ranges(pairs: Vec<(u64, u64)>) -> SeqRanges {
    let mut ranges = SeqRanges::default();
    pairs.into_iter().for_each(|(first, end)| ranges.insert_range(first..end));
    ranges
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use clew_common::log::{Disk, SimDisk, replace_whole};

    use super::*;

    fn file(disk: &SimDisk) -> File {
        disk.create_dir_all(Path::new("/store")).unwrap();
        File::new(Notes::on_disk(Arc::new(disk.clone()), "/store".into()))
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_written() {
        let disk = SimDisk::new();
        let mut ranges = SeqRanges::below(7);
        ranges.insert_range(9..12);
        let checkpoint = Checkpoint {
            agents: vec![(Uuid::from_bytes([1; 16]), ranges), (Uuid::from_bytes([2; 16]), SeqRanges::default())],
            requests: vec![(5, u128::MAX), (6, 0)],
            expired: [((Tenant::default(), Uuid::from_bytes([3; 16])), SeqRanges::below(4))].into(),
        };
        assert_eq!(file(&disk).read().unwrap(), Checkpoint::default());
        file(&disk).write(&checkpoint).unwrap();
        assert_eq!(file(&disk).read().unwrap(), checkpoint);
    }

    #[test]
    fn a_damaged_checkpoint_is_set_aside_and_an_unknown_version_stops_the_start() {
        let disk = SimDisk::new();
        let path = Path::new("/store/checkpoint");
        let file = file(&disk);
        replace_whole(&disk, path, b"{\"version\":1,\"agents\":[],\"requests\":[[1,\"xyz\"]]}").unwrap();
        assert_eq!(file.read().unwrap(), Checkpoint::default());
        assert!(disk.open(&path.with_extension("damaged")).is_ok());
        replace_whole(&disk, path, b"{\"version\":9}").unwrap();
        assert_eq!(file.read().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
