//! Sends what is queued to a collector, and to another one when that fails.
//!
//! - `stream`: one connection's life, from Hello to its end
//! - `flight`: what was sent and is not yet settled
//! - `asks`: answers a collector's questions from the queue

mod asks;
mod flight;
mod stream;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use clew_common::{backoff::Backoff, shutdown::Drain, world::World};
use clew_proto::v1::Hello;
use tonic::transport::{Channel, Endpoint};

use self::stream::{Ended, Stream, StreamError};
use crate::{metrics::Metrics, queue::Queue};

/// Connects to an endpoint; tests bring their own network.
pub type Connect = Arc<
    dyn Fn(Endpoint) -> Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>> + Send + Sync,
>;

/// Connects over TCP.
pub fn connect_over_tcp() -> Connect {
    Arc::new(|endpoint| Box::pin(async move { endpoint.connect().await }))
}

/// Reads a collector's URL.
///
/// # Errors
/// Says what is wrong with it.
pub fn endpoint(url: &str) -> Result<Endpoint, String> {
    let fix = "a collector is given like http://127.0.0.1:4327";
    let uri: http::Uri = url.parse().map_err(|error| format!("{url:?} is not a URL ({error}): {fix}"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return Err(format!("{url:?} does not name a host over http: {fix}"));
    }
    Ok(Endpoint::from(uri)
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        // A collector that went without a word is found out within 15 s.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20))
}

/// Sends queued batches to a collector and frees them once they are durable there.
pub struct Sender {
    /// What to send.
    pub queue: Queue,
    /// Where to, the preferred one first.
    pub collectors: Vec<Endpoint>,
    /// How the agent introduces itself; `agent_id` and `first_seq` are filled in for each stream.
    pub hello: Hello,
    /// Reaches the collectors.
    pub connect: Connect,
    /// Time between looks whether a preferred collector is back.
    pub come_back: Duration,
    /// Clock, chance, threads.
    pub world: World,
    /// What is counted.
    pub metrics: Metrics,
}

/// A stream that lasted so long was a good one: waiting starts over.
const GOOD: Duration = Duration::from_secs(10);

impl Sender {
    /// Sends until `drain` begins, then until nothing waits, or no collector can be reached, or `drain` hurries.
    pub async fn run(self, drain: Drain) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut current = 0;
        let mut failed_in_a_row = 0;
        loop {
            let started = tokio::time::Instant::now();
            let ended = tokio::select! {
                biased;
                ended = self.one_stream(current, &drain) => ended,
                () = drain.hurried() => break,
            };
            match ended {
                Ok(Ended::Drained) => break,
                Ok(Ended::LifeOver) => continue,
                Ok(Ended::PreferredIsBack(preferred)) => {
                    current = preferred;
                    failed_in_a_row = 0;
                    continue;
                }
                Err(error) => {
                    self.metrics.sender.failures.inc();
                    tracing::warn!(collector = %self.collectors[current].uri(), error = %error, "lost the collector");
                    if drain.is_begun() {
                        break;
                    }
                }
            }
            if started.elapsed() > GOOD {
                backoff.reset();
                failed_in_a_row = 0;
            }
            current = (current + 1) % self.collectors.len();
            failed_in_a_row += 1;
            // Another collector is tried at once; waiting is for when all have failed.
            if failed_in_a_row % self.collectors.len() == 0 {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(backoff.next(&self.world.random)) => {}
                    () = drain.begun() => break,
                }
            }
        }
        self.queue.save_progress();
    }

    async fn one_stream(&self, current: usize, drain: &Drain) -> Result<Ended, StreamError> {
        let stream = Stream::open(self, &self.collectors[current]).await?;
        self.metrics.sender.connects.inc();
        self.metrics.sender.connected.set(1);
        tracing::info!(collector = %self.collectors[current].uri(), "connected");
        let ended = stream.run(drain, self.preferred_is_back(current)).await;
        self.metrics.sender.connected.set(0);
        ended
    }

    /// Returns when a collector before this one can be reached.
    async fn preferred_is_back(&self, current: usize) -> usize {
        if current == 0 {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.world.random.jitter(self.come_back)).await;
            for (preferred, endpoint) in self.collectors[..current].iter().enumerate() {
                if (self.connect)(endpoint.clone()).await.is_ok() {
                    return preferred;
                }
            }
        }
    }
}
