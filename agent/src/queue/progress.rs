//! The small file beside the log: who the queue is, and what the collectors have of it.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::Path,
};

use clew_common::{log::Disk, ranges::SeqRanges, world::World};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What must outlive the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Names the queue's contents. UUIDv7.
    pub queue_id: Uuid,
    /// For the hashes of requests.
    pub salt: u64,
    /// Batches that are durable at a collector, or gone.
    pub durable: SeqRanges,
    /// For each collector that batches were sent to: one more than the last of them.
    pub sent: BTreeMap<Uuid, u64>,
}

/// The file: JSON, for people who look.
#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    queue_id: Uuid,
    salt: u64,
    durable_upto: u64,
    durable_ranges: Vec<(u64, u64)>,
    sent_to: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

const VERSION: u32 = 1;

impl Progress {
    /// Reads the file, or starts anew when there is none. All that is in the queue may have been sent to every collector
    /// that the file names: how far it came was not written down.
    ///
    /// # Errors
    /// When the file cannot be read, or is of an unknown version. A file that is no JSON is set aside: the queue then
    /// gets a new name, and what it holds is sent again.
    pub fn load(disk: &dyn Disk, path: &Path, world: &World, next_seq: u64) -> io::Result<Self> {
        let bytes = match clew_common::log::read_whole(disk, path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::new(world)),
            Err(error) => return Err(error),
        };
        // Read alone first: of another version, nothing else need be as this program knows it.
        if let Ok(Version { version }) = serde_json::from_slice(&bytes)
            && version != VERSION
        {
            return Err(io::Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} is of format version {version}, which this program does not know (it knows {VERSION}); nothing was changed",
                    path.display()
                ),
            ));
        }
        match serde_json::from_slice::<File>(&bytes) {
            Ok(file) => {
                let mut durable = SeqRanges::below(file.durable_upto.min(next_seq));
                file.durable_ranges.iter().for_each(|(first, end)| durable.insert_range(*first..(*end).min(next_seq)));
                let sent = file.sent_to.into_iter().map(|collector| (collector, next_seq)).collect();
                Ok(Self { queue_id: file.queue_id, salt: file.salt, durable, sent })
            }
            Err(error) => {
                let aside = path.with_extension("damaged");
                tracing::error!(%error, kept_as = %aside.display(), "the progress file is damaged: what is queued will be sent again");
                disk.rename(path, &aside)?;
                Ok(Self::new(world))
            }
        }
    }

    fn new(world: &World) -> Self {
        Self {
            queue_id: world.random.uuid(world.clock),
            salt: world.random.bits(),
            durable: SeqRanges::default(),
            sent: BTreeMap::new(),
        }
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// Those of the disk; the old file is then still there.
    pub fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let file = File {
            version: VERSION,
            queue_id: self.queue_id,
            salt: self.salt,
            durable_upto: self.durable.upto(),
            durable_ranges: self.durable.above().map(|range| (range.start, range.end)).collect(),
            sent_to: self.sent.keys().copied().collect(),
        };
        clew_common::log::replace_whole(disk, path, &serde_json::to_vec_pretty(&file)?)
    }
}
