//! jaeger.api_v2.QueryService: spans in Jaeger's model.

use bytes::Bytes;
use clew_common::ids::TraceId;
use clew_proto::jaeger::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, DependencyLink, FindTracesRequest, GetDependenciesRequest,
    GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse, GetServicesRequest, GetServicesResponse,
    GetTraceRequest, Operation, Span, SpansResponseChunk, TraceQueryParameters, query_service_server::QueryService,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{Answers, Asked, Traces, message, reply, tenant, time_ns};
use crate::{
    jaeger::{Jaeger, find::NO_ARCHIVE, model, refused::Refused},
    lookup::Trace,
    queries::parts,
};

/// A trace id of 16 bytes; older clients leave the first 8 out when they are zero.
pub(super) fn trace_id(bytes: &Bytes) -> Result<TraceId, Refused> {
    let id = match <[u8; 8]>::try_from(&bytes[..]) {
        Ok(low) => TraceId::new(u128::from(u64::from_be_bytes(low)).to_be_bytes()),
        Err(_) => TraceId::from_slice(bytes),
    };
    id.ok_or_else(|| {
        let bytes = bytes.len();
        Refused::invalid(format!("trace_id has to be 16 bytes, or 8, that are not all zero; it has {bytes}"))
    })
}

/// Something that a client may leave out.
pub(super) fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn chunks(id: TraceId, trace: Trace) -> Result<Vec<SpansResponseChunk>, Refused> {
    let mut spans = message::spans(model::of_otlp(&trace.spans).ok_or(Refused::Damaged(id))?);
    if let Some(first) = spans.first_mut() {
        first.warnings.extend(trace.partial_reasons);
    }
    let chunks = parts::cut(spans, Span::encoded_len).into_iter();
    Ok(chunks.map(|spans| SpansResponseChunk { spans }).collect())
}

#[tonic::async_trait]
impl QueryService for Jaeger {
    type GetTraceStream = Answers<SpansResponseChunk>;
    type FindTracesStream = Answers<SpansResponseChunk>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Self::GetTraceStream>, Status> {
        let (tenant, id) = (tenant(&request)?, trace_id(&request.get_ref().trace_id)?);
        Ok(Traces::open_one(self, &tenant, id, chunks).await?.stream())
    }

    async fn archive_trace(
        &self,
        request: Request<ArchiveTraceRequest>,
    ) -> Result<Response<ArchiveTraceResponse>, Status> {
        trace_id(&request.get_ref().trace_id)?;
        Err(Refused::Unsupported(NO_ARCHIVE).into())
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Result<Response<Self::FindTracesStream>, Status> {
        let tenant = tenant(&request)?;
        let query = request.into_inner().query.ok_or_else(|| Refused::invalid("query is required"))?;
        let TraceQueryParameters { start_time_min, start_time_max, .. } = query;
        let asked = Asked {
            service: query.service_name,
            operation: query.operation_name,
            tags: query.tags.into_iter().collect(),
            range: self.range(time_ns(start_time_min), time_ns(start_time_max), None),
            min: query.duration_min,
            max: query.duration_max,
            depth: query.search_depth,
        };
        let ids = self.find(&tenant, asked.search()?).await?;
        Ok(Traces::open(self, &tenant, ids, chunks).await?.stream())
    }

    async fn get_services(
        &self,
        request: Request<GetServicesRequest>,
    ) -> Result<Response<GetServicesResponse>, Status> {
        let found = self.services(&tenant(&request)?).await?;
        Ok(reply(GetServicesResponse { services: found.data }, &found.missing))
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Result<Response<GetOperationsResponse>, Status> {
        let (tenant, asked) = (tenant(&request)?, request.get_ref());
        let found = self.operations(&tenant, said(&asked.service), said(&asked.span_kind)).await?;
        let mut operation_names: Vec<String> = found.data.iter().map(|operation| operation.name.clone()).collect();
        operation_names.dedup();
        let operations =
            found.data.into_iter().map(|one| Operation { name: one.name, span_kind: one.span_kind.to_owned() });
        let message = GetOperationsResponse { operation_names, operations: operations.collect() };
        Ok(reply(message, &found.missing))
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        let (tenant, GetDependenciesRequest { start_time, end_time }) = (tenant(&request)?, request.into_inner());
        let found = self.dependencies(&tenant, time_ns(start_time), time_ns(end_time)).await?;
        let dependencies = found.data.into_iter().map(|one| DependencyLink {
            parent: one.parent,
            child: one.child,
            call_count: one.calls,
            source: String::new(),
        });
        Ok(reply(GetDependenciesResponse { dependencies: dependencies.collect() }, &found.missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_8_bytes_are_the_second_half_of_one() {
        let id = |bytes: &[u8]| trace_id(&Bytes::copy_from_slice(bytes)).ok().map(|id| id.to_string());
        assert_eq!(id(&[0xa; 16]), Some("0a".repeat(16)));
        assert_eq!(id(&[0xa; 8]), Some(format!("{}{}", "00".repeat(8), "0a".repeat(8))));
        for bytes in [&[][..], &[0; 8], &[0; 16], &[1; 7], &[1; 9], &[1; 15], &[1; 17]] {
            assert_eq!(id(bytes), None, "{bytes:?}");
        }
    }
}
