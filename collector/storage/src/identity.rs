//! Who the store is: a small file that names the data, not the process.

use std::io::{self, ErrorKind};

use clew_common::world::World;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wal::Notes;

const VERSION: u32 = 1;
const FILE: &str = "identity";

/// The file: JSON, for people who look.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Identity {
    version: u32,
    /// Agents know the store by it. UUIDv7.
    pub collector_id: Uuid,
    /// For the hashes of requests.
    pub salt: u64,
}

impl Identity {
    /// Reads the file, or makes it. A damaged one is set aside and the store gets a new name: agents then send again
    /// what waits with them, and it is stored once, because the WAL knows their batches.
    ///
    /// # Errors
    /// Those of the disk; an unknown version.
    pub fn open(world: &World, notes: &Notes) -> io::Result<Self> {
        if let Some(bytes) = notes.read(FILE)? {
            match parse(&bytes, &notes.path(FILE))? {
                Ok(identity) => return Ok(identity),
                Err(error) => {
                    let aside = notes.set_aside(FILE)?;
                    tracing::error!(%error, kept_as = aside, "the identity file is damaged: the store gets a new name");
                }
            }
        }
        let identity =
            Self { version: VERSION, collector_id: world.random.uuid(world.clock), salt: world.random.bits() };
        notes.write(FILE, &serde_json::to_vec_pretty(&identity)?)?;
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
        Ok(parse(&bytes, &notes.path(FILE))?.ok())
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Reads the file; the inner error is one of damage.
fn parse(bytes: &[u8], path: &str) -> io::Result<serde_json::Result<Identity>> {
    // Read alone first: of another version, nothing else need be as this program knows it.
    match serde_json::from_slice(bytes) {
        Ok(Version { version }) if version != VERSION => Err(io::Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} is of format version {version}, which this program does not know (it knows {VERSION}); nothing was changed",
                path
            ),
        )),
        _ => Ok(serde_json::from_slice(bytes)),
    }
}
