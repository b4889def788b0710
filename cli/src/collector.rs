//! Asks a collector for traces, over clew.v1.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use clew_proto::v1::{GetTraceRequest, query_client::QueryClient};
use http::Uri;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// Metadata key that chooses the tenant.
const TENANT: &str = "x-scope-orgid";

/// Largest part of an answer that is taken.
const MAX_PART_BYTES: usize = 256 << 20;

/// What is known of a trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Encoded `ResourceSpans`.
    pub(crate) resource_spans: Vec<Bytes>,
    /// Spans may be missing.
    pub(crate) partial: bool,
    /// Why.
    pub(crate) reasons: Vec<String>,
}

/// A lookup did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the collector at {url} knows no span of this trace")]
    NotFound { url: String },
    #[error(
        "no collector answers at {url} ({cause}): start one with `clew demo` or `clew up`, or say where it is with --collector URL"
    )]
    Unreachable { url: String, cause: String },
    #[error(
        "the collector at {url} did not answer within {limit:?}: is it overloaded? --timeout sets how long to wait"
    )]
    Late { url: String, limit: Duration },
    #[error("the collector at {url} refused: {message} ({code:?})")]
    Refused { url: String, code: Code, message: String },
}

impl LookupError {
    /// Whether asking again may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotFound { .. } => false,
            Self::Unreachable { .. } | Self::Late { .. } => true,
            Self::Refused { code, .. } => {
                matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded)
            }
        }
    }
}

/// A collector. Clones share the connection, which is made when it is needed.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    url: String,
    client: QueryClient<Channel>,
    tenant: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Collector {
    /// Asks the one at `url`, for the spans of `tenant` (none: the default tenant). A lookup may take `timeout`.
    pub(crate) fn new(url: Uri, tenant: Option<MetadataValue<Ascii>>, timeout: Duration) -> Self {
        let channel = Endpoint::from(url.clone())
            .connect_timeout(timeout)
            .tcp_nodelay(true)
            // As on the serving side: one trace may be large, and a small window makes it wait.
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(24 << 20)
            .connect_lazy();
        let client = QueryClient::new(channel).max_decoding_message_size(MAX_PART_BYTES);
        Self { url: url.to_string().trim_end_matches('/').to_owned(), client, tenant, timeout }
    }

    /// All that is known of one trace.
    pub(crate) async fn trace(&self, trace_id: [u8; 16]) -> Result<Found, LookupError> {
        match tokio::time::timeout(self.timeout, self.ask(trace_id)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(status)) => Err(self.error(&status)),
            Err(_) => Err(LookupError::Late { url: self.url.clone(), limit: self.timeout }),
        }
    }

    async fn ask(&self, trace_id: [u8; 16]) -> Result<Found, Status> {
        let mut request = Request::new(GetTraceRequest { trace_id: trace_id.to_vec().into() });
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert(TENANT, tenant.clone());
        }
        let mut parts = self.client.clone().get_trace(request).await?.into_inner();
        let mut found = Found::default();
        while let Some(part) = parts.message().await? {
            found.resource_spans.extend(part.resource_spans);
            found.partial |= part.partial;
            found.reasons.extend(part.partial_reasons);
        }
        Ok(found)
    }

    fn error(&self, status: &Status) -> LookupError {
        let url = self.url.clone();
        let transport = status.source().and_then(|source| source.downcast_ref::<tonic::transport::Error>());
        match (status.code(), transport) {
            (Code::NotFound, _) => LookupError::NotFound { url },
            (_, Some(error)) => LookupError::Unreachable { url, cause: innermost(error) },
            (code, None) => LookupError::Refused { url, code, message: status.message().to_owned() },
        }
    }
}

/// The first cause of an error: "connection refused" rather than "transport error".
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
