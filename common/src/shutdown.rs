//! Stopping in order: a first signal drains, a second one (or the drain's deadline) hurries.

use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Hurrying,
}

/// Tells a part of the program when to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// Starts the stop. When it is dropped, its `Drain`s behave as if told to hurry.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// A stopper and what listens to it.
pub fn channel() -> (Stopper, Drain) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stopper(sender), Drain(receiver))
}

impl Stopper {
    /// Takes no new work, finishes what was begun.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Stops at the next safe point. What was acked is on disk; what was not will be sent again.
    pub fn hurry(&self) {
        self.advance(Phase::Hurrying);
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            to > *phase && {
                *phase = to;
                true
            }
        });
    }

    /// Drains at the first SIGTERM or SIGINT; hurries at the second, or `deadline` after the first.
    ///
    /// # Errors
    /// When the process cannot listen to signals.
    pub async fn on_signals(self, deadline: Duration) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut next = async || tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        let first = next().await;
        tracing::info!(signal = first, deadline_s = deadline.as_secs(), "draining; a second signal hurries");
        self.drain();
        tokio::select! {
            biased;
            signal = next() => tracing::warn!(signal, "hurrying"),
            () = tokio::time::sleep(deadline) => tracing::warn!("the drain's deadline has passed"),
        }
        self.hurry();
        // Kept alive so that its listeners see phases, not a closed channel, until the process ends.
        std::future::pending().await
    }
}

impl Drain {
    /// Returns once draining (or hurrying) has begun.
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns once there is no more time.
    pub async fn hurried(&self) {
        self.reached(Phase::Hurrying).await;
    }

    /// Whether draining has begun.
    pub fn is_begun(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // A dropped stopper counts as the order to hurry.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}
