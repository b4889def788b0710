//! Finds a trace: what waits with agents, what is in memory, what is stored, each span once.
//!
//! Lookups have threads of their own, which give way to those who take spans in; and bounds, as queries have them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    log::Work,
    otlp::{filter, status::RpcStatus},
    threads::{NoThreads, Threads},
};
use clew_query::trace;
use clew_storage::{Storage, columns::rewrite};
use http::StatusCode;
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Code, Status};

use crate::{
    agents::{Agents, Answers},
    metrics::LookupMetrics,
};

/// On an object store a lookup is mostly waiting: as many at once as there are threads for all that takes spans in.
const THREADS: usize = 16;
/// When who is one too many may come again.
const RETRY: Duration = Duration::from_secs(1);

/// Threads for lookups. They give way half as much as those of queries: a lookup is short, and somebody waits for it.
pub fn threads(work: Work, query_nice: u8) -> Threads {
    Threads::new("lookup", work, THREADS, query_nice / 2)
}

/// Answers lookups. Cheap to clone.
#[derive(Clone)]
pub struct Lookup {
    /// What is stored.
    pub storage: Storage,
    /// Whom to ask for more.
    pub agents: Agents,
    /// Lookups at once.
    pub places: Arc<Semaphore>,
    /// Where they run.
    pub threads: Threads,
    /// How long one may take.
    pub timeout: Duration,
    /// What one may read of blocks and memory, as it is in memory.
    pub max_read_bytes: u64,
    /// What all of them may have read, and not yet have answered.
    pub room: Arc<Room>,
    /// What is counted.
    pub metrics: LookupMetrics,
}

/// What was found of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// OTLP TracesData; empty when nothing was found.
    pub spans: Bytes,
    /// Why spans may be missing; empty when none are.
    pub partial_reasons: Vec<String>,
}

/// Why a lookup has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Too many are made at once. Retry.
    #[error("too many lookups at once; retry in a second")]
    TooMany,
    /// Together with others that are read now the trace takes too much. Retry.
    #[error("lookups of large traces take more than {} MiB together; retry in a second", limit >> 20)]
    Crowded {
        /// What all of them may read.
        limit: u64,
    },
    /// The trace is too large to be read as a whole. Final.
    #[error(
        "the trace takes more than the {} MiB that a lookup may read; ask in SQL for some of its spans (WHERE trace_id = ... AND \
         start_time BETWEEN ... AND ...), use clew export, or raise max_lookup_bytes",
        limit >> 20
    )]
    TooLarge {
        /// What it may read.
        limit: u64,
    },
    /// It took too long.
    #[error("the lookup took more than {0:?} (query_timeout_s): the store of blocks is slow, or away")]
    Time(Duration),
    /// There is nowhere to run it.
    #[error(transparent)]
    Threads(#[from] NoThreads),
}

impl LookupError {
    /// As metrics name it.
    fn outcome(&self) -> &'static str {
        match self {
            Self::TooMany | Self::Crowded { .. } => "refused",
            Self::TooLarge { .. } => "too_much",
            Self::Time(_) => "timeout",
            Self::Threads(_) => "failed",
        }
    }

    /// As HTTP says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooMany | Self::Crowded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Time(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Threads(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// After this it may go better.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::TooMany | Self::Crowded { .. }).then_some(RETRY)
    }
}

impl From<LookupError> for Status {
    fn from(error: LookupError) -> Self {
        let code = match error {
            LookupError::TooMany | LookupError::Crowded { .. } | LookupError::TooLarge { .. } => {
                Code::ResourceExhausted
            }
            LookupError::Time(_) => Code::DeadlineExceeded,
            LookupError::Threads(_) => Code::Internal,
        };
        RpcStatus::new(code, &error.to_string(), error.retry_after()).to_tonic()
    }
}

/// What all lookups that run have read.
#[derive(Debug)]
pub struct Room {
    taken_bytes: AtomicU64,
    max_bytes: u64,
}

impl Room {
    /// For so many bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self { taken_bytes: AtomicU64::new(0), max_bytes }
    }
}

/// What a lookup has read, and whether anybody waits for it.
struct Meter {
    read_bytes: AtomicU64,
    max_bytes: u64,
    is_left: AtomicBool,
    is_crowded: AtomicBool,
    room: Arc<Room>,
}

impl Meter {
    fn new(max_bytes: u64, room: Arc<Room>) -> Self {
        let (is_left, is_crowded) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { read_bytes: AtomicU64::new(0), max_bytes, is_left, is_crowded, room }
    }

