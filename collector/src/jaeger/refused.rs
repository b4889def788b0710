//! Why a question is not answered, as HTTP and gRPC say it.

use axum::extract::rejection::PathRejection;
use clew_common::ids::{NotATenant, NotATraceId, TraceId};
use http::StatusCode;
use tonic::Status;

use crate::{lookup::LookupError, queries::QueryError};

/// What is said of a trace that is not there.
pub const UNKNOWN: &str = "trace not found";

/// A question that is not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// It makes no sense, finds too much or takes too long; or too many are asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many traces are read, or one that is too large.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The answer would be too large. Ask for less.
    #[error("the traces take more than {limit} bytes together; ask for fewer of them, or over gRPC")]
    TooLarge {
        /// What an answer may take.
        limit: usize,
    },
    /// There is no such trace.
    #[error("{UNKNOWN}")]
    Unknown,
    /// Nothing is asked so.
    #[error("{0}")]
    NoSuchPath(String),
    /// Something is asked there, but otherwise.
    #[error("{0}")]
    NotSo(String),
    /// Nothing is found of a trace, and where it may be cannot be read.
    #[error("whether there is such a trace is not known: {0}")]
    Unreadable(String),
    /// What is stored of a trace is no OTLP.
    #[error("trace {0} cannot be read")]
    Damaged(TraceId),
    /// It is done otherwise here.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl Refused {
    /// What was asked makes no sense.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::Query(QueryError::Invalid(why.into()))
    }

    /// As HTTP says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Query(error) => error.status(),
            Self::Lookup(error) => error.status(),
            Self::TooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown | Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::NotSo(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

impl From<NotATenant> for Refused {
    fn from(error: NotATenant) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<PathRejection> for Refused {
    fn from(error: PathRejection) -> Self {
        Self::invalid(error.body_text())
    }
}

impl From<NotATraceId> for Refused {
    fn from(error: NotATraceId) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let why = refused.to_string();
        match refused {
            Refused::Query(error) => error.into(),
            Refused::Lookup(error) => error.into(),
            Refused::TooLarge { .. } => Self::resource_exhausted(why),
            Refused::Unknown => Self::not_found(why),
            Refused::NoSuchPath(_) | Refused::NotSo(_) => Self::unimplemented(why),
            Refused::Unreadable(_) => Self::unavailable(why),
            Refused::Damaged(_) => Self::data_loss(why),
            Refused::Unsupported(_) => Self::unimplemented(why),
        }
    }
}
