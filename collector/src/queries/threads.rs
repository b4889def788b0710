//! Threads for queries, which give way: those who take spans in come first.

use std::sync::{Arc, OnceLock};

use clew_common::log::Work;
use tokio::runtime::{Builder, Runtime};

use super::QueryError;

/// Threads beside those of queries that have a place: to read queries, and for those who follow.
const SPARE: usize = 4;

/// Threads for queries. They start with the first one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryThreads {
    work: Work,
    places: usize,
    nice: u8,
    runtime: Arc<OnceLock<Threads>>,
}

impl QueryThreads {
    /// For so many queries at once. When there is more to do than processors, they get the less time the higher `nice` is, as the command
    /// of that name has it: 10 is a tenth of what those get who take spans in, 0 the same.
    #[must_use]
    pub fn new(work: Work, places: usize, nice: u8) -> Self {
        Self { work, places, nice, runtime: Arc::default() }
    }

    /// Runs `f`, which may block. Threads that it starts give way too.
    ///
    /// # Errors
    /// When there is no thread.
    pub async fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T, QueryError> {
        if let Work::Inline = self.work {
            return Ok(f());
        }
        let nice = self.nice;
        let start = || {
            let mut builder = Builder::new_multi_thread();
            let builder = builder.worker_threads(1).max_blocking_threads(self.places + SPARE);
            Threads(builder.thread_name("query").on_thread_start(move || give_way(nice)).build().ok())
        };
        match self.runtime.get_or_init(start).get()?.spawn_blocking(f).await {
            Ok(done) => Ok(done),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Cancelled: the runtime is going away, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// A runtime that may be dropped anywhere; none when it could not be started.
#[derive(Debug)]
pub(super) struct Threads(pub(super) Option<Runtime>);

impl Threads {
    pub(super) fn get(&self) -> Result<&Runtime, QueryError> {
        self.0.as_ref().ok_or_else(|| QueryError::Failed("no threads for queries could be started".to_owned()))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for them is not allowed where this may be dropped.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the thread that calls this, and of those that it starts later. Only Linux has one for each thread.
pub(super) fn give_way(nice: u8) {
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(nice.into())
    {
        tracing::warn!(%error, "queries run with the priority of those who take spans in");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn queries_give_way_with_all_threads_that_they_start_and_nobody_else_does() {
        let own = getpriority_process(None).unwrap();
        let threads = QueryThreads::new(Work::Threads, 2, 5);
        let of_query = || {
            let of_worker = thread::scope(|scope| scope.spawn(|| getpriority_process(None)).join().unwrap());
            (getpriority_process(None).unwrap(), of_worker.unwrap())
        };
        let lower = (own + 5).min(19);
        assert_eq!(threads.run(of_query).await.unwrap(), (lower, lower));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }
}
