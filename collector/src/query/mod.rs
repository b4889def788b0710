//! clew.v1 Query over gRPC.
//!
//! `trace` is one trace by its id; `search`, `metrics`, `tags` and `differences` answer from `queries`; `tail` follows what comes in. Answers that may be
//! long are cut into messages.

mod differences;
mod metrics;
mod search;
mod tags;
mod tail;
mod trace;

use std::pin::Pin;

use clew_common::{ids::Tenant, shutdown::Drain};
use clew_proto::v1::{
    DependenciesRequest, DependenciesResponse, ExplainRequest, ExplainResponse, GetTraceRequest, GetTraceResponse,
    MetricsRequest, MetricsResponse, SearchRequest, SearchResponse, TagNamesRequest, TagNamesResponse,
    TagValuesRequest, TagValuesResponse, TailRequest, TailResponse, query_server::Query as QueryService,
};
use futures_util::Stream;
use tonic::{Request, Response, Status};

use crate::{lookup::Lookup, queries::Queries};

/// Answers queries. Cheap to clone.
#[derive(Clone)]
pub struct Query {
    /// Those about one trace.
    pub lookup: Lookup,
    /// All others.
    pub queries: Queries,
    /// Ends those that have no end.
    pub drain: Drain,
}

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

fn tenant<T>(request: &Request<T>) -> Result<Tenant, Status> {
    Tenant::from_headers(&request.metadata().clone().into_headers())
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn stream<M: Send + 'static>(messages: Vec<M>) -> Response<Answers<M>> {
    Response::new(Box::pin(tokio_stream::iter(messages.into_iter().map(Ok))))
}

#[tonic::async_trait]
impl QueryService for Query {
    type GetTraceStream = Answers<GetTraceResponse>;
    type SearchStream = Answers<SearchResponse>;
    type MetricsStream = Answers<MetricsResponse>;
    type TagValuesStream = Answers<TagValuesResponse>;
    type TailStream = Answers<TailResponse>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Self::GetTraceStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(stream(trace::get(&self.lookup, &tenant, request.get_ref()).await?))
    }

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(stream(search::search(&self.queries, &tenant, request.into_inner()).await?))
    }

    async fn metrics(&self, request: Request<MetricsRequest>) -> Result<Response<Self::MetricsStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(stream(metrics::metrics(&self.queries, &tenant, request.into_inner()).await?))
    }

    async fn tag_names(&self, request: Request<TagNamesRequest>) -> Result<Response<TagNamesResponse>, Status> {
        let tenant = tenant(&request)?;
        Ok(Response::new(tags::names(&self.queries, &tenant, request.into_inner()).await?))
    }

    async fn tag_values(&self, request: Request<TagValuesRequest>) -> Result<Response<Self::TagValuesStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(stream(tags::values(&self.queries, &tenant, request.into_inner()).await?))
    }

    async fn dependencies(
        &self,
        request: Request<DependenciesRequest>,
    ) -> Result<Response<DependenciesResponse>, Status> {
        let tenant = tenant(&request)?;
        Ok(Response::new(differences::dependencies(&self.queries, &tenant, request.into_inner()).await?))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let tenant = tenant(&request)?;
        Ok(Response::new(differences::explain(&self.queries, &tenant, request.into_inner()).await?))
    }

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let tenant = tenant(&request)?;
        let TailRequest { query, cursor } = request.into_inner();
        let follower = self.queries.follow(&tenant, &query, &cursor)?;
        Ok(Response::new(Box::pin(tail::messages(follower, self.drain.clone()))))
    }
}
