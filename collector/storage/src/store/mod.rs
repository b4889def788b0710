//! Where blocks live: a folder, or an object store.
//!
//! Paths are relative to the store's root, with `/` between names. All calls block.

mod folder;
mod objects;

use std::{io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use clew_common::world::World;

pub use folder::Folder;
pub use objects::{Objects, Patience};

/// A place for files that are written once.
pub trait Store: Send + Sync {
    /// Writes a file; once this returns it is durable. Writing the same bytes again is harmless.
    ///
    /// # Errors
    /// Those of the place.
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;
    /// Starts a file that is written piece by piece.
    ///
    /// # Errors
    /// Those of the place.
    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError>;
    /// Bytes of a file; fewer than asked for is an error.
    ///
    /// # Errors
    /// Those of the place.
    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// Opens a file for many reads.
    ///
    /// # Errors
    /// Those of the place.
    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError>;
    /// How many bytes a file has.
    ///
    /// # Errors
    /// Those of the place.
    fn size(&self, path: &str) -> Result<u64, StoreError>;
    /// All files in the folder `prefix` and below (everything if it is empty), in no order.
    ///
    /// # Errors
    /// Those of the place.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;
    /// Deletes a file, and folders that become empty. One that is not there is no error.
    ///
    /// # Errors
    /// Those of the place.
    fn delete(&self, path: &str) -> Result<(), StoreError>;
    /// Bytes that may still be written; None when nobody knows, or there is no end to them.
    ///
    /// # Errors
    /// Those of the place.
    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }
    /// Whether it is another machine's: whatever it answers now, it may take a file later. What a disk refuses, it refuses for
    /// good.
    fn is_remote(&self) -> bool {
        false
    }
}

/// A file that is being written. Dropped before `finish`, it is as if it had never been.
pub trait Sink: io::Write + Send {
    /// Makes the file durable; gives its size in bytes.
    ///
    /// # Errors
    /// Those of the place.
    fn finish(self: Box<Self>) -> Result<u64, StoreError>;
}

/// An open file. One that is deleted meanwhile can be read on, or says that it is not there.
pub trait Source: Send + Sync {
    /// Bytes of the file; fewer than asked for is an error.
    ///
    /// # Errors
    /// Those of the place.
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// The same, appended to a buffer.
    ///
    /// # Errors
    /// Those of the place.
    fn read_into(&self, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        self.read(range).map(|bytes| buffer.extend_from_slice(&bytes))
    }
    /// Several parts of the file, in as few requests as make sense.
    ///
    /// # Errors
    /// Those of the place.
    fn read_all(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, StoreError> {
        ranges.into_iter().map(|range| self.read(range)).collect()
    }
    /// Whether each read is a request over a network: few large ones are better then.
    fn is_remote(&self) -> bool;
}

/// A file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// A store said no.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {error}")]
pub struct StoreError {
    /// What was being done, such as "read".
    pub doing: &'static str,
    /// To which file.
    pub path: String,
    /// Why not.
    pub error: io::Error,
}

impl StoreError {
    /// Whether it may succeed later.
    pub fn is_retryable(&self) -> bool {
        may_pass(self.error.kind())
    }

    /// Whether the file may be there, and whole: the place is away, or lets nobody in.
    pub fn is_unavailable(&self) -> bool {
        self.is_retryable() || self.error.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        self.error.kind() == io::ErrorKind::NotFound
    }
}

/// Whether an error of this kind may be gone later.
pub fn may_pass(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, QuotaExceeded, StorageFull, TimedOut,
    };
    matches!(
        kind,
        StorageFull | QuotaExceeded | TimedOut | ConnectionRefused | ConnectionReset | ConnectionAborted | Interrupted
    )
}

/// Opens the store at a place: a folder, with or without `file://`, or `s3://bucket/prefix`, where the environment says the
/// rest ([`Objects::from_env`]).
///
/// # Errors
/// When the place is of a kind that is not known, or its environment impossible.
pub fn open(place: &str, world: &World) -> io::Result<Arc<dyn Store>> {
    let folder = match place.split_once("://") {
        None => place,
        Some(("file", folder)) => folder,
        Some(("s3", bucket)) => {
            return Ok(Arc::new(Objects::from_env(bucket, Patience::default(), world.random.clone())?));
        }
        Some((kind, _)) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{kind}:// is not known: give a folder or s3://"),
            ));
        }
    };
    Ok(Arc::new(Folder::new(world.disk.clone(), Path::new(folder))))
}
