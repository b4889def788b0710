//! A trace by its id.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use clew_common::{
    ids::{Tenant, TraceId},
    otlp::json::{self, Ids},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use prost::Message;

use super::respond::{json, protobuf, wants_protobuf};
use crate::{
    lookup::{Lookup, LookupError, Trace},
    queries::partial,
};

/// Why there is no trace in the answer.
pub enum Refusal {
    Invalid(String),
    Unknown(TraceId),
    Lookup(LookupError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(why) => (StatusCode::BAD_REQUEST, why).into_response(),
            Self::Unknown(id) => (StatusCode::NOT_FOUND, format!("trace {id} not found")).into_response(),
            Self::Lookup(error) => {
                let mut response = (error.status(), error.to_string()).into_response();
                if let Some(retry) = error.retry_after() {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry.as_secs()));
                }
                response
            }
        }
    }
}

async fn find(lookup: &Lookup, headers: &HeaderMap, id: &str) -> Result<Trace, Refusal> {
    let tenant = Tenant::from_headers(headers).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let id: TraceId = id.parse().map_err(|error: clew_common::ids::NotATraceId| Refusal::Invalid(error.to_string()))?;
    let trace = lookup.trace(&tenant, id).await.map_err(Refusal::Lookup)?;
    if trace.spans.is_empty() && trace.partial_reasons.is_empty() {
        return Err(Refusal::Unknown(id));
    }
    Ok(trace)
}

/// `/api/traces/{id}`
pub async fn v1(State(lookup): State<Lookup>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let Trace { spans, partial_reasons } = find(&lookup, &headers, &id).await?;
    if wants_protobuf(&headers) {
        // Tempo's Trace has the same one field as OTLP's TracesData.
        return Ok(marked(protobuf(spans), &partial_reasons));
    }
    let mut body = "{\"batches\":".to_owned();
    json::write_resource_spans_array(&mut body, &spans, Ids::Base64);
    body.push('}');
    Ok(marked(json(body), &partial_reasons))
}

fn marked(mut response: Response, missing: &[String]) -> Response {
    partial::mark(response.headers_mut(), missing);
    response
}

/// tempopb.TraceByIDResponse.
#[derive(Clone, PartialEq, Message)]
struct TraceById {
    #[prost(bytes = "bytes", optional, tag = "1")]
    trace: Option<bytes::Bytes>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<()>,
    /// 0 complete, 1 partial.
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

/// `/api/v2/traces/{id}`
pub async fn v2(State(lookup): State<Lookup>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let Trace { spans, partial_reasons } = find(&lookup, &headers, &id).await?;
    let partial = !partial_reasons.is_empty();
    let message = partial_reasons.join("; ");
    let marked = |response| marked(response, &partial_reasons);
    if wants_protobuf(&headers) {
        let answer = TraceById { trace: Some(spans), metrics: Some(()), status: partial.into(), message };
        return Ok(marked(protobuf(answer.encode_to_vec())));
    }
    let mut body = "{\"trace\":{\"resourceSpans\":".to_owned();
    json::write_resource_spans_array(&mut body, &spans, Ids::Base64);
    body.push_str("},\"metrics\":{}");
    if partial {
        body.push_str(",\"status\":\"PARTIAL\",\"message\":");
        body.push_str(&serde_json::Value::from(message).to_string());
    }
    body.push('}');
    Ok(marked(json(body)))
}
