//! Small files that are replaced as a whole: the identity and the checkpoint, in the data folder or in the store.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use clew_common::log::{Disk, read_whole, replace_whole};
use crc32c::crc32c;
use serde::Serialize;
use uuid::Uuid;

use super::place::Place;
use crate::store::StoreError;

/// The checkpoint's name.
pub const CHECKPOINT: &str = "checkpoint";
const MAGIC: &[u8; 8] = b"CLEWNOTE";
const HEADER_BYTES: usize = 20;

/// Where small files are.
#[derive(Clone)]
pub struct Notes(Kind);

#[derive(Clone)]
enum Kind {
    Disk { disk: Arc<dyn Disk>, dir: PathBuf },
    Store { place: Place, epoch: Uuid, earlier: Vec<Uuid>, written: Arc<AtomicU64> },
}

impl Notes {
    /// In a folder.
    pub fn on_disk(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self(Kind::Disk { disk, dir })
    }

    pub(super) fn in_store(place: Place, epoch: Uuid, earlier: Vec<Uuid>) -> Self {
        Self(Kind::Store { place, epoch, earlier, written: Arc::default() })
    }

    /// Where a file is, for people.
    pub fn path(&self, name: &str) -> String {
        match &self.0 {
            Kind::Disk { dir, .. } => dir.join(name).display().to_string(),
            Kind::Store { place, .. } => place.file(name),
        }
    }

    /// Reads a file that is written once; None when there is none.
    ///
    /// # Errors
    /// Those of the disk or the store.
    pub fn read(&self, name: &str) -> io::Result<Option<Bytes>> {
        match &self.0 {
            Kind::Disk { disk, dir } => match read_whole(&**disk, &dir.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                read => read.map(|bytes| Some(bytes.into())),
            },
            Kind::Store { place, .. } => place.read(&place.file(name)).map_err(of_store),
        }
    }

    /// Puts a file in place of what it was, durably.
    ///
    /// # Errors
    /// Those of the disk or the store.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match &self.0 {
            Kind::Disk { disk, dir } => replace_whole(&**disk, &dir.join(name), bytes),
            Kind::Store { place, .. } => {
                let bytes = Bytes::copy_from_slice(bytes);
                place.persist(|| place.store.put(&place.file(name), bytes.clone())).map_err(of_store)
            }
        }
    }

    /// Takes a damaged file away and keeps it for people; gives where.
    ///
    /// # Errors
    /// Those of the disk or the store.
    pub fn set_aside(&self, name: &str) -> io::Result<String> {
        let aside = format!("{name}.damaged");
        match &self.0 {
            Kind::Disk { disk, dir } => disk.rename(&dir.join(name), &dir.join(&aside))?,
            Kind::Store { place, .. } => {
                if let Some(bytes) = self.read(name)? {
                    place.persist(|| place.store.put(&place.file(&aside), bytes.clone())).map_err(of_store)?;
                }
                place.persist(|| place.store.delete(&place.file(name))).map_err(of_store)?;
            }
        }
        Ok(self.path(&aside))
    }

    /// All checkpoints whose statements hold: one on disk; in a store that of each epoch which is not forgotten yet.
    ///
    /// # Errors
    /// Those of the disk or the store.
    pub fn checkpoints(&self) -> io::Result<Vec<Bytes>> {
        let Kind::Store { place, epoch, earlier, .. } = &self.0 else {
            return Ok(self.read(CHECKPOINT)?.into_iter().collect());
        };
        let epochs: Vec<Uuid> = earlier.iter().chain([epoch]).copied().collect();
        let newest = place.each(&epochs, |epoch| newest(place, *epoch));
        newest.into_iter().filter_map(Result::transpose).collect()
    }

    /// Puts a checkpoint in place of the last one. In a store two files take turns: whatever becomes of a PUT, the one before is
    /// there.
    ///
    /// # Errors
    /// Those of the disk or the store. Nothing that only this checkpoint knows may then be deleted.
    pub fn write_checkpoint(&self, bytes: &[u8]) -> io::Result<()> {
        let Kind::Store { place, epoch, written, .. } = &self.0 else { return self.write(CHECKPOINT, bytes) };
        // Counted only when it has succeeded: a failed one is written over, not the one before.
        let number = written.load(Relaxed) + 1;
        let mut file = Vec::with_capacity(HEADER_BYTES + bytes.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&number.to_le_bytes());
        file.extend_from_slice(&crc32c(bytes).to_le_bytes());
        file.extend_from_slice(bytes);
        let (path, file) = (place.of_epoch(*epoch, slot(number)), Bytes::from(file));
        place.persist(|| place.store.put(&path, file.clone())).map_err(of_store)?;
        written.store(number, Relaxed);
        Ok(())
    }

    /// The files that an epoch may have here.
    pub(super) fn files_of_epoch() -> impl Iterator<Item = String> {
        (0..2).map(slot)
    }
}

