//! Asks a collector, over clew.v1.

use std::{error::Error, future::Future, time::Duration};

use bytes::Bytes;
use clew_proto::v1::{
    DependenciesRequest, DependenciesResponse, ExplainRequest, ExplainResponse, FoundTrace, GetTraceRequest,
    MetricsRequest, SearchRequest, TailRequest, TailResponse, TimeSeries, query_client::QueryClient,
};
use http::Uri;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::args;

/// Metadata key that chooses the tenant.
pub(crate) const TENANT: &str = "x-scope-orgid";

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

/// Where to ask, and for whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Where {
    /// Where to ask
    #[arg(
        long,
        value_name = "URL",
        env = "CLEW_COLLECTOR",
        default_value = "http://127.0.0.1:4327",
        value_parser = args::collector
    )]
    pub(crate) collector: Uri,
    /// Whose traces
    #[arg(long)]
    pub(crate) tenant: Option<MetadataValue<Ascii>>,
}

impl Where {
    /// The collector; an answer may take `timeout`.
    pub(crate) fn within(&self, timeout: Duration) -> Collector {
        Collector::new(self.collector.clone(), self.tenant.clone(), timeout)
    }
}

/// A question was not answered.
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
    #[error("{message}")]
    Wrong { message: String },
    #[error("the collector at {url} refused: {message} ({code:?})")]
    Refused { url: String, code: Code, message: String },
}

impl LookupError {
    /// Whether asking again may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Wrong { .. } => false,
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
        self.ask(async {
            let request = self.request(GetTraceRequest { trace_id: trace_id.to_vec().into() });
            let mut parts = self.client.clone().get_trace(request).await?.into_inner();
            let mut found = Found::default();
            while let Some(part) = parts.message().await? {
                found.resource_spans.extend(part.resource_spans);
                found.partial |= part.partial;
                found.reasons.extend(part.partial_reasons);
            }
            Ok(found)
        })
        .await
    }

    /// Traces, and why some may be missing.
    pub(crate) async fn search(&self, request: SearchRequest) -> Result<(Vec<FoundTrace>, Vec<String>), LookupError> {
        self.ask(async {
            let mut parts = self.client.clone().search(self.request(request)).await?.into_inner();
            let (mut traces, mut reasons) = (Vec::new(), Vec::new());
            while let Some(part) = parts.message().await? {
                traces.extend(part.traces);
                reasons.extend(part.partial_reasons);
            }
            Ok((traces, reasons))
        })
        .await
    }

    /// Time series, and why spans may be missing.
    pub(crate) async fn metrics(&self, request: MetricsRequest) -> Result<(Vec<TimeSeries>, Vec<String>), LookupError> {
        self.ask(async {
            let mut parts = self.client.clone().metrics(self.request(request)).await?.into_inner();
            let (mut series, mut reasons) = (Vec::new(), Vec::new());
            while let Some(part) = parts.message().await? {
                series.extend(part.series);
                reasons.extend(part.partial_reasons);
            }
            Ok((series, reasons))
        })
        .await
    }

    /// Which services call which.
    pub(crate) async fn dependencies(&self, request: DependenciesRequest) -> Result<DependenciesResponse, LookupError> {
        self.ask(async { Ok(self.client.clone().dependencies(self.request(request)).await?.into_inner()) }).await
    }

    /// In what spans differ from others.
    pub(crate) async fn explain(&self, request: ExplainRequest) -> Result<ExplainResponse, LookupError> {
        self.ask(async { Ok(self.client.clone().explain(self.request(request)).await?.into_inner()) }).await
    }

    /// Spans as they come. Only the start may take no longer than `timeout`.
    pub(crate) async fn tail(&self, request: TailRequest) -> Result<Streaming<TailResponse>, LookupError> {
        self.ask(async { Ok(self.client.clone().tail(self.request(request)).await?.into_inner()) }).await
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert(TENANT, tenant.clone());
        }
        request
    }

    async fn ask<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, LookupError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|status| self.error(&status)),
            Err(_) => Err(LookupError::Late { url: self.url.clone(), limit: self.timeout }),
        }
    }

    fn error(&self, status: &Status) -> LookupError {
        let url = self.url.clone();
        let transport = status.source().and_then(|source| source.downcast_ref::<tonic::transport::Error>());
        match (status.code(), transport) {
            (Code::NotFound, _) => LookupError::NotFound { url },
            (Code::InvalidArgument | Code::FailedPrecondition, _) => {
                LookupError::Wrong { message: status.message().to_owned() }
            }
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
