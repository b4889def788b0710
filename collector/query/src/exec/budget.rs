//! What a query may take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Ends a query that takes too long or that nobody waits for any more.
#[derive(Clone, Debug)]
pub struct Budget {
    until: Instant,
    time: Duration,
    left: Arc<AtomicBool>,
    read_bytes: Arc<AtomicU64>,
    max_read_bytes: u64,
}

/// Why a query was ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It took too long.
    #[error("the query took more than {0:?}; ask for a shorter time range, or filter by a service or an attribute")]
    Time(Duration),
    /// Whoever asked is gone.
    #[error("the query was cancelled")]
    Cancelled,
    /// It found too much.
    #[error("{0}")]
    TooMuch(String),
}

/// Decoded bytes of blocks that a query may read, when nothing else is said.
pub const MAX_READ_BYTES: u64 = 64 << 30;

/// Cancels a query when it is dropped.
#[derive(Debug)]
pub struct Client(Arc<AtomicBool>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Budget {
    /// So much time from now on.
    #[must_use]
    pub fn new(time: Duration) -> (Self, Client) {
        let left = Arc::new(AtomicBool::new(false));
        let budget = Self {
            until: Instant::now() + time,
            time,
            left: left.clone(),
            read_bytes: Arc::default(),
            max_read_bytes: MAX_READ_BYTES,
        };
        (budget, Client(left))
    }

    /// The same, that reads no more than so many bytes of blocks, decoded.
    #[must_use]
    pub fn reading(self, max_read_bytes: u64) -> Self {
        Self { max_read_bytes, ..self }
    }

    /// Takes note of what was read.
    pub(super) fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether it may go on.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.left.load(Ordering::Relaxed) {
            return Err(Stopped::Cancelled);
        }
        if Instant::now() > self.until {
            return Err(Stopped::Time(self.time));
        }
        if self.read_bytes.load(Ordering::Relaxed) > self.max_read_bytes {
            return Err(Stopped::TooMuch(format!(
                "the query read more than {} MiB of blocks; ask for a shorter time range, or for fewer attributes",
                self.max_read_bytes >> 20
            )));
        }
        Ok(())
    }
}
