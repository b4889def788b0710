//! Who writes the WAL of a name now: a small file with a heartbeat. A store has no locks; this notices the mistake of giving
//! two processes one name, at the start of the second or within a few beats.

use std::time::Duration;

use clew_common::log::Work;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{OpenError, place::Place};
use crate::store::StoreError;

const VERSION: u32 = 1;
/// The file, in the folder of the name.
pub const FILE: &str = "owner";
/// How often a start looks whether the heartbeat goes on.
const LOOK: Duration = Duration::from_millis(500);

/// What the file says. JSON, for people who look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    version: u32,
    /// The epoch that it writes.
    pub epoch: Uuid,
    /// Where it runs.
    pub host: String,
    pub pid: u32,
    /// Counts up while it lives.
    pub beat: u64,
    /// The lowest record of the epoch whose object is not deleted, or a lower one.
    pub first: u64,
    /// It stopped in good order.
    pub closed: bool,
}

impl Owner {
    /// This process, at its start.
    pub fn new(epoch: Uuid) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { version: VERSION, epoch, host, pid: std::process::id(), beat: 0, first: 1, closed: false }
    }

    /// Reads the file; None when there is none, or none that makes sense.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(place: &Place) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = place.read(&place.file(FILE))? else { return Ok(None) };
        let owner = Self::parse(&bytes);
        if let Err(error) = &owner {
            tracing::warn!(%error, path = place.file(FILE), "the owner file cannot be read");
        }
        Ok(owner.ok())
    }

    /// What the file says.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the store.
    pub fn write(&self, place: &Place) -> Result<(), StoreError> {
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        place.store.put(&place.file(FILE), json.into())
    }

    /// Makes sure, as far as can be told, that nobody writes under this name; gives who did last. Waits for `watch` unless that
    /// one stopped in good order. Blocking.
    ///
    /// # Errors
    /// When somebody does, and those of the store.
    pub fn last(place: &Place, watch: Duration) -> Result<Option<Self>, OpenError> {
        let Some(mut last) = Self::read(place)? else { return Ok(None) };
        let until = Instant::now() + watch;
        if !last.closed && place.world.work == Work::Threads && !watch.is_zero() {
            tracing::info!(
                host = last.host,
                pid = last.pid,
                watch_ms = watch.as_millis() as u64,
                "the last owner of this name did not stop in good order: watching whether it still lives"
            );
        }
        while !last.closed && place.world.work == Work::Threads && Instant::now() < until {
            std::thread::sleep(LOOK.min(watch / 5));
            // One that is being replaced may look like none.
            let Some(now) = Self::read(place)? else { continue };
            if (now.epoch, now.beat) != (last.epoch, last.beat) && !now.closed {
                return Err(OpenError::owned(place, &now));
            }
            last = now;
        }
        Ok(Some(last))
    }
}
