//! tempopb.StreamingQuerier: the same answers over gRPC.

use std::pin::Pin;

use clew_common::ids::Tenant;
use clew_proto::tempopb::{
    QueryInstantRequest, QueryInstantResponse, QueryRangeRequest, QueryRangeResponse, SearchRequest, SearchResponse,
    SearchTagValuesRequest, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsRequest, SearchTagsResponse,
    SearchTagsV2Response, TimeSeries, TraceSearchMetadata,
    streaming_querier_server::{StreamingQuerier, StreamingQuerierServer},
};
use futures_util::Stream;
use prost::Message;
use tonic::{Request, Response, Status};

use super::{Tempo, error::Refused, respond::Reply};
use crate::queries::{partial, parts};

/// Where HTTP/2 finds the service.
pub const PATH: &str = "/tempopb.StreamingQuerier/{method}";

/// The service.
pub fn service(tempo: Tempo) -> StreamingQuerierServer<Tempo> {
    StreamingQuerierServer::new(tempo)
}

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

fn tenant<T>(request: &Request<T>) -> Result<Tenant, Refused> {
    Ok(Tenant::from_headers(&request.metadata().clone().into_headers())?)
}

fn stream<M: Send + 'static>(messages: Vec<M>, missing: &[String]) -> Response<Answers<M>> {
    let answers: Answers<M> = Box::pin(tokio_stream::iter(messages.into_iter().map(Ok)));
    let mut response = Response::new(answers);
    partial::mark_metadata(response.metadata_mut(), missing);
    response
}

fn whole<M: Send + 'static>(Reply { message, missing }: Reply<M>) -> Response<Answers<M>> {
    stream(vec![message], &missing)
}

/// Cuts an answer; each part says what all of it took.
fn traces(SearchResponse { traces, metrics }: SearchResponse) -> Vec<SearchResponse> {
    let parts = parts::cut(traces, TraceSearchMetadata::encoded_len);
    parts.into_iter().map(|traces| SearchResponse { traces, metrics }).collect()
}

/// The same of series.
fn series(response: QueryRangeResponse) -> Vec<QueryRangeResponse> {
    let QueryRangeResponse { series, metrics, status, message } = response;
    let parts = parts::cut(series, TimeSeries::encoded_len);
    parts.into_iter().map(|series| QueryRangeResponse { series, metrics, status, message: message.clone() }).collect()
}

#[tonic::async_trait]
impl StreamingQuerier for Tempo {
    type SearchStream = Answers<SearchResponse>;
    type SearchTagsStream = Answers<SearchTagsResponse>;
    type SearchTagsV2Stream = Answers<SearchTagsV2Response>;
    type SearchTagValuesStream = Answers<SearchTagValuesResponse>;
    type SearchTagValuesV2Stream = Answers<SearchTagValuesV2Response>;
    type MetricsQueryRangeStream = Answers<QueryRangeResponse>;
    type MetricsQueryInstantStream = Answers<QueryInstantResponse>;

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        let tenant = tenant(&request)?;
        let reply = Tempo::search(self, &tenant, request.into_inner()).await?;
        Ok(stream(traces(reply.message), &reply.missing))
    }

    async fn search_tags(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(whole(self.tag_names_v1(&tenant, request.into_inner()).await?))
    }

    async fn search_tags_v2(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsV2Stream>, Status> {
        let tenant = tenant(&request)?;
        Ok(whole(self.tag_names(&tenant, request.into_inner()).await?))
    }

    async fn search_tag_values(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(whole(self.tag_values_v1(&tenant, request.into_inner()).await?))
    }

    async fn search_tag_values_v2(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesV2Stream>, Status> {
        let tenant = tenant(&request)?;
        Ok(whole(self.tag_values(&tenant, request.into_inner()).await?))
    }

    async fn metrics_query_range(
        &self,
        request: Request<QueryRangeRequest>,
    ) -> Result<Response<Self::MetricsQueryRangeStream>, Status> {
        let tenant = tenant(&request)?;
        let reply = self.query_range(&tenant, request.into_inner()).await?;
        Ok(stream(series(reply.message), &reply.missing))
    }

    async fn metrics_query_instant(
        &self,
        request: Request<QueryInstantRequest>,
    ) -> Result<Response<Self::MetricsQueryInstantStream>, Status> {
        let tenant = tenant(&request)?;
        Ok(whole(self.query_instant(&tenant, request.into_inner()).await?))
    }
}
