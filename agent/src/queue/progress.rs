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
    /// Who wrote what is in the queue, oldest first; the last one is this process.
    pub lives: Vec<Life>,
    /// For the hashes of requests.
    pub salt: u64,
    /// Batches that are durable at a collector, or gone.
    pub durable: SeqRanges,
    /// For each collector that batches were sent to: one more than the last of them.
    pub sent: BTreeMap<Uuid, u64>,
}

/// A process that wrote into the queue: each start is a new one, so that batches that processes write on copies of one folder
/// never share a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Names its batches. UUIDv7.
    pub id: Uuid,
    /// The lowest sequence number of its batches.
    pub first_seq: u64,
}

/// The file: JSON, for people who look.
#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// Version 1 has one name for all: `queue_id`.
    #[serde(default)]
    lives: Vec<Life>,
    #[serde(default, skip_serializing)]
    queue_id: Option<Uuid>,
    salt: u64,
    durable_upto: u64,
    durable_ranges: Vec<(u64, u64)>,
    sent_to: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

const VERSION: u32 = 2;
const OLD_VERSION: u32 = 1;

impl Progress {
    /// Reads the file, or starts anew when there is none. All that is in the queue may have been sent to every collector
    /// that the file names: how far it came was not written down.
    ///
    /// # Errors
    /// When the file cannot be read, or is of an unknown version. A file that is no JSON is set aside: what the queue holds
    /// is then sent again, under a new name.
    pub fn load(disk: &dyn Disk, path: &Path, world: &World, next_seq: u64) -> io::Result<Self> {
        let bytes = match clew_common::log::read_whole(disk, path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::new(world)),
            Err(error) => return Err(error),
        };
        // Read alone first: of another version, nothing else need be as this program knows it.
        if let Ok(Version { version }) = serde_json::from_slice(&bytes)
            && !matches!(version, VERSION | OLD_VERSION)
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
                let old = file.queue_id.map(|id| Life { id, first_seq: 0 });
                let lives = old.into_iter().chain(file.lives).collect();
                let mut progress = Self { lives, salt: file.salt, durable, sent };
                progress.begin(Life { id: world.random.uuid(world.clock), first_seq: next_seq });
                Ok(progress)
            }
            Err(error) => {
                let aside = path.with_extension("damaged");
                tracing::error!(%error, kept_as = %aside.display(), "the progress file is damaged: what is queued will be sent again");
                disk.rename(path, &aside)?;
                Ok(Self::new(world))
            }
        }
    }

    /// Of a process that names all that is in the queue.
    fn new(world: &World) -> Self {
        Self {
            lives: vec![Life { id: world.random.uuid(world.clock), first_seq: 0 }],
            salt: world.random.bits(),
            durable: SeqRanges::default(),
            sent: BTreeMap::new(),
        }
    }

    /// Another process goes on. Those before it that have nothing left to send are forgotten.
    fn begin(&mut self, life: Life) {
        self.lives.push(life);
        let ends: Vec<u64> = self.lives.iter().skip(1).map(|next| next.first_seq).collect();
        let mut ends = ends.into_iter();
        let upto = self.durable.upto();
        self.lives.retain(|life| ends.next().is_none_or(|end| end > upto && end > life.first_seq));
    }

    /// Who wrote a batch, and where the batches of the next one begin.
    pub fn life_of(&self, seq: u64) -> Option<(Life, u64)> {
        let next = self.lives.iter().position(|life| life.first_seq > seq).unwrap_or(self.lives.len());
        let life = self.lives.get(next.saturating_sub(1))?;
        Some((*life, self.lives.get(next.max(1)).map_or(u64::MAX, |next| next.first_seq)))
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// Those of the disk; the old file is then still there.
    pub fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let file = File {
            version: VERSION,
            lives: self.lives.clone(),
            queue_id: None,
            salt: self.salt,
            durable_upto: self.durable.upto(),
            durable_ranges: self.durable.above().map(|range| (range.start, range.end)).collect(),
            sent_to: self.sent.keys().copied().collect(),
        };
        clew_common::log::replace_whole(disk, path, &serde_json::to_vec_pretty(&file)?)
    }
}
