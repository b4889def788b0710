//! Answers over HTTP: JSON, or protobuf for who asks for it.

use axum::response::{IntoResponse, Response};
use clew_proto::tempopb::SearchMetrics;
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};
use prost::Message;

use super::json::Json;
use crate::queries::{Answer, Asked, partial};

/// An answer.
#[derive(Debug)]
pub struct Reply<M> {
    /// The message of tempopb.
    pub message: M,
    /// Why something may be missing; empty when nothing is.
    pub missing: Vec<String>,
}

impl<M: Message + Json> Reply<M> {
    /// As the client wants it.
    pub fn over_http(self, headers: &HeaderMap) -> Response {
        let mut response = if wants_protobuf(headers) {
            protobuf(self.message.encode_to_vec())
        } else {
            let mut text = String::new();
            self.message.write(&mut text);
            json(text)
        };
        partial::mark(response.headers_mut(), &self.missing);
        response
    }
}

/// What an answer took. The whole of it is one job, and it is done.
pub fn took<T: Answer>(asked: &Asked<T>) -> SearchMetrics {
    SearchMetrics {
        total_blocks: asked.blocks as u32,
        completed_jobs: 1,
        total_jobs: 1,
        inspected_spans: asked.answer.inspected_spans(),
        ..SearchMetrics::default()
    }
}

/// Whether the client asks for protobuf.
pub fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/protobuf"))
}

/// A body that is protobuf.
pub fn protobuf(body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"))], body).into_response()
}

/// A body that is JSON.
pub fn json(body: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
