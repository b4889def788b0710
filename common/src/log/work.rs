//! Where blocking work runs.

/// Real threads, or the calling task itself (simulations: one thread, no real time, the same every time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Threads,
    Inline,
}

impl Work {
    /// Runs `f`, which may block, and gives its result. A panic in it goes on in the caller.
    pub async fn run<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Work::Inline => f(),
            Work::Threads => match tokio::task::spawn_blocking(f).await {
                Ok(value) => value,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Cancelled: the runtime is going away, and this task with it.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }
}
