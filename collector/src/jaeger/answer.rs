//! The form of Jaeger's older answers and errors.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use clew_common::ids::TraceId;
use futures_util::stream;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use super::{
    json::digits,
    refused::{Refused, UNKNOWN},
};

/// What every answer has around its data.
#[derive(Serialize)]
struct Envelope<'a, T> {
    data: Option<&'a T>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<Error<'a>>>,
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    msg: &'a str,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl<'a> Error<'a> {
    fn new(status: StatusCode, msg: &'a str) -> Self {
        Self { code: Some(status.as_u16()), msg, trace_id: None }
    }
}

/// Data, how many they are, and what may be missing from them.
pub struct Answer<T> {
    pub data: T,
    pub total: usize,
    pub missing: Vec<String>,
}

impl<T> Answer<Vec<T>> {
    /// All of a list.
    pub fn of(data: Vec<T>, missing: Vec<String>) -> Self {
        Self { total: data.len(), data, missing }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let errors = partial(&self.missing, &[]);
        let envelope = Envelope { data: Some(&self.data), total: self.total, limit: 0, offset: 0, errors };
        body(StatusCode::OK, &envelope)
    }
}

/// What an answer has not. Of traces that are not known Jaeger says the id instead of a code.
fn partial<'a>(missing: &'a [String], unknown: &[TraceId]) -> Option<Vec<Error<'a>>> {
    let missing = missing.iter().map(|msg| Error::new(StatusCode::PARTIAL_CONTENT, msg));
    let unknown = unknown.iter().map(|id| Error { code: None, msg: UNKNOWN, trace_id: Some(digits(id.as_bytes())) });
    Some(missing.chain(unknown).collect()).filter(|errors: &Vec<_>| !errors.is_empty())
}

/// Data that is JSON already. It is sent piece by piece: put together it would take as much again.
pub fn of_json(data: Vec<String>, missing: &[String], unknown: &[TraceId]) -> Response {
    let errors = serde_json::json!(partial(missing, unknown));
    let end = format!("],\"total\":{},\"limit\":0,\"offset\":0,\"errors\":{errors}}}", data.len());
    let separators = std::iter::once("").chain(std::iter::repeat(","));
    let traces = separators.zip(data).flat_map(|(separator, trace)| [separator.into(), trace.into()]);
    let pieces = std::iter::once(Bytes::from("{\"data\":[")).chain(traces).chain([end.into()]);
    json(Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>))))
}

/// A body that is JSON.
pub fn json(body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// JSON with a status.
pub fn body<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, json(body)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// An answer that says so when one may ask again soon.
pub fn retried(mut response: Response) -> Response {
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, why) = (self.status(), self.to_string());
        let errors = vec![Error::new(status, &why)];
        let envelope = Envelope::<()> { data: None, total: 0, limit: 0, offset: 0, errors: Some(errors) };
        retried(body(status, &envelope))
    }
}
