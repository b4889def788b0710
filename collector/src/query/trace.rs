//! One trace by its id.

use bytes::Bytes;
use clew_common::ids::{Tenant, TraceId};
use clew_proto::v1::{GetTraceRequest, GetTraceResponse};
use tonic::Status;

use crate::{lookup::Lookup, queries::parts};

/// The messages of an answer.
pub async fn get(
    lookup: &Lookup,
    tenant: &Tenant,
    GetTraceRequest { trace_id }: &GetTraceRequest,
) -> Result<Vec<GetTraceResponse>, Status> {
    let id = TraceId::from_slice(trace_id).ok_or_else(|| {
        let bytes = trace_id.len();
        Status::invalid_argument(format!("trace_id has to be 16 bytes that are not all zero; it has {bytes}"))
    })?;
    let found = lookup.trace(tenant, id).await.map_err(|error| Status::resource_exhausted(error.to_string()))?;
    if found.spans.is_empty() && found.partial_reasons.is_empty() {
        return Err(Status::not_found(format!("no span of trace {id} is known")));
    }
    let parts = parts::cut(parts::resource_spans(&found.spans), Bytes::len);
    let message = |resource_spans| GetTraceResponse { resource_spans, ..GetTraceResponse::default() };
    let mut messages: Vec<_> = parts.into_iter().map(message).collect();
    if let Some(last) = messages.last_mut() {
        last.partial = !found.partial_reasons.is_empty();
        last.partial_reasons = found.partial_reasons;
    }
    Ok(messages)
}