    /// Takes note of what was read; says whether to read on.
    fn go_on(&self, bytes: usize) -> bool {
        let read = |of: &AtomicU64| of.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        let (read_bytes, taken_bytes) = (read(&self.read_bytes), read(&self.room.taken_bytes));
        if taken_bytes > self.room.max_bytes && read_bytes <= self.max_bytes {
            self.is_crowded.store(true, Relaxed);
        }
        read_bytes <= self.max_bytes && !self.is_crowded.load(Relaxed) && !self.is_left.load(Relaxed)
    }

    /// Why what was read is not all.
    fn refused(&self) -> Option<LookupError> {
        let limit = self.max_bytes;
        if self.read_bytes.load(Relaxed) > limit {
            return Some(LookupError::TooLarge { limit });
        }
        self.is_crowded.load(Relaxed).then_some(LookupError::Crowded { limit: self.room.max_bytes })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.room.taken_bytes.fetch_sub(*self.read_bytes.get_mut(), Relaxed);
    }
}

/// Ends a lookup when whoever waits for it is gone.
struct Client(Arc<Meter>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.is_left.store(true, Relaxed);
    }
}

impl Lookup {
    /// Finds a trace.
    ///
    /// # Errors
    /// When too many lookups are made at once, and when it takes too much or too long.
    #[tracing::instrument(name = "get_trace", skip_all, fields(%trace))]
    pub async fn trace(&self, tenant: &Tenant, trace: TraceId) -> Result<Trace, LookupError> {
        let started = Instant::now();
        let found = self.find(tenant, trace).await;
        match &found {
            Ok(found) => {
                self.metrics.made(started.elapsed(), !found.spans.is_empty(), !found.partial_reasons.is_empty());
            }
            Err(error) => self.metrics.failed(error.outcome()),
        }
        found
    }

    async fn find(&self, tenant: &Tenant, trace: TraceId) -> Result<Trace, LookupError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| LookupError::TooMany)?;
        // Agents are asked first: what they then send on and forget is in the snapshot.
        let Answers { mut parts, mut partial_reasons } = self.agents.ask(tenant, &trace).await;
        let snapshot = self.storage.snapshot(tenant);
        let meter = Arc::new(Meter::new(self.max_read_bytes, self.room.clone()));
        let _client = Client(meter.clone());
        let found = self.threads.run(move || {
            // A lookup that nobody waits for has its place until it notices.
            let _place = place;
            // Only spans of the trace count, whatever an agent sends; with the bytes that they will be stored as.
            let asked = std::mem::take(&mut parts);
            for part in asked.iter().map(|part| filter::of_trace(part, trace.as_bytes())) {
                match rewrite(&part) {
                    Ok(part) if meter.go_on(part.len()) => parts.push(part.into()),
                    Ok(_) => break,
                    Err(error) => partial_reasons.push(format!("an agent sent spans that cannot be read: {error}")),
                }
            }
            for part in snapshot.trace_while(&trace, &|bytes| meter.go_on(bytes)) {
                match part {
                    Ok(part) => parts.push(part),
                    Err(error) => partial_reasons.push(error.to_string()),
                }
            }
            match meter.refused() {
                Some(error) => Err(error),
                None => Ok(Trace { spans: trace::merge(&parts), partial_reasons }),
            }
        });
        timeout(self.timeout, found).await.map_err(|_| LookupError::Time(self.timeout))??
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_reads_up_to_its_limit_and_only_while_somebody_waits() {
        let meter = |max_bytes| Arc::new(Meter::new(max_bytes, Arc::new(Room::new(1000))));
        let small = meter(100);
        assert!(small.go_on(60) && small.go_on(40) && small.refused().is_none());
        assert!(!small.go_on(1));
        assert_eq!(small.refused(), Some(LookupError::TooLarge { limit: 100 }));
        let left = meter(100);
        drop(Client(left.clone()));
        assert!(!left.go_on(0) && left.refused().is_none());
    }

    #[test]
    fn lookups_that_read_too_much_together_are_told_to_retry_until_others_are_done() {
        let room = Arc::new(Room::new(150));
        let meter = || Meter::new(100, room.clone());
        let (first, second) = (meter(), meter());
        assert!(first.go_on(90) && second.go_on(60));
        assert!(!second.go_on(10) && first.refused().is_none());
        let refused = second.refused().unwrap();
        assert_eq!(refused, LookupError::Crowded { limit: 150 });
        assert!(refused.retry_after().is_some());
        drop(second);
        assert!(first.go_on(10) && meter().go_on(50));
    }
}
