//! Who the store is: a small file that names the data, not the process.

use std::io::{self, ErrorKind};

use clew_common::world::World;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wal::{Notes, is_whole, seal};

const VERSION: u32 = 1;
/// Its name.
pub const FILE: &str = "identity";

/// The file: JSON, for people who look.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Identity {
    version: u32,
    /// Agents know the store by it. UUIDv7.
    pub collector_id: Uuid,
    /// For the hashes of requests.
    pub salt: u64,
    /// Blocks may hold WAL records below this one under the name that the store had before.
    #[serde(default)]
    pub unsure_before: u64,
    /// It was made just now.
    #[serde(skip)]
    pub is_new: bool,
}

impl Identity {
    /// Reads the file, or makes it. A damaged one is set aside and the store gets a new name: agents then send again
    /// what waits with them, and it is stored once, because the WAL knows their batches. `next` is the number of the WAL's next record.
    ///
    /// # Errors
    /// Those of the disk; an unknown version.
    pub fn open(world: &World, notes: &Notes, next: u64) -> io::Result<Self> {
        if let Some(bytes) = notes.read(FILE)? {
            match parse(&bytes, &notes.path(FILE))? {
                Some(identity) => return Ok(identity),
                None => {
                    let aside = notes.set_aside(FILE)?;
                    tracing::error!(kept_as = aside, "the identity file is damaged: the store gets a new name");
                }
            }
        }
        let identity = Self {
            version: VERSION,
            collector_id: world.random.uuid(world.clock),
            salt: world.random.bits(),
            unsure_before: next,
            is_new: true,
        };
        notes.write(FILE, &seal(&identity)?)?;
        Ok(identity)
    }
}

impl Identity {
    /// What the file says; None when there is none, or a damaged one. Changes nothing.
    ///
    /// # Errors
    /// Those of the disk; an unknown version.
    pub fn peek(notes: &Notes) -> io::Result<Option<Self>> {
        let Some(bytes) = notes.read(FILE)? else { return Ok(None) };
        parse(&bytes, &notes.path(FILE))
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What the file says; None when it is damaged.
///
/// # Errors
/// An unknown version.
pub fn parse(bytes: &[u8], path: &str) -> io::Result<Option<Identity>> {
    if !is_whole(bytes) {
        return Ok(None);
    }
    // Read alone first: of another version, nothing else need be as this program knows it.
    match serde_json::from_slice(bytes) {
        Ok(Version { version }) if version != VERSION => Err(io::Error::new(
            ErrorKind::Unsupported,
            format!(
                "{path} is of format version {version}, which this program does not know (it knows {VERSION}); nothing was changed"
            ),
        )),
        _ => Ok(serde_json::from_slice(bytes).ok()),
    }
}
