//! What a query may take.

use std::{
    cell::Cell,
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

/// Bytes of an answer at most: 10,000 traces, each with 100 spans of 200 bytes, are within.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// How much longer an answer may become.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Room {
    /// Of an answer that is empty.
    pub(super) fn new() -> Self {
        Self(MAX_ANSWER_BYTES)
    }

    /// Takes room for so many bytes.
    ///
    /// # Errors
    /// When there is not so much.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Stopped> {
        let Some(left) = self.0.checked_sub(bytes) else {
            return Err(Stopped::TooMuch(format!(
                "the answer has more than {} MiB; ask for fewer traces or values, fewer spans of each, or fewer fields",
                MAX_ANSWER_BYTES >> 20
            )));
        };
        self.0 = left;
        Ok(())
    }
}

/// Asks a budget now and then, in loops over what one part or one trace has.
///
/// A loop that ends early leaves less than there is. A budget that is spent stays so: whoever began the loop checks it before he
/// believes what came of it.
#[derive(Debug)]
pub(super) struct Pace<'b> {
    budget: Option<&'b Budget>,
    asked: Cell<u32>,
    over: Cell<bool>,
}

impl<'b> Pace<'b> {
    /// How often it says yes without a look at the clock: that takes as long as a span or two.
    const EACH: u32 = 1024;

    /// Without a budget it always goes on.
    pub(super) fn of(budget: Option<&'b Budget>) -> Self {
        Self { budget, asked: Cell::new(0), over: Cell::new(false) }
    }

    /// Whether to go on with the next one.
    pub(super) fn goes_on(&self) -> bool {
        let asked = self.asked.get();
        self.asked.set(asked.wrapping_add(1));
        if asked.is_multiple_of(Self::EACH) && self.budget.is_some_and(|budget| budget.check().is_err()) {
            self.over.set(true);
        }
        !self.over.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_ends_soon_after_its_budget_is_spent() {
        let (budget, client) = Budget::new(Duration::from_secs(60));
        let pace = Pace::of(Some(&budget));
        assert!((0..5_000).all(|_| pace.goes_on()));
        drop(client);
        let more = (0..5_000).take_while(|_| pace.goes_on()).count();
        assert!(more < Pace::EACH as usize, "{more}");
        assert!((0..5_000).all(|_| Pace::of(None).goes_on()));
    }
}
