//! What happens to a request, whichever way it came: check, refuse what is bad, store the rest.

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    admission::{Admission, Permit},
    decompress::{Encoding, InflateError, inflate},
    filter, json,
    pack::{Packer, Request, StoreError},
    status::RpcStatus,
    walk::{self, BadSpan, Checked},
};
use crate::{ids::Tenant, log::Work};

/// Work on this many bytes is done in a millisecond: handing it to another thread would take about as long.
const INLINE_BYTES: usize = 512 << 10;
/// What a small compressed body may inflate to at the first try.
const FIRST_INFLATED_BYTES: usize = 256 << 10;

/// How large requests may be, and how long they may take to come.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one request, before and after decompression.
    pub max_request_bytes: usize,
    /// A request's body must be complete after this.
    pub body_timeout: Duration,
}

/// Takes requests. Cheap to clone.
#[derive(Clone)]
pub struct Receiver {
    packer: Packer,
    pub(super) admission: Admission,
    pub(super) limits: Limits,
    work: Work,
    metrics: Metrics,
}

/// How a request came; a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelValue)]
pub enum Transport {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP with protobuf.
    HttpProtobuf,
    /// OTLP over HTTP with JSON.
    HttpJson,
}

/// What is said to the sender of a stored request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How many spans were refused for good.
    pub rejected_spans: u32,
    /// Why; empty when none were.
    pub message: String,
}

/// Why a request was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be understood. Final.
    #[error("{0}")]
    Invalid(String),
    /// It is over a limit. Final.
    #[error("the request has more than {max} bytes, the limit of one request ({what}): send fewer spans in one")]
    TooLarge {
        /// What was over the limit.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Its compression is unknown. Final.
    #[error("unknown compression {0:?}: identity, gzip, deflate and zstd are known")]
    UnknownEncoding(String),
    /// Its content type is unknown. Final.
    #[error("unknown content type {0:?}: application/x-protobuf and application/json are known")]
    UnknownContentType(String),
    /// It did not come whole in time. The sender may retry.
    #[error("the request's body was not complete after {} s", .0.as_secs())]
    Slow(Duration),
    /// The connection broke before it was whole.
    #[error("the request's body ended early: {0}")]
    Broken(String),
    /// There is no room now. Retry.
    #[error("{what}; retry after {} ms", retry_after.as_millis())]
    Overloaded {
        /// What is full.
        what: String,
        /// When to retry.
        retry_after: Duration,
    },
}

impl Refusal {
    /// The gRPC code, the HTTP status and the metrics' reason.
    fn codes(&self) -> (tonic::Code, http::StatusCode, &'static str) {
        use http::StatusCode as Http;
        use tonic::Code;
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, Http::BAD_REQUEST, "invalid"),
            Self::TooLarge { .. } => (Code::ResourceExhausted, Http::PAYLOAD_TOO_LARGE, "too_large"),
            Self::UnknownEncoding(_) => (Code::Unimplemented, Http::UNSUPPORTED_MEDIA_TYPE, "unknown_compression"),
            Self::UnknownContentType(_) => (Code::Unimplemented, Http::UNSUPPORTED_MEDIA_TYPE, "unknown_content_type"),
            Self::Slow(_) => (Code::DeadlineExceeded, Http::REQUEST_TIMEOUT, "slow"),
            Self::Broken(_) => (Code::Cancelled, Http::BAD_REQUEST, "broken"),
            Self::Overloaded { .. } => (Code::Unavailable, Http::SERVICE_UNAVAILABLE, "overloaded"),
        }
    }

    /// When to retry, if that is of use.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The HTTP status.
    pub fn http_status(&self) -> http::StatusCode {
        self.codes().1
    }

    /// As google.rpc.Status.
    pub fn rpc_status(&self) -> RpcStatus {
        RpcStatus::new(self.codes().0, &self.to_string(), self.retry_after())
    }
}

impl From<InflateError> for Refusal {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLarge { max } => Self::TooLarge { what: "decompressed", max },
            corrupt => Self::Invalid(corrupt.to_string()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransport {
    transport: Transport,
}

/// What receivers count.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<ByTransport, Counter>,
    bytes: Family<ByTransport, Counter>,
    spans: Counter,
    refused_requests: Family<ByReason, Counter>,
    refused_spans: Family<ByReason, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("received_requests", "OTLP requests that came, by transport", metrics.requests.clone());
        registry.register(
            "received_bytes",
            "Bytes of OTLP requests after decompression, by transport",
            metrics.bytes.clone(),
        );
        registry.register("received_spans", "Spans that were acked", metrics.spans.clone());
        registry.register(
            "refused_requests",
            "OTLP requests that were refused, by reason",
            metrics.refused_requests.clone(),
        );
        registry.register(
            "refused_spans",
            "Single spans refused in partial_success, by reason",
            metrics.refused_spans.clone(),
        );
        metrics
    }

    /// Spans that were acked so far.
    pub fn spans(&self) -> u64 {
        self.spans.get()
    }
}

impl Receiver {
    /// A receiver that stores through `packer`. What takes long runs as `work` says.
    pub fn new(packer: Packer, admission: Admission, limits: Limits, work: Work, metrics: Metrics) -> Self {
        Self { packer, admission, limits, work, metrics }
    }

