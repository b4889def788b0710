//! Reads the logs of a store from outside: no epoch is begun, nothing is changed, whoever writes them goes on.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use clew_common::{ids::Tenant, world::World};
use uuid::Uuid;

use super::{OpenError, epochs, object, owner::Owner, place::Place};
use crate::store::Store;

/// What a log holds.
pub enum Peeked {
    /// A record.
    Record {
        /// Its name for ever: the log, and its number there.
        source: (Uuid, u64),
        /// What whoever appended it said.
        kind: u8,
        payload: Bytes,
        /// Where it lies.
        path: String,
    },
    /// Bytes that are none.
    Damaged { path: String, bytes: usize },
}

/// Goes through all objects of all logs. Blocking. What is deleted meanwhile is passed over: it is in blocks by then.
///
/// # Errors
/// Those of the store, and when something is of an unknown version.
pub fn peek(store: &Arc<dyn Store>, world: &World, mut each: impl FnMut(Peeked)) -> Result<(), OpenError> {
    for name in names(store)? {
        let place = Place::new(store.clone(), world.clone(), &name);
        let owner = Owner::read(&place)?;
        for epoch in epochs::find(&place, owner.as_ref())? {
            for object in epoch.objects {
                let path = place.object(epoch.id, object.base);
                let content = match object.content {
                    Some(content) => content,
                    None => match place.read(&path)? {
                        Some(content) => content,
                        None => continue,
                    },
                };
                let object::Parsed { records, damaged_bytes } = object::parse(&content, epoch.id, object.base)
                    .map_err(|version| OpenError::object(&path, version))?;
                for (seq, kind, payload) in records {
                    each(Peeked::Record { source: (epoch.id, seq), kind, payload, path: path.clone() });
                }
                if damaged_bytes > 0 {
                    each(Peeked::Damaged { path, bytes: damaged_bytes });
                }
            }
        }
    }
    Ok(())
}

/// Makes sure that nobody writes any of the logs, as far as their heartbeats tell; gives how many there are. Blocking.
///
/// # Errors
/// When somebody does, and those of the store.
pub fn stand_still(store: &Arc<dyn Store>, world: &World, watch: Duration) -> Result<usize, OpenError> {
    let names = names(store)?;
    for name in &names {
        Owner::last(&Place::new(store.clone(), world.clone(), name), watch)?;
    }
    Ok(names.len())
}

fn names(store: &Arc<dyn Store>) -> Result<BTreeSet<String>, OpenError> {
    let listed = store.list("wal")?;
    let names = listed.iter().filter_map(|file| Some(file.path.strip_prefix("wal/")?.split_once('/')?.0.to_owned()));
    Ok(names.filter(|name| Tenant::new(name).is_ok()).collect())
}
