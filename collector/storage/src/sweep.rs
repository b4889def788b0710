//! Deletes the files of blocks that are no longer listed, after the longest query that may still read them.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    block::META,
    store::{Store, StoreError},
};

/// Deletes later. Cheap to clone.
#[derive(Clone)]
pub struct Sweeper {
    store: Arc<dyn Store>,
    delay: Duration,
    /// When, and which folder.
    due: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Sweeper {
    /// Deletes `delay` after it is told to.
    pub fn new(store: Arc<dyn Store>, delay: Duration) -> Self {
        Self { store, delay, due: Arc::default() }
    }

    /// Blocks in these folders are no longer listed.
    pub fn later(&self, folders: impl IntoIterator<Item = String>) {
        let at = Instant::now() + self.delay;
        self.due.lock().extend(folders.into_iter().map(|folder| (at, folder)));
    }

    /// Deletes what is due; gives how many folders that were. Blocking. What cannot be deleted is tried again after another
    /// delay.
    pub fn sweep(&self) -> usize {
        let now = Instant::now();
        let due: Vec<String> = {
            let mut due = self.due.lock();
            due.extract_if(.., |(at, _)| *at <= now).map(|(_, folder)| folder).collect()
        };
        let (mut deleted, mut failed) = (0, Vec::new());
        for folder in due {
            match self.delete(&folder) {
                Ok(()) => deleted += 1,
                Err(error) => {
                    tracing::warn!(folder, %error, "cannot delete a block that is no longer needed");
                    failed.push(folder);
                }
            }
        }
        self.later(failed);
        deleted
    }

    /// Deletes a folder at once. The meta goes first: whatever a crash leaves is then no block.
    ///
    /// # Errors
    /// Those of the store.
    pub fn delete(&self, folder: &str) -> Result<(), StoreError> {
        self.store.delete(&format!("{folder}/{META}"))?;
        for file in self.store.list(folder)? {
            self.store.delete(&file.path)?;
        }
        Ok(())
    }
}