    /// Counts a refused request.
    pub(super) fn refused(&self, refusal: &Refusal) {
        self.metrics.refused_requests.get_or_create(&ByReason { reason: refusal.codes().2 }).inc();
        tracing::debug!(%refusal, "refused a request");
    }

    /// Refuses what is too large for one request.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.limits.max_request_bytes {
            return Err(Refusal::TooLarge { what: "as sent", max: self.limits.max_request_bytes });
        }
        Ok(())
    }

    /// A share of the memory for `bytes` of requests.
    pub(super) fn admit(&self, bytes: usize) -> Result<Permit, Refusal> {
        self.admission.admit(bytes).ok_or_else(|| Refusal::Overloaded {
            what: format!("requests fill the {} bytes of memory for them", self.admission.max_bytes()),
            retry_after: Duration::from_millis(500),
        })
    }

    /// Decompresses a body within the limit. Its share of the memory becomes one for what came out.
    pub(super) async fn inflate(&self, encoding: Encoding, body: Bytes, permit: &mut Permit) -> Result<Bytes, Refusal> {
        if encoding == Encoding::Identity {
            return Ok(body);
        }
        // Memory is taken before it is used, and little is tried first, so that small bodies take no more than they need
        // and bombs cost a third more than one try at the limit would.
        let mut limit = (8 * body.len()).max(FIRST_INFLATED_BYTES);
        loop {
            limit = limit.min(self.limits.max_request_bytes);
            let mut share = self.admit(limit)?;
            let body = body.clone();
            match self.aside(limit, move || inflate(encoding, &body, limit)).await {
                Err(InflateError::TooLarge { .. }) if limit < self.limits.max_request_bytes => limit *= 4,
                Err(error) => return Err(error.into()),
                Ok(raw) => {
                    share.shrink_to(raw.capacity());
                    *permit = share;
                    return Ok(raw.into());
                }
            }
        }
    }

    /// Reads a request in JSON. Its share of the memory becomes one for the protobuf that comes out.
    pub(super) async fn read_json(&self, json: Bytes, permit: &mut Permit) -> Result<Bytes, Refusal> {
        // Both are there for a moment; protobuf takes less than half.
        let mut share = self.admit(json.len() / 2)?;
        let read = self.aside(json.len(), move || json::to_protobuf(&json)).await;
        let protobuf = read.map_err(|error| Refusal::Invalid(error.to_string()))?;
        share.shrink_to(protobuf.len());
        *permit = share;
        Ok(protobuf.into())
    }

    /// Runs what takes long for many bytes where no other connection waits for it.
    async fn aside<T: Send + 'static>(&self, bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        if bytes > INLINE_BYTES { self.work.run(work).await } else { work() }
    }

    /// Stores an ExportTraceServiceRequest; returns when it is durable.
    ///
    /// # Errors
    /// When nothing of it was stored.
    pub async fn take(
        &self,
        transport: Transport,
        tenant: Tenant,
        body: Bytes,
        permit: Permit,
    ) -> Result<Stored, Refusal> {
        self.metrics.requests.get_or_create(&ByTransport { transport }).inc();
        self.metrics.bytes.get_or_create(&ByTransport { transport }).inc_by(body.len() as u64);
        let mut traces: Vec<[u8; 16]> = Vec::new();
        let checked = walk::check(&body, |trace| {
            if traces.last() != Some(trace) {
                traces.push(*trace);
            }
        });
        let Checked { spans, bad } = checked.map_err(|error| Refusal::Invalid(error.to_string()))?;
        let stored = self.refuse(&bad);
        if spans > 0 {
            let body = without(body, &bad);
            self.packer.store(Request { tenant, body, spans, traces, permit }).await.map_err(|error| match error {
                StoreError::Busy(what) => Refusal::Overloaded { what, retry_after: Duration::from_secs(1) },
                StoreError::Closed(what) => Refusal::Overloaded { what, retry_after: Duration::from_secs(5) },
                StoreError::Refused(why) => Refusal::Invalid(why),
                StoreError::TooLarge { max } => Refusal::TooLarge { what: "packed for the log", max: max as usize },
            })?;
            self.metrics.spans.inc_by(spans.into());
        }
        Ok(stored)
    }

    /// Counts the bad spans of a request and says what is wrong with them.
    fn refuse(&self, bad: &[BadSpan]) -> Stored {
        let mut reasons: Vec<(&walk::Reason, u32)> = Vec::new();
        for span in bad {
            self.metrics.refused_spans.get_or_create(&ByReason { reason: span.reason.label() }).inc();
            match reasons.iter_mut().find(|(reason, _)| reason.label() == span.reason.label()) {
                Some((_, count)) => *count += 1,
                None => reasons.push((&span.reason, 1)),
            }
        }
        let message =
            reasons.iter().map(|(reason, count)| format!("{count} spans: {reason}")).collect::<Vec<_>>().join("; ");
        Stored { rejected_spans: bad.len() as u32, message }
    }
}

/// The request without its bad spans.
fn without(request: Bytes, bad: &[BadSpan]) -> Bytes {
    if bad.is_empty() { request } else { filter::without(&request, bad).into() }
}
