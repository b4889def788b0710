//! tempopb.StreamingQuerier: the same answers over gRPC.

use std::pin::Pin;

use clew_common::ids::Tenant;
use clew_proto::tempopb::{
    QueryInstantRequest, QueryInstantResponse, QueryRangeRequest, QueryRangeResponse, SearchRequest, SearchResponse,
    SearchTagValuesRequest, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsRequest, SearchTagsResponse,
    SearchTagsV2Response, SearchTagsV2Scope, TagValue, TimeSeries, TraceSearchMetadata,
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

/// Of an instant: who asks for one takes the last message for the answer.
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

/// The same of what tags are called, and of their values.
fn names(SearchTagsResponse { tag_names, metrics }: SearchTagsResponse) -> Vec<SearchTagsResponse> {
    let parts = parts::cut(tag_names, String::len);
    parts.into_iter().map(|tag_names| SearchTagsResponse { tag_names, metrics }).collect()
}

fn scopes(SearchTagsV2Response { scopes, metrics }: SearchTagsV2Response) -> Vec<SearchTagsV2Response> {
    // A scope may come in several pieces.
    let pieces = scopes.into_iter().flat_map(|SearchTagsV2Scope { name, tags }| {
        let parts = parts::cut(tags, String::len).into_iter();
        parts.map(move |tags| SearchTagsV2Scope { name: name.clone(), tags })
    });
    let parts = parts::cut(pieces, SearchTagsV2Scope::encoded_len);
    parts.into_iter().map(|scopes| SearchTagsV2Response { scopes, metrics }).collect()
}

fn texts(SearchTagValuesResponse { tag_values, metrics }: SearchTagValuesResponse) -> Vec<SearchTagValuesResponse> {
    let parts = parts::cut(tag_values, String::len);
    parts.into_iter().map(|tag_values| SearchTagValuesResponse { tag_values, metrics }).collect()
}

fn values(response: SearchTagValuesV2Response) -> Vec<SearchTagValuesV2Response> {
    let SearchTagValuesV2Response { tag_values, metrics } = response;
    let parts = parts::cut(tag_values, TagValue::encoded_len);
    parts.into_iter().map(|tag_values| SearchTagValuesV2Response { tag_values, metrics }).collect()
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
        let reply = self.tag_names_v1(&tenant, request.into_inner()).await?;
        Ok(stream(names(reply.message), &reply.missing))
    }

    async fn search_tags_v2(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsV2Stream>, Status> {
        let tenant = tenant(&request)?;
        let reply = self.tag_names(&tenant, request.into_inner()).await?;
        Ok(stream(scopes(reply.message), &reply.missing))
    }

    async fn search_tag_values(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesStream>, Status> {
        let tenant = tenant(&request)?;
        let reply = self.tag_values_v1(&tenant, request.into_inner()).await?;
        Ok(stream(texts(reply.message), &reply.missing))
    }

    async fn search_tag_values_v2(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesV2Stream>, Status> {
        let tenant = tenant(&request)?;
        let reply = self.tag_values(&tenant, request.into_inner()).await?;
        Ok(stream(values(reply.message), &reply.missing))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_cut_into_messages_that_clients_take() {
        let texts = || (0..6).map(|at| at.to_string().repeat(1 << 20)).collect::<Vec<_>>();
        let value = |value| TagValue { r#type: "string".to_owned(), value };
        let scope = SearchTagsV2Scope { name: "span".to_owned(), tags: texts() };
        let tag_values = texts().into_iter().map(value).collect();
        let sizes = |sizes: Vec<usize>| {
            assert!(sizes.len() > 1 && sizes.iter().all(|size| *size < 4 << 20), "{sizes:?}");
        };
        let values = values(SearchTagValuesV2Response { tag_values, metrics: None });
        assert_eq!(values.iter().map(|message| message.tag_values.len()).sum::<usize>(), 6);
        sizes(values.iter().map(Message::encoded_len).collect());
        let plain = self::texts(SearchTagValuesResponse { tag_values: texts(), metrics: None });
        sizes(plain.iter().map(Message::encoded_len).collect());
        let plain = names(SearchTagsResponse { tag_names: texts(), metrics: None });
        sizes(plain.iter().map(Message::encoded_len).collect());
        let scopes = scopes(SearchTagsV2Response { scopes: vec![scope], metrics: None });
        let of_span = scopes.iter().flat_map(|message| &message.scopes).filter(|scope| scope.name == "span");
        assert_eq!(of_span.map(|scope| scope.tags.len()).sum::<usize>(), 6);
        sizes(scopes.iter().map(Message::encoded_len).collect());
    }
}
