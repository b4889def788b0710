//! What happened to the requests of a run.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use super::answer::Reason;

/// Longest latency that is told apart, in microseconds: an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// Counts of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) acked_spans: u64,
    pub(crate) acked_requests: u64,
    /// As they went out, compressed, of acked requests.
    pub(crate) acked_bytes: u64,
    /// Spans that the endpoint rejected within accepted requests.
    pub(crate) rejected_spans: u64,
    /// Accepted requests with such spans.
    pub(crate) partial_requests: u64,
    pub(crate) refused_requests: u64,
    pub(crate) refused_spans: u64,
    /// Requests that were retried in vain until time was up.
    pub(crate) given_up_requests: u64,
    pub(crate) given_up_spans: u64,
    /// Attempts that had to be repeated.
    pub(crate) retries: u64,
    /// How often each reason was given, and what was said the first time.
    pub(crate) reasons: BTreeMap<String, (u64, String)>,
    latency_us: Histogram<u64>,
}

impl Tally {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            acked_spans: 0,
            acked_requests: 0,
            acked_bytes: 0,
            rejected_spans: 0,
            partial_requests: 0,
            refused_requests: 0,
            refused_spans: 0,
            given_up_requests: 0,
            given_up_spans: 0,
            retries: 0,
            reasons: BTreeMap::new(),
            latency_us: Histogram::new_with_max(MAX_LATENCY_US, 3).expect("an hour in microseconds fits a histogram"),
        }
    }

    /// A request was acknowledged, `rejected` of its spans excepted.
    pub(crate) fn acked(&mut self, spans: u32, bytes: usize, rejected: u64, latency: Duration) {
        let rejected = rejected.min(spans.into());
        self.acked_spans += u64::from(spans) - rejected;
        self.acked_requests += 1;
        self.acked_bytes += bytes as u64;
        self.rejected_spans += rejected;
        self.partial_requests += u64::from(rejected > 0);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(micros);
    }

    /// An attempt has to be repeated.
    pub(crate) fn retried(&mut self, reason: Reason) {
        self.retries += 1;
        self.reason(reason);
    }

    /// A request was refused for good.
    pub(crate) fn refused(&mut self, spans: u32, reason: Reason) {
        self.refused_requests += 1;
        self.refused_spans += u64::from(spans);
        self.reason(reason);
    }

    /// A request was not taken in time.
    pub(crate) fn given_up(&mut self, spans: u32) {
        self.given_up_requests += 1;
        self.given_up_spans += u64::from(spans);
    }

    /// Counts a reason by its name.
    pub(crate) fn reason(&mut self, reason: Reason) {
        self.reasons.entry(reason.code).or_insert((0, reason.message)).0 += 1;
    }

    /// Every span of every request was taken.
    pub(crate) fn is_clean(&self) -> bool {
        self.refused_requests == 0 && self.given_up_requests == 0 && self.rejected_spans == 0
    }

    /// Latency of acks at this quantile, 0 to 1, in microseconds.
    pub(crate) fn latency_us(&self, quantile: f64) -> u64 {
        self.latency_us.value_at_quantile(quantile)
    }

    /// Mean latency in microseconds.
    pub(crate) fn mean_latency_us(&self) -> f64 {
        self.latency_us.mean()
    }
}
