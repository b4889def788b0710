//! What earlier epochs of a name left on the store. An epoch is one process's life.
//!
//! Listings are believed for what they show and for nothing else: an object that they do not show yet is looked for by its
//! name, which the end of the one before gives, and an epoch by the notes that the later ones left.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    OpenError,
    object::{self, Parsed},
    owner::Owner,
    place::Place,
};
use crate::store::StoreError;

const VERSION: u32 = 1;
/// An epoch's note, put before its first object.
pub const NOTE: &str = "epoch";
/// Objects up to this size are read once and kept for the replay,
const SMALL_BYTES: u64 = 1 << 20;
/// up to so many bytes together.
const KEPT_BYTES: u64 = 64 << 20;

/// Numbers of records, from the first to before the second, in order.
type Ranges = Vec<(u64, u64)>;

/// What an epoch says at its start: which objects of earlier ones it found. JSON, for people who look.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    version: u32,
    opened_ms: u64,
    found: BTreeMap<Uuid, Ranges>,
}

/// An earlier epoch.
#[derive(Debug)]
pub struct Epoch {
    pub id: Uuid,
    /// In order. Numbers are the epoch's own.
    pub objects: Vec<Object>,
}

/// An object that was found.
#[derive(Clone, Debug)]
pub struct Object {
    pub base: u64,
    /// The number after its last record.
    pub end: u64,
    pub bytes: u64,
    /// It came to light only after a later epoch had begun. Nobody had an ack for it, or a process was cut off while another
    /// one took over: what it holds may have been sent again, and stored.
    pub late: bool,
    /// What was read of it already.
    pub content: Option<Bytes>,
}

impl Epoch {
    /// The objects, each with the number that the next one begins with.
    pub fn followed(&self) -> impl Iterator<Item = (&Object, Option<u64>)> {
        let nexts = self.objects.iter().skip(1).map(|object| Some(object.base)).chain([None]);
        self.objects.iter().zip(nexts)
    }

    fn ranges(&self) -> Ranges {
        let mut ranges: Ranges = Vec::new();
        for object in &self.objects {
            match ranges.last_mut() {
                Some((_, end)) if *end == object.base => *end = object.end,
                _ => ranges.push((object.base, object.end)),
            }
        }
        ranges
    }
}

/// Finds all earlier epochs; `last` is the one that the owner file names. Blocking.
///
/// # Errors
/// Those of the store, and a note of an unknown version.
pub fn find(place: &Place, last: Option<&Owner>) -> Result<Vec<Epoch>, OpenError> {
    let mut objects: BTreeMap<Uuid, BTreeMap<u64, u64>> = BTreeMap::new();
    for file in place.persist(|| place.store.list(place.root()))? {
        let Some((epoch, name)) = place.parts(&file.path) else { continue };
        let listed = objects.entry(epoch).or_default();
        if let Some(base) = object::base_of(name) {
            listed.insert(base, file.bytes);
        }
    }
    let mut notes: BTreeMap<Uuid, Option<Note>> = BTreeMap::new();
    let mut todo: BTreeSet<Uuid> = objects.keys().copied().chain(last.map(|owner| owner.epoch)).collect();
    while let Some(id) = todo.pop_first() {
        let note = read_note(place, id)?;
        todo.extend(note.iter().flat_map(|note| note.found.keys()).filter(|id| !notes.contains_key(id)));
        notes.insert(id, note);
    }
    let kept = AtomicU64::new(0);
    let mut epochs = Vec::new();
    for id in notes.keys() {
        let mut listed = objects.remove(id).unwrap_or_default();
        // Looked for by name: those that the listing does not show.
        let first = last.filter(|owner| owner.epoch == *id).map_or(1, |owner| owner.first);
        if listed.keys().next().is_none_or(|lowest| *lowest > first)
            && let Some(bytes) = size(place, *id, first)?
        {
            listed.insert(first, bytes);
        }
        let found = follow(place, *id, listed, &kept)?;
        epochs.push(Epoch { id: *id, objects: found });
    }
    mark_late(&mut epochs, &notes);
    // What a deletion left that was cut short is nothing.
    epochs.retain(|epoch| !epoch.objects.is_empty() || notes[&epoch.id].is_some());
    Ok(epochs)
}

/// Puts the note of a new epoch that found these.
///
/// # Errors
/// Those of the store.
pub fn note(place: &Place, epoch: Uuid, found: &[Epoch]) -> Result<(), StoreError> {
    let found = found.iter().map(|epoch| (epoch.id, epoch.ranges())).collect();
    let note = Note { version: VERSION, opened_ms: place.world.clock.unix_ms(), found };
    let json = Bytes::from(serde_json::to_vec_pretty(&note).unwrap_or_default());
    place.persist(|| place.store.put(&place.of_epoch(epoch, NOTE), json.clone()))
}

