//! What a query may take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Ends a query that takes too long or that nobody waits for any more.
#[derive(Clone, Debug)]
pub struct Budget {
    until: Instant,
    time: Duration,
    left: Arc<AtomicBool>,
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
        (Self { until: Instant::now() + time, time, left: left.clone() }, Client(left))
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
        Ok(())
    }
}