/// JSON with a checksum as its first field: a flipped bit in it may still read well, and lie.
///
/// # Errors
/// None that are known.
pub fn seal(content: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(content)?;
    let fields = json.strip_prefix(b"{").unwrap_or(&json);
    let mut sealed = format!("{SEAL}{:08x}\",", crc32c(fields)).into_bytes();
    sealed.extend_from_slice(fields);
    Ok(sealed)
}

/// Whether the bytes are those that the checksum was made of. True without one: former versions made none.
pub fn is_whole(sealed: &[u8]) -> bool {
    let Some((digits, rest)) = sealed.strip_prefix(SEAL.as_bytes()).and_then(|rest| rest.split_first_chunk::<8>())
    else {
        return true;
    };
    let said = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    rest.strip_prefix(b"\",").is_some_and(|fields| said == Some(crc32c(fields)))
}

const SEAL: &str = "{\"crc32c\":\"";

/// Whether these bytes are a checkpoint as it lies in a store.
pub fn is_checkpoint(bytes: &Bytes) -> bool {
    open(bytes).is_some()
}

fn slot(number: u64) -> String {
    format!("{CHECKPOINT}.{}", number % 2)
}

/// The newest whole checkpoint of an epoch.
fn newest(place: &Place, epoch: Uuid) -> io::Result<Option<Bytes>> {
    let mut newest: Option<(u64, Bytes)> = None;
    for file in Notes::files_of_epoch() {
        let path = place.of_epoch(epoch, file);
        let Some(bytes) = place.read(&path).map_err(of_store)? else { continue };
        match open(&bytes) {
            Some((number, content)) if newest.as_ref().is_none_or(|(newest, _)| number > *newest) => {
                newest = Some((number, content));
            }
            Some(_) => {}
            None => tracing::warn!(path, "a checkpoint is damaged: the one before is used"),
        }
    }
    Ok(newest.map(|(_, content)| content))
}

fn open(file: &Bytes) -> Option<(u64, Bytes)> {
    let header = file.first_chunk::<HEADER_BYTES>()?;
    let content = file.slice(HEADER_BYTES..);
    let number = u64::from_le_bytes(*header[8..].first_chunk()?);
    let crc = u32::from_le_bytes(*header[16..].first_chunk()?);
    (header[..8] == MAGIC[..] && crc == crc32c(&content)).then_some((number, content))
}

fn of_store(error: StoreError) -> io::Error {
    io::Error::new(error.error.kind(), error)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        version: u32,
        upto: u64,
    }

    #[test]
    fn a_flipped_bit_in_a_note_is_noticed_or_changes_nothing_of_what_it_says() {
        let note = Note { version: 1, upto: 17 };
        let sealed = seal(&note).unwrap();
        assert!(is_whole(&sealed) && is_whole(b"{\"version\":1,\"upto\":17}"));
        assert_eq!(serde_json::from_slice::<Note>(&sealed).unwrap(), note);
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = serde_json::from_slice::<Note>(&damaged).ok().filter(|_| is_whole(&damaged));
            assert!(read.is_none_or(|read| read == note), "bit {bit}: {}", String::from_utf8_lossy(&damaged));
        }
    }
}
