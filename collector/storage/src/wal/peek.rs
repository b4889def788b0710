//! Reads the logs of a store from outside: no epoch is begun, nothing is changed, whoever writes them goes on.

use std::{collections::BTreeSet, sync::Arc};

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
    let names: BTreeSet<String> = store
        .list("wal")?
        .iter()
        .filter_map(|file| file.path.strip_prefix("wal/")?.split_once('/').map(|(name, _)| name.to_owned()))
        .filter(|name| Tenant::new(name).is_ok())
        .collect();
    for name in names {
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
