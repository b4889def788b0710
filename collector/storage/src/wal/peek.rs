//! Reads the logs of a store from outside: no epoch is begun, nothing is changed, whoever writes them goes on.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use clew_common::{ids::Tenant, world::World};
use uuid::Uuid;

use super::{
    Notes, OpenError,
    epochs::{self, Epoch},
    notes, object,
    owner::{self, Owner},
    place::Place,
};
use crate::{identity, store::Store};

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
    /// What cannot be read.
    Damaged { path: String, what: String },
    /// Records that are not there, between two objects: it cannot be told why.
    Missing { epoch: String, seqs: Range<u64> },
}

/// Goes through all objects of all logs. Blocking. What is deleted meanwhile is passed over: it is in blocks by then.
///
/// # Errors
/// Those of the store, and when something is of an unknown version.
pub fn peek(store: &Arc<dyn Store>, world: &World, mut each: impl FnMut(Peeked)) -> Result<(), OpenError> {
    for name in names(store)? {
        let place = Place::new(store.clone(), world.clone(), &name);
        let owner = Owner::read(&place)?;
        let epochs = epochs::find(&place, owner.as_ref())?;
        small_files(&place, &epochs, &mut each)?;
        for epoch in epochs {
            for (object, next) in epoch.followed() {
                let path = place.object(epoch.id, object.base);
                let content = match object.content.clone() {
                    Some(content) => content,
                    None => match place.read(&path)? {
                        Some(content) => content,
                        None => continue,
                    },
                };
                let parsed = object::parse(&content, epoch.id, object.base)
                    .map_err(|version| OpenError::object(&path, version))?;
                let lost = parsed.lost(object.base, next);
                if let (Some(end), Some(next)) = (parsed.end, next)
                    && end < next
                {
                    each(Peeked::Missing { epoch: place.of_epoch(epoch.id, ""), seqs: end..next });
                }
                let object::Parsed { records, damaged_bytes, .. } = parsed;
                for (seq, kind, payload) in records {
                    each(Peeked::Record { source: (epoch.id, seq), kind, payload, path: path.clone() });
                }
                if damaged_bytes > 0 {
                    let what = match (lost.first(), lost.last()) {
                        (Some(first), Some(last)) => format!(
                            "about {} records from {} to {} were there: those in no block are lost",
                            lost.iter().map(|gap| gap.end - gap.start).sum::<u64>(),
                            first.start,
                            last.end - 1
                        ),
                        _ => "no record was there".to_owned(),
                    };
                    each(Peeked::Damaged { path, what: format!("{damaged_bytes} bytes are damaged: {what}") });
                }
            }
        }
    }
    Ok(())
}

/// Tells of small files that cannot be read.
fn small_files(place: &Place, epochs: &[Epoch], each: &mut impl FnMut(Peeked)) -> Result<(), OpenError> {
    let mut look = |path: String, harm: &str, is_whole: &dyn Fn(&Bytes) -> bool| {
        if place.read(&path)?.is_some_and(|bytes| !is_whole(&bytes)) {
            each(Peeked::Damaged { path, what: format!("it is damaged: {harm}") });
        }
        Ok::<_, OpenError>(())
    };
    let no_second = "a second collector with this name would not be noticed";
    look(place.file(owner::FILE), no_second, &|bytes| Owner::parse(bytes).is_ok())?;
    let identity = place.file(identity::FILE);
    // One of a newer program is not damaged: the collector says what it thinks of it.
    look(identity.clone(), "the store gets a new name", &|bytes| {
        !matches!(identity::parse(bytes, &identity), Ok(None))
    })?;
    for epoch in epochs {
        let note = place.of_epoch(epoch.id, epochs::NOTE);
        look(note, "what the epoch holds may be counted twice until it is merged", &epochs::is_note)?;
        for slot in Notes::files_of_epoch() {
            look(place.of_epoch(epoch.id, slot), "the one before is used", &notes::is_checkpoint)?;
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
