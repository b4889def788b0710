//! Looks at the small files of a collector's data folder.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use clew_common::log::Disk;

use super::Damage;
use crate::{
    checkpoint::Checkpoint,
    identity,
    wal::{CHECKPOINT, Notes},
};

/// What is damaged of them, and what cannot be looked at. One that is not there is no damage. Changes nothing.
pub fn check_notes(disk: Arc<dyn Disk>, data: &Path) -> (Vec<Damage>, Vec<Damage>) {
    let notes = Notes::on_disk(disk, data.to_owned());
    let (mut damage, mut unseen) = (Vec::new(), Vec::new());
    let mut look = |name, harm: &str, is_whole: &dyn Fn(&Bytes, &str) -> io::Result<bool>| {
        let place = notes.path(name);
        match notes.read(name).and_then(|bytes| bytes.map_or(Ok(true), |bytes| is_whole(&bytes, &place))) {
            Ok(true) => {}
            Ok(false) => damage.push(Damage { place, what: format!("it is damaged: {harm}") }),
            Err(error) => unseen.push(Damage { place, what: error.to_string() }),
        }
    };
    look(CHECKPOINT, "batches that come again are stored again", &|bytes, path| {
        Ok(Checkpoint::parse(bytes, path)?.is_some())
    });
    look(identity::FILE, "the store gets a new name", &|bytes, path| Ok(identity::parse(bytes, path)?.is_some()));
    (damage, unseen)
}
