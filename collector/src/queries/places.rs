//! How many queries run at once.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::QueryError;

/// How long a query may wait for a place: about as long as people wait before they ask again.
const WAIT: Duration = Duration::from_secs(2);

/// When to come back.
const RETRY: Duration = Duration::from_secs(1);

/// Places for queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    wait: Duration,
}

impl Places {
    /// How many run where so many may: no more than there are processors, whatever is said. Each uses all of them.
    #[must_use]
    pub fn running(said: usize) -> usize {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        said.min(processors.max(2))
    }

    /// So many may run, and so many more wait a moment.
    #[must_use]
    pub fn new(running: usize, waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(Self::running(running))),
            waiting: Arc::new(Semaphore::new(waiting)),
            wait: WAIT,
        }
    }

    /// Takes a place; waits a moment for one when some others do not wait already.
    ///
    /// # Errors
    /// When there is none.
    pub async fn take(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let refused = QueryError::Refused { retry: RETRY };
        if let Ok(place) = self.running.clone().try_acquire_owned() {
            return Ok(place);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| refused.clone())?;
        match timeout(self.wait, self.running.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_waits_a_moment_and_only_some_do() {
        let places = Places { wait: Duration::from_millis(50), ..Places::new(1, 1) };
        let first = places.take().await.unwrap();
        let waiter = tokio::spawn({
            let places = places.clone();
            async move { places.take().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(matches!(places.take().await, Err(QueryError::Refused { .. })), "a second one waits");
        drop(first);
        waiter.await.unwrap().unwrap();
        let _second = places.take().await.unwrap();
        assert!(matches!(places.take().await, Err(QueryError::Refused { .. })), "nobody left, and one has a place");
    }
}
