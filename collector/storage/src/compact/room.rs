//! Whether a disk has the room for a merge: it writes about as much as it reads, and what it has read stays for a while.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::store::{Store, StoreError};

/// Room for merges, beside what others need. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Room {
    beside_bytes: u64,
    missing_bytes: Arc<AtomicU64>,
}

impl Room {
    /// So much stays free.
    pub fn beside(bytes: u64) -> Self {
        Self { beside_bytes: bytes, missing_bytes: Arc::default() }
    }

    /// Bytes that are missing in a store for a merge of blocks of so many bytes; 0 when none are.
    ///
    /// # Errors
    /// When the store does not tell.
    pub fn missing(&self, store: &dyn Store, bytes: u64) -> Result<u64, StoreError> {
        // Shapes and names may pay less in the merged block than in its inputs.
        let needed = bytes + bytes / 8 + self.beside_bytes;
        Ok(store.free_bytes()?.map_or(0, |free| needed.saturating_sub(free)))
    }

    /// Takes note of what is missing for all merges that there are to make; says whether something was missing before.
    pub fn note(&self, missing_bytes: u64) -> bool {
        self.missing_bytes.swap(missing_bytes, Relaxed) > 0
    }

    /// What was noted last.
    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes.load(Relaxed)
    }
}
