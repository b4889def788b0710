//! Threads that give way: those who take spans in come first.

use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Runtime};

use crate::log::Work;

/// Some threads for work that may block. They start with the first of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Threads {
    name: &'static str,
    work: Work,
    count: usize,
    nice: u8,
    runtime: Arc<OnceLock<Owned>>,
}

/// The threads could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no threads could be started")]
pub struct NoThreads;

impl Threads {
    /// So many. When there is more to do than processors, they get the less time the higher `nice` is, as the command of that name has it:
    /// 10 is a tenth of what those get who do not give way, 0 the same.
    #[must_use]
    pub fn new(name: &'static str, work: Work, count: usize, nice: u8) -> Self {
        Self { name, work, count, nice, runtime: Arc::default() }
    }

    /// Runs `f`, which may block; waits for a thread when all have work. Threads that it starts give way too. A panic in it goes on in the
    /// caller.
    ///
    /// # Errors
    /// When there is no thread.
    pub async fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T, NoThreads> {
        if let Work::Inline = self.work {
            return Ok(f());
        }
        let nice = self.nice;
        let start = || {
            let mut builder = Builder::new_multi_thread();
            let builder = builder.worker_threads(1).max_blocking_threads(self.count).thread_name(self.name);
            Owned::new(builder.on_thread_start(move || give_way(nice)).build().ok())
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
pub struct Owned(Option<Runtime>);

impl Owned {
    /// Of what came of starting it.
    #[must_use]
    pub fn new(runtime: Option<Runtime>) -> Self {
        Self(runtime)
    }

    /// The runtime.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn get(&self) -> Result<&Runtime, NoThreads> {
        self.0.as_ref().ok_or(NoThreads)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Waiting for them is not allowed where this may be dropped.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of the thread that calls this, and of those that it starts later. Only Linux has one for each thread.
pub fn give_way(nice: u8) {
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(nice.into())
    {
        tracing::warn!(%error, "a thread runs with the priority of those who take spans in");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[tokio::test]
    async fn they_give_way_with_all_threads_that_they_start_and_nobody_else_does() {
        let own = getpriority_process(None).unwrap();
        let threads = Threads::new("query", Work::Threads, 2, 5);
        let priorities = || {
            let of_started = thread::scope(|scope| scope.spawn(|| getpriority_process(None)).join().unwrap());
            (getpriority_process(None).unwrap(), of_started.unwrap())
        };
        let lower = (own + 5).min(19);
        assert_eq!(threads.run(priorities).await.unwrap(), (lower, lower));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }
}
