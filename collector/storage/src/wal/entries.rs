//! Reads a log back at the start: everything that is in it, in order.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use clew_common::log::{Cursor, Reader, Stats};
use uuid::Uuid;

use super::{
    Entry, OpenError, ReadError,
    epochs::Object,
    object::{self, Parsed},
    place::Place,
};

/// Read at a time.
const READ_BYTES: usize = 4 << 20;
/// Objects are read together up to so many bytes,
const TOGETHER_BYTES: u64 = 32 << 20;
/// or so many of them.
const TOGETHER: usize = 256;

/// See the module.
pub struct Entries(Kind);

enum Kind {
    Disk { reader: Reader, cursor: Box<Cursor>, collector: Uuid },
    Objects { place: Place, left: std::vec::IntoIter<Left>, stats: Arc<Stats>, lost: Vec<(Uuid, Range<u64>)> },
}

/// An object that is to be read.
#[derive(Clone)]
pub struct Left {
    pub epoch: Uuid,
    /// This process's number of its first record.
    pub first: u64,
    pub object: Object,
    /// The epoch's number that the next object begins with.
    pub next: Option<u64>,
}

impl Entries {
    pub(super) fn on_disk(reader: Reader, collector: Uuid) -> Self {
        let cursor = Box::new(reader.cursor(reader.first_seq()));
        Self(Kind::Disk { reader, cursor, collector })
    }

    pub(super) fn of_objects(place: Place, left: Vec<Left>, stats: Arc<Stats>) -> Self {
        Self(Kind::Objects { place, left: left.into_iter(), stats, lost: Vec::new() })
    }

    /// The next ones; empty at the end. Damage is passed over and counted. Blocking.
    ///
    /// # Errors
    /// When the disk or the store cannot be read, or something is of an unknown version.
    pub fn read(&mut self) -> Result<Vec<Entry>, ReadError> {
        match &mut self.0 {
            Kind::Disk { reader, cursor, collector } => {
                let entries = reader.next(cursor, READ_BYTES)?.into_iter().map(|entry| Entry {
                    seq: entry.seq,
                    source: (*collector, entry.seq),
                    kind: entry.kind,
                    payload: entry.payload,
                    may_duplicate: false,
                });
                Ok(entries.collect())
            }
            Kind::Objects { place, left, stats, lost } => {
                let mut entries = Vec::new();
                // Objects of which nothing can be read are not the end.
                while entries.is_empty() && !left.as_slice().is_empty() {
                    let together = take(left);
                    for read in place.each(&together, |left| read_object(place, left, stats)) {
                        let (read, missing) = read?;
                        entries.extend(read);
                        lost.extend(missing);
                    }
                }
                Ok(entries)
            }
        }
    }

    /// The names that records lost to damage can have had, of what was read.
    pub fn lost(&self) -> Vec<(Uuid, Range<u64>)> {
        match &self.0 {
            Kind::Disk { reader, collector, .. } => {
                reader.damage().into_iter().map(|damaged| (*collector, damaged.seqs)).collect()
            }
            Kind::Objects { lost, .. } => lost.clone(),
        }
    }
}

fn take(left: &mut std::vec::IntoIter<Left>) -> Vec<Left> {
    let (mut together, mut bytes) = (Vec::new(), 0);
    while let Some(next) = left.as_slice().first() {
        bytes += next.object.bytes;
        if !together.is_empty() && (bytes > TOGETHER_BYTES || together.len() == TOGETHER) {
            break;
        }
        together.extend(left.next());
    }
    together
}

/// An object's records, and the names of those that were lost.
type Parts = (Vec<Entry>, Vec<(Uuid, Range<u64>)>);

fn read_object(place: &Place, Left { epoch, first, object, next }: &Left, stats: &Stats) -> Result<Parts, OpenError> {
    let path = place.object(*epoch, object.base);
    let content = match &object.content {
        Some(content) => content.clone(),
        None => place.read(&path)?.unwrap_or_default(),
    };
    let parsed = object::parse(&content, *epoch, object.base).map_err(|version| OpenError::object(&path, version))?;
    let lost = parsed.lost(object.base, *next).into_iter().map(|gap| (*epoch, gap)).collect();
    let Parsed { records, damaged_bytes, .. } = parsed;
    if damaged_bytes > 0 {
        stats.damaged_ranges.fetch_add(1, Relaxed);
        stats.damaged_bytes.fetch_add(damaged_bytes as u64, Relaxed);
        set_aside(place, *epoch, object.base, &path, content);
    }
    let entries = records.into_iter().map(|(seq, kind, payload)| Entry {
        seq: first + (seq - object.base),
        source: (*epoch, seq),
        kind,
        payload,
        may_duplicate: object.late,
    });
    Ok((entries.collect(), lost))
}

/// Keeps a copy of a damaged object, for people.
fn set_aside(place: &Place, epoch: Uuid, base: u64, path: &str, content: Bytes) {
    let aside = place.file(format_args!("quarantine/{epoch}-{}", object::file_name(base)));
    let kept = place.persist(|| place.store.put(&aside, content.clone()));
    tracing::error!(
        path,
        kept_as = aside,
        error = kept.err().map(tracing::field::display),
        "an object of the WAL is damaged: its other records are kept"
    );
}
