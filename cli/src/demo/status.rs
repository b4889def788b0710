//! What goes on, for somebody who watches: one line that changes, or a line from time to time when it is no terminal.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{shop::Sent, shoppers::Counts};
use crate::output;

/// Between changes on a terminal.
const REFRESH: Duration = Duration::from_millis(200);

/// Between lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The line.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    counts: Arc<Counts>,
    sent: Arc<Sent>,
    started: Instant,
    /// Only on terminals.
    bar: Option<ProgressBar>,
}

impl Status {
    pub(crate) fn new(counts: Arc<Counts>, sent: Arc<Sent>) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { counts, sent, started: Instant::now(), bar }
    }

    /// Shows it until it is dropped.
    pub(crate) async fn run(&self) {
        let mut ticks = tokio::time::interval(if self.bar.is_some() { REFRESH } else { LINE_EVERY });
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match &self.bar {
                Some(bar) => {
                    bar.set_message(self.line());
                    bar.tick();
                }
                None => {
                    // Who does not read it does not want it.
                    let _ = writeln!(output::stdout(), "{}", self.line());
                }
            }
        }
    }

    /// Writes something above the line.
    pub(crate) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// How it stands.
    pub(crate) fn line(&self) -> String {
        let elapsed = match self.started.elapsed().as_secs() {
            seconds @ ..60 => format!("{seconds}s"),
            seconds => output::duration_ns(seconds * 1_000_000_000),
        };
        let [requests, failed, sent, lost] =
            [self.counts.requests(), self.counts.failed(), self.sent.acked(), self.sent.failed()]
                .map(output::thousands);
        let lost = if self.sent.failed() > 0 { format!(", {lost} not sent") } else { String::new() };
        format!("{elapsed}: {requests} requests, {failed} failed, {sent} spans sent{lost}")
    }
}
