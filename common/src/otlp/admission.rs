//! How many bytes of requests may be in memory at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

/// A budget of bytes for requests that are being received or wait to be stored.
#[derive(Clone, Debug)]
pub struct Admission {
    free: Arc<Semaphore>,
    max_bytes: usize,
}

/// A share of the budget; it goes back when this is dropped.
#[derive(Debug)]
pub struct Permit(Option<OwnedSemaphorePermit>);

impl Admission {
    /// A budget.
    pub fn new(max_bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new((max_bytes / UNIT).max(1))), max_bytes }
    }

    /// The whole budget.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Takes a share for `bytes`; None when too little is left.
    pub fn admit(&self, bytes: usize) -> Option<Permit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        self.free.clone().try_acquire_many_owned(units).ok().map(|permit| Permit(Some(permit)))
    }
}

impl Permit {
    /// A share of nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Adds another share of the same budget to this one.
    pub fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(other)) => mine.merge(other),
            (mine, other) => *mine = other.or(mine.take()),
        }
    }

    /// Gives back what is more than a share for `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(mine) = &mut self.0 {
            drop(mine.split(mine.num_permits().saturating_sub(bytes.div_ceil(UNIT))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_back_when_it_is_dropped() {
        let admission = Admission::new(10 * UNIT);
        let mut first = admission.admit(6 * UNIT).unwrap();
        first.merge(admission.admit(1).unwrap());
        assert!(admission.admit(4 * UNIT).is_none());
        drop(first);
        assert!(admission.admit(10 * UNIT).is_some());
    }

    #[test]
    fn a_share_that_shrinks_gives_back_the_rest() {
        let admission = Admission::new(10 * UNIT);
        let mut share = admission.admit(9 * UNIT).unwrap();
        share.shrink_to(2 * UNIT - 1);
        share.shrink_to(5 * UNIT);
        assert!(admission.admit(9 * UNIT).is_none());
        assert!(admission.admit(8 * UNIT).is_some());
    }
}
