//! OTLP over HTTP, and lookups.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use clew_common::otlp::status::RpcStatus;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    trace::v1::Span,
};
use prost::Message;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// google.rpc.Status's code and message, of an error.
    pub error: Option<(i32, String)>,
    /// Refused spans and why, from partial_success.
    pub partial: Option<(i64, String)>,
}

impl Answer {
    /// Checks that everything was taken.
    pub fn accepted(self) -> Result<()> {
        ensure!(self.status == 200 && self.partial.is_none(), "not accepted: {self:?}");
        Ok(())
    }

    /// Checks that it was refused for good, for a reason that names `what`.
    pub fn refused(self, status: u16, what: &str) -> Result<()> {
        let named = self.error.as_ref().is_some_and(|(_, message)| message.contains(what));
        let right = self.status == status && self.retry_after.is_none() && named;
        ensure!(right, "not {status} about {what:?} without Retry-After: {self:?}");
        Ok(())
    }

    /// Checks that the sender is told to retry.
    pub fn retryable(self) -> Result<()> {
        let right = self.status == 503 && self.retry_after.is_some_and(|seconds| seconds > 0);
        ensure!(right, "not 503 with Retry-After: {self:?}");
        Ok(())
    }
}

/// POST of protobuf, as OTLP exporters do.
pub async fn export(address: SocketAddr, request: &ExportTraceServiceRequest) -> Result<Answer> {
    post(address, &[("content-type", "application/x-protobuf")], request.encode_to_vec()).await
}

/// POST of JSON.
pub async fn export_json(address: SocketAddr, json: impl Into<reqwest::Body>) -> Result<Answer> {
    post(address, &[("content-type", "application/json")], json).await
}

/// POST to /v1/traces.
pub async fn post(
    address: SocketAddr,
    headers: &[(&'static str, &str)],
    body: impl Into<reqwest::Body>,
) -> Result<Answer> {
    let mut request = reqwest::Client::new().post(format!("http://{address}/v1/traces")).body(body);
    for (name, value) in headers {
        request = request.header(*name, reqwest::header::HeaderValue::from_bytes(value.as_bytes())?);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
    let json = header("content-type").context("an answer without content-type")?.starts_with("application/json");
    let body = response.bytes().await?;
    let (mut error, mut partial) = (None, None);
    match (status, json) {
        (200, false) => {
            let answer = ExportTraceServiceResponse::decode(body)?;
            partial = answer.partial_success.map(|partial| (partial.rejected_spans, partial.error_message));
        }
        (200, true) => {
            let answer: serde_json::Value = serde_json::from_slice(&body)?;
            if let Some(count) = answer["partialSuccess"]["rejectedSpans"].as_str() {
                let why = answer["partialSuccess"]["errorMessage"].as_str().unwrap_or_default();
                partial = Some((count.parse()?, why.to_owned()));
            }
        }
        (_, false) => {
            let answer = RpcStatus::decode(body).context("an error that is no google.rpc.Status")?;
            error = Some((answer.code, answer.message));
        }
        (_, true) => {
            let answer: serde_json::Value = serde_json::from_slice(&body)?;
            let code = answer["code"].as_i64().context("an error without a code")? as i32;
            error = Some((code, answer["message"].as_str().unwrap_or_default().to_owned()));
        }
    }
    Ok(Answer { status, retry_after, error, partial })
}

/// The spans of a trace at a collector's Tempo port; None for 404.
pub async fn trace(tempo: SocketAddr, trace: [u8; 16], tenant: Option<&str>) -> Result<Option<Vec<Span>>> {
    let (status, body) = lookup(tempo, &hex::encode(trace), tenant).await?;
    if status == 404 {
        return Ok(None);
    }
    ensure!(status == 200, "a lookup answers {status}: {}", String::from_utf8_lossy(&body));
    // Tempo's Trace has the same one field as an OTLP request.
    let found = ExportTraceServiceRequest::decode(&body[..])?;
    let scopes = found.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    Ok(Some(scopes.flat_map(|scope| scope.spans).collect()))
}

/// The status and the body of a lookup.
pub async fn lookup(tempo: SocketAddr, id: &str, tenant: Option<&str>) -> Result<(u16, Vec<u8>)> {
    let mut request =
        reqwest::Client::new().get(format!("http://{tempo}/api/traces/{id}")).header("accept", "application/protobuf");
    if let Some(tenant) = tenant {
        request = request.header("x-scope-orgid", reqwest::header::HeaderValue::from_bytes(tenant.as_bytes())?);
    }
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.bytes().await?.to_vec()))
}
