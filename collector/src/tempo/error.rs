//! Why a query is not answered, as HTTP and gRPC say it.

use axum::response::{IntoResponse, Response};
use clew_common::ids::NotATenant;
use http::{HeaderValue, header::RETRY_AFTER};
use tonic::Status;

use crate::queries::QueryError;

/// A query that is not answered.
#[derive(Debug)]
pub struct Refused(pub QueryError);

impl Refused {
    /// What was asked makes no sense.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self(QueryError::Invalid(why.into()))
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        Self(error)
    }
}

impl From<NotATenant> for Refused {
    fn from(error: NotATenant) -> Self {
        Self::invalid(error.to_string())
    }
}

/// As Tempo does: a status and plain text.
impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.0.status(), self.0.to_string()).into_response();
        if let QueryError::Refused { retry } = self.0 {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry.as_secs().max(1)));
        }
        response
    }
}

impl From<Refused> for Status {
    fn from(Refused(error): Refused) -> Self {
        error.into()
    }
}
