//! jaeger.storage: what a Jaeger asks whose spans are here.

use clew_common::ids::TraceId;
use clew_proto::{
    jaeger::storage::{
        v1::{CapabilitiesRequest, CapabilitiesResponse, plugin_capabilities_server::PluginCapabilities},
        v2::{
            Dependency, FindTraceIDsRequest, FindTraceIDsResponse, FindTraceSummariesRequest,
            FindTraceSummariesResponse, FindTracesRequest, FoundTraceId, GetCapabilitiesRequest,
            GetCapabilitiesResponse, GetDependenciesRequest, GetDependenciesResponse, GetOperationsRequest,
            GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTracesRequest, KeyValue, Operation,
            SearchCapabilities, ServiceSummary, TraceQueryParameters, TraceSummary, any_value::Value,
            capabilities_server::Capabilities, dependency_reader_server::DependencyReader,
            trace_reader_server::TraceReader,
        },
    },
    opentelemetry::proto::trace::v1::TracesData,
};
use clew_query::exec::{Found, Searched};
use futures_util::{StreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    Answers, Asked, Traces, none_of, otlp, reply, tenant, time_ns,
    v2::{said, trace_id},
};
use crate::{
    jaeger::{
        Jaeger,
        refused::Refused,
        search::{Ids, MAX_TRACES, Search},
        summary,
    },
    queries::parts,
};

fn search(jaeger: &Jaeger, query: Option<TraceQueryParameters>) -> Result<Search, Refused> {
    let query = query.ok_or_else(|| Refused::invalid("query is required"))?;
    none_of(&[("filter", &query.filter), ("pagination", &query.pagination)])?;
    let asked = Asked {
        service: query.service_name,
        operation: query.operation_name,
        tags: query.attributes.into_iter().map(tag).collect::<Result<_, _>>()?,
        range: jaeger.range(time_ns(query.start_time_min), time_ns(query.start_time_max), None),
        min: query.duration_min,
        max: query.duration_max,
        depth: query.search_depth,
    };
    asked.search()
}

/// An attribute as the text that tags are searched by.
fn tag(KeyValue { key, value }: KeyValue) -> Result<(String, String), Refused> {
    let text = match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_)) | None => {
            let why = format!("attribute {key:?} cannot be searched by: expected a text, a boolean or a number");
            return Err(Refused::invalid(why));
        }
    };
    Ok((key, text))
}

fn summary(found: Found) -> TraceSummary {
    let trace_id = found.trace_id.to_vec().into();
    let summary = summary::of(found);
    let services = summary.services.into_iter().map(|service| ServiceSummary {
        name: service.name,
        span_count: service.span_count,
        error_span_count: service.error_span_count,
    });
    TraceSummary {
        trace_id,
        root_service_name: summary.root_service_name,
        root_operation_name: summary.root_operation_name,
        min_start_time_unix_nano: summary.min_start_time_unix_nano,
        max_end_time_unix_nano: summary.max_end_time_unix_nano,
        span_count: summary.span_count,
        error_span_count: summary.error_span_count,
        orphan_span_count: summary.orphan_span_count,
        services: services.collect(),
    }
}

#[tonic::async_trait]
impl TraceReader for Jaeger {
    type GetTracesStream = Answers<TracesData>;
    type FindTracesStream = Answers<TracesData>;
    type FindTraceSummariesStream = Answers<FindTraceSummariesResponse>;

    async fn get_traces(&self, request: Request<GetTracesRequest>) -> Result<Response<Self::GetTracesStream>, Status> {
        let (tenant, asked) = (tenant(&request)?, request.into_inner().query);
        if asked.len() as u64 > MAX_TRACES {
            let ids = asked.len();
            return Err(Refused::invalid(format!("{ids} traces are asked for; expected {MAX_TRACES} at most")).into());
        }
        let ids = asked.iter().map(|params| trace_id(&params.trace_id)).collect::<Result<_, _>>()?;
        Ok(Traces::open(self, &tenant, Ids { ids, missing: Vec::new() }, otlp).await?.stream())
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Result<Response<Self::FindTracesStream>, Status> {
        let tenant = tenant(&request)?;
        let ids = self.find(&tenant, search(self, request.into_inner().query)?).await?;
        Ok(Traces::open(self, &tenant, ids, otlp).await?.stream())
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Result<Response<FindTraceIDsResponse>, Status> {
        let tenant = tenant(&request)?;
        let Ids { ids, missing } = self.find(&tenant, search(self, request.into_inner().query)?).await?;
        let found = |id: TraceId| FoundTraceId { trace_id: id.as_bytes().to_vec().into(), ..FoundTraceId::default() };
        let trace_ids = ids.into_iter().map(found).collect();
        Ok(reply(FindTraceIDsResponse { trace_ids, next_page_token: String::new() }, &missing))
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTraceSummariesRequest>,
    ) -> Result<Response<Self::FindTraceSummariesStream>, Status> {
        let tenant = tenant(&request)?;
        let search = search(self, request.into_inner().query)?;
        let Searched { traces, missing, .. } = self.search(&tenant, search).await?;
        let parts = parts::cut(traces.into_iter().map(summary), TraceSummary::encoded_len);
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
}

#[tonic::async_trait]
impl DependencyReader for Jaeger {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        let (tenant, GetDependenciesRequest { start_time, end_time }) = (tenant(&request)?, request.into_inner());
        let found = self.dependencies(&tenant, time_ns(start_time), time_ns(end_time)).await?;
        let dependencies = found.data.into_iter().map(|one| Dependency {
            parent: one.parent,
            child: one.child,
            call_count: one.calls,
            source: String::new(),
        });
        Ok(reply(GetDependenciesResponse { dependencies: dependencies.collect() }, &found.missing))
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

#[tonic::async_trait]
impl PluginCapabilities for Jaeger {
    async fn capabilities(&self, _: Request<CapabilitiesRequest>) -> Result<Response<CapabilitiesResponse>, Status> {
        Ok(Response::new(CapabilitiesResponse::default()))
    }
}
