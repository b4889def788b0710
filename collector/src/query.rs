//! clew.v1 Query over gRPC.

use std::pin::Pin;

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    otlp::wire::{BYTES, Field, Reader, key_of},
};
use clew_proto::v1::{GetTraceRequest, GetTraceResponse, query_server::Query as QueryService};
use futures_util::Stream;
use tonic::{Request, Response, Status};

use crate::lookup::{Lookup, Trace};

/// A part of an answer is cut near this size, well under gRPC's usual limit of 4 MiB. One ResourceSpans may be larger.
const PART_BYTES: usize = 1 << 20;

/// Answers queries.
pub struct Query(pub Lookup);

#[tonic::async_trait]
impl QueryService for Query {
    type GetTraceStream = Pin<Box<dyn Stream<Item = Result<GetTraceResponse, Status>> + Send>>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Self::GetTraceStream>, Status> {
        let tenant = Tenant::from_headers(&request.metadata().clone().into_headers())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let bytes = &request.get_ref().trace_id;
        let trace = TraceId::from_slice(bytes).ok_or_else(|| {
            Status::invalid_argument(format!(
                "trace_id has to be 16 bytes that are not all zero; it has {}",
                bytes.len()
            ))
        })?;
        let found =
            self.0.trace(&tenant, trace).await.map_err(|error| Status::resource_exhausted(error.to_string()))?;
        if found.spans.is_empty() && found.partial_reasons.is_empty() {
            return Err(Status::not_found(format!("no span of trace {trace} is known")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(parts(found).into_iter().map(Ok)))))
    }
}

/// Cuts an answer into messages.
fn parts(trace: Trace) -> Vec<GetTraceResponse> {
    let mut parts = vec![GetTraceResponse::default()];
    let (mut reader, mut bytes) = (Reader::new(&trace.spans), 0);
    while let Some(field) = reader.field(key_of(1, BYTES)) {
        let Field::Child(resource_spans) = field else { continue };
        if bytes > 0 && bytes + resource_spans.rest.len() > PART_BYTES {
            parts.push(GetTraceResponse::default());
            bytes = 0;
        }
        bytes += resource_spans.rest.len();
        let resource_spans: Bytes = trace.spans.slice_ref(resource_spans.rest);
        if let Some(part) = parts.last_mut() {
            part.resource_spans.push(resource_spans);
        }
    }
    if let Some(last) = parts.last_mut() {
        last.partial = !trace.partial_reasons.is_empty();
        last.partial_reasons = trace.partial_reasons;
    }
    parts
}
