//! Who the store is: a small file that names the data, not the process.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use clew_common::{
    log::{read_whole, replace_whole},
    world::World,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const VERSION: u32 = 1;

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
    pub fn open(world: &World, path: &Path) -> io::Result<Self> {
        match read_whole(&*world.disk, path) {
            Ok(bytes) => match parse(&bytes, path)? {
                Ok(identity) => return Ok(identity),
                Err(error) => {
                    let aside = path.with_extension("damaged");
                    tracing::error!(%error, kept_as = %aside.display(), "the identity file is damaged: the store gets a new name");
                    world.disk.rename(path, &aside)?;
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let identity =
            Self { version: VERSION, collector_id: world.random.uuid(world.clock), salt: world.random.bits() };
        replace_whole(&*world.disk, path, &serde_json::to_vec_pretty(&identity)?)?;
        Ok(identity)
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Reads the file; the inner error is one of damage.
fn parse(bytes: &[u8], path: &Path) -> io::Result<serde_json::Result<Identity>> {
    // Read alone first: of another version, nothing else need be as this program knows it.
    match serde_json::from_slice(bytes) {
        Ok(Version { version }) if version != VERSION => Err(io::Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} is of format version {version}, which this program does not know (it knows {VERSION}); nothing was changed",
                path.display()
            ),
        )),
        _ => Ok(serde_json::from_slice(bytes)),
    }
}