fn read_note(place: &Place, epoch: Uuid) -> Result<Option<Note>, OpenError> {
    let path = place.of_epoch(epoch, NOTE);
    let Some(bytes) = place.read(&path)? else { return Ok(None) };
    match serde_json::from_slice::<Note>(&bytes) {
        Ok(note) if note.version != VERSION => Err(OpenError::Version { path, version: note.version, known: VERSION }),
        Ok(note) => Ok(Some(note)),
        Err(error) => {
            tracing::error!(path, %error, "the note of an epoch is damaged: what it holds may be counted twice until it is merged");
            Ok(None)
        }
    }
}

/// Whether these bytes are an epoch's note, of whatever version.
pub fn is_note(bytes: &Bytes) -> bool {
    serde_json::from_slice::<Note>(bytes).is_ok()
}

fn size(place: &Place, epoch: Uuid, base: u64) -> Result<Option<u64>, StoreError> {
    match place.persist(|| place.store.size(&place.object(epoch, base))) {
        Err(error) if error.is_not_found() => Ok(None),
        size => size.map(Some),
    }
}

/// Looks at the objects that are listed, and follows them to those that are not.
fn follow(place: &Place, epoch: Uuid, listed: BTreeMap<u64, u64>, kept: &AtomicU64) -> Result<Vec<Object>, OpenError> {
    let listed: Vec<_> = listed.into_iter().collect();
    let looked = place.each(&listed, |(base, bytes)| look(place, epoch, *base, *bytes, kept));
    let mut found: BTreeMap<u64, Object> = BTreeMap::new();
    for object in looked {
        found.extend(object?.map(|object| (object.base, object)));
    }
    let mut next = found.keys().next().copied();
    while let Some(base) = next {
        next = found.range(base + 1..).next().map(|(base, _)| *base);
        let end = found[&base].end;
        // Beyond it only if it is damaged.
        if let Some(next) = next.filter(|next| *next <= end) {
            found.entry(base).and_modify(|object| object.end = next);
            continue;
        }
        if let Some(bytes) = size(place, epoch, end)?
            && let Some(object) = look(place, epoch, end, bytes, kept)?
        {
            found.insert(end, object);
            next = Some(end);
        } else if let Some(next) = next {
            // An object that was under way when its process died: then nothing from here on was acked. Or it was deleted.
            tracing::warn!(%epoch, first = end, next, "records are missing in the WAL: a PUT that was cut off, or an object that was lost");
        }
    }
    Ok(found.into_values().collect())
}

/// Finds out where an object ends; None if it is not there.
fn look(place: &Place, epoch: Uuid, base: u64, bytes: u64, kept: &AtomicU64) -> Result<Option<Object>, OpenError> {
    let path = place.object(epoch, base);
    let small = bytes <= SMALL_BYTES && kept.fetch_add(bytes, Relaxed) < KEPT_BYTES;
    let from = if small { 0 } else { bytes.saturating_sub(object::TRAILER_BYTES as u64) };
    let read = |from: u64| place.persist(|| place.store.read(&path, from..bytes));
    let tail = match read(from) {
        // The listing shows what was deleted.
        Err(error) if error.is_not_found() => return Ok(None),
        // Shorter than it was listed: the replay will see what is there.
        Err(error) if error.error.kind() == std::io::ErrorKind::UnexpectedEof => Bytes::new(),
        tail => tail?,
    };
    let end = match object::end_of(&tail, base, bytes) {
        Some(end) => end,
        None => end_of_damaged(place, &path, epoch, base)?,
    };
    Ok(Some(Object { base, end, bytes, late: false, content: small.then_some(tail).filter(|tail| !tail.is_empty()) }))
}

fn end_of_damaged(place: &Place, path: &str, epoch: Uuid, base: u64) -> Result<u64, OpenError> {
    let bytes = place.read(path)?.unwrap_or_default();
    let Parsed { records, .. } =
        object::parse(&bytes, epoch, base).map_err(|version| OpenError::object(path, version))?;
    Ok(records.last().map_or(base, |(seq, _, _)| *seq) + 1)
}

/// Marks objects that an epoch which began later did not find.
fn mark_late(epochs: &mut [Epoch], notes: &BTreeMap<Uuid, Option<Note>>) {
    let noted = || notes.values().flatten();
    let newest: Vec<Uuid> = notes
        .iter()
        .filter(|(id, note)| note.is_some() && !noted().any(|later| later.found.contains_key(id)))
        .map(|(id, _)| *id)
        .collect();
    for epoch in epochs {
        let found_later: Vec<&Ranges> = noted().filter_map(|later| later.found.get(&epoch.id)).collect();
        let is_newest = newest == [epoch.id];
        for object in &mut epoch.objects {
            let covers =
                |ranges: &&Ranges| ranges.iter().any(|(first, end)| *first <= object.base && object.end <= *end);
            object.late =
                notes[&epoch.id].is_none() || !(is_newest || !found_later.is_empty() && found_later.iter().all(covers));
        }
        let late = epoch.objects.iter().filter(|object| object.late).count();
        if late > 0 {
            tracing::warn!(epoch = %epoch.id, late, "objects of the WAL came to light late: was a process cut off, or is the name used twice?");
        }
    }
}
