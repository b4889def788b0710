//! The form of Jaeger's answers and errors.

use axum::response::{IntoResponse, Response};
use clew_query::exec::Stopped;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use crate::queries::QueryError;

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
    code: u16,
    msg: &'a str,
}

/// Data, how many they are, and what may be missing from them.
pub struct Answer<T> {
    pub data: T,
    pub total: usize,
    pub missing: Vec<String>,
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        // Jaeger says so too when a trace of several cannot be had.
        let missing = self.missing.iter().map(|msg| Error { code: StatusCode::PARTIAL_CONTENT.as_u16(), msg });
        let errors = (!self.missing.is_empty()).then(|| missing.collect());
        let envelope = Envelope { data: Some(&self.data), total: self.total, limit: 0, offset: 0, errors };
        body(StatusCode::OK, &envelope)
    }
}

fn body<T: Serialize>(status: StatusCode, envelope: &Envelope<'_, T>) -> Response {
    match serde_json::to_vec(envelope) {
        Ok(json) => (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A question that is not answered.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    why: String,
    retry: bool,
}

impl Refused {
    /// What was asked makes no sense.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into(), retry: false }
    }

    /// There is no such trace.
    pub fn unknown() -> Self {
        Self { status: StatusCode::NOT_FOUND, why: "trace not found".to_owned(), retry: false }
    }

    /// It is done otherwise here.
    pub fn unsupported(why: &str) -> Self {
        Self { status: StatusCode::NOT_IMPLEMENTED, why: why.to_owned(), retry: false }
    }

    /// Too many ask.
    pub fn busy(why: impl Into<String>) -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, why: why.into(), retry: true }
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        let status = match &error {
            QueryError::Invalid(_) | QueryError::Elsewhere(_) => StatusCode::BAD_REQUEST,
            QueryError::Refused { .. } => return Self::busy(error.to_string()),
            QueryError::Stopped(Stopped::Time(_)) => StatusCode::GATEWAY_TIMEOUT,
            QueryError::Stopped(Stopped::TooMuch(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            // Nobody hears it.
            QueryError::Stopped(Stopped::Cancelled) => StatusCode::SERVICE_UNAVAILABLE,
            QueryError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, why: error.to_string(), retry: false }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let errors = vec![Error { code: self.status.as_u16(), msg: &self.why }];
        let envelope = Envelope::<()> { data: None, total: 0, limit: 0, offset: 0, errors: Some(errors) };
        let mut response = body(self.status, &envelope);
        if self.retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
