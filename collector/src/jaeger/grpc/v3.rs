//! jaeger.api_v3: spans as OTLP.

use clew_proto::{
    jaeger::api_v3::{
        DependenciesResponse, Dependency, FindTraceSummariesRequest, FindTraceSummariesResponse, FindTracesRequest,
        GetCapabilitiesRequest, GetCapabilitiesResponse, GetDependenciesRequest, GetOperationsRequest,
        GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTraceRequest, Operation, SearchCapabilities,
        TraceQueryParameters, TraceSummary, capabilities_server::Capabilities, query_service_server::QueryService,
    },
    opentelemetry::proto::trace::v1::TracesData,
};
use clew_query::exec::{Range, Searched};
use futures_util::{StreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{Answers, Asked, Traces, none_of, otlp, reply, tenant, time_ns, v2::said};
use crate::{
    jaeger::{Jaeger, refused::Refused, search::Search, summary},
    queries::parts,
};

fn search(query: Option<TraceQueryParameters>) -> Result<Search, Refused> {
    let query = query.ok_or_else(|| Refused::invalid("query is required"))?;
    none_of(&[("filter", &query.filter), ("pagination", &query.pagination)])?;
    let (Some(start), Some(end)) = (time_ns(query.start_time_min), time_ns(query.start_time_max)) else {
        return Err(Refused::invalid("start_time_min and start_time_max are required"));
    };
    let asked = Asked {
        service: query.service_name,
        operation: query.operation_name,
        tags: query.attributes.into_iter().collect(),
        range: Range { start, end },
        min: query.duration_min,
        max: query.duration_max,
        depth: query.search_depth,
    };
    asked.search()
}

#[tonic::async_trait]
impl QueryService for Jaeger {
    type GetTraceStream = Answers<TracesData>;
    type FindTracesStream = Answers<TracesData>;
    type FindTraceSummariesStream = Answers<FindTraceSummariesResponse>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Self::GetTraceStream>, Status> {
        let (tenant, id) = (tenant(&request)?, request.get_ref().trace_id.parse().map_err(Refused::from)?);
        Ok(Traces::open_one(self, &tenant, id, otlp).await?.stream())
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Result<Response<Self::FindTracesStream>, Status> {
        let tenant = tenant(&request)?;
        let ids = self.find(&tenant, search(request.into_inner().query)?).await?;
        Ok(Traces::open(self, &tenant, ids, otlp).await?.stream())
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTraceSummariesRequest>,
    ) -> Result<Response<Self::FindTraceSummariesStream>, Status> {
        let tenant = tenant(&request)?;
        let Searched { traces, missing, .. } = self.search(&tenant, search(request.into_inner().query)?).await?;
        let parts = parts::cut(traces.into_iter().map(summary::of), TraceSummary::encoded_len);
        let message = |summaries| Ok(FindTraceSummariesResponse { summaries, next_page_token: String::new() });
        Ok(reply(stream::iter(parts.into_iter().filter(|part| !part.is_empty()).map(message)).boxed(), &missing))
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
        let operations =
            found.data.into_iter().map(|one| Operation { name: one.name, span_kind: one.span_kind.to_owned() });
        Ok(reply(GetOperationsResponse { operations: operations.collect() }, &found.missing))
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<DependenciesResponse>, Status> {
        let (tenant, GetDependenciesRequest { start_time, end_time }) = (tenant(&request)?, request.into_inner());
        let (Some(start), Some(end)) = (time_ns(start_time), time_ns(end_time)) else {
            return Err(Refused::invalid("start_time and end_time are required").into());
        };
        let found = self.dependencies(&tenant, Some(start), Some(end)).await?;
        let dependencies = found.data.into_iter().map(|one| Dependency {
            parent: one.parent,
            child: one.child,
            call_count: one.calls,
        });
        Ok(reply(DependenciesResponse { dependencies: dependencies.collect() }, &found.missing))
    }
}

#[tonic::async_trait]
impl Capabilities for Jaeger {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        let search = SearchCapabilities { without_service_name: true, same_span_conjunction: true };
        Ok(Response::new(GetCapabilitiesResponse { search: Some(search) }))
    }
}
