//! Why a query has no answer.

use std::time::Duration;

use clew_common::{otlp::status::RpcStatus, threads::NoThreads};
use clew_query::exec::Stopped;
use clew_storage::TailError;
use http::StatusCode;
use tonic::{Code, Status};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query makes no sense. Final.
    #[error("{0}")]
    Invalid(String),
    /// It goes on from something that is not here. Final.
    #[error("{0}")]
    Elsewhere(String),
    /// Too many run and wait. Retry.
    #[error("too many queries at once; retry in {} s", retry.as_secs())]
    Refused {
        /// After this.
        retry: Duration,
    },
    /// What is stored cannot be read, or the work on it failed.
    #[error("{0}")]
    Failed(String),
    /// It took too long, found too much, or nobody waits for it any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl QueryError {
    /// What was asked makes no sense.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }

    /// As metrics name it.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Elsewhere(_) => "invalid",
            Self::Refused { .. } => "refused",
            Self::Stopped(Stopped::Time(_)) => "timeout",
            Self::Stopped(Stopped::Cancelled) => "cancelled",
            Self::Stopped(Stopped::TooMuch(_)) => "too_much",
            Self::Failed(_) => "failed",
        }
    }

    /// As HTTP says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Elsewhere(_) => StatusCode::BAD_REQUEST,
            Self::Refused { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopped(Stopped::Time(_)) => StatusCode::GATEWAY_TIMEOUT,
            Self::Stopped(Stopped::TooMuch(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            // Nobody hears it.
            Self::Stopped(Stopped::Cancelled) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<NoThreads> for QueryError {
    fn from(error: NoThreads) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<TailError> for QueryError {
    fn from(error: TailError) -> Self {
        match error {
            TailError::Malformed => Self::Invalid(error.to_string()),
            TailError::Foreign => Self::Elsewhere(error.to_string()),
        }
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let (code, retry) = match &error {
            QueryError::Invalid(_) => (Code::InvalidArgument, None),
            QueryError::Elsewhere(_) => (Code::FailedPrecondition, None),
            QueryError::Refused { retry } => (Code::ResourceExhausted, Some(*retry)),
            QueryError::Stopped(Stopped::Time(_)) => (Code::DeadlineExceeded, None),
            QueryError::Stopped(Stopped::TooMuch(_)) => (Code::ResourceExhausted, None),
            QueryError::Stopped(Stopped::Cancelled) => (Code::Cancelled, None),
            QueryError::Failed(_) => (Code::Internal, None),
        };
        RpcStatus::new(code, &error.to_string(), retry).to_tonic()
    }
}
