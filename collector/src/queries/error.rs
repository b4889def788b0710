//! Why a query has no answer.

use std::time::Duration;

use clew_query::exec::Stopped;

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query makes no sense. Final.
    #[error("{0}")]
    Invalid(String),
    /// Too many run and wait. Retry.
    #[error("too many queries at once; retry in {} s", retry.as_secs())]
    Refused {
        /// After this.
        retry: Duration,
    },
    /// It took too long, found too much, or nobody waits for it any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl QueryError {
    /// As metrics name it.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Refused { .. } => "refused",
            Self::Stopped(Stopped::Time(_)) => "timeout",
            Self::Stopped(Stopped::Cancelled) => "cancelled",
            Self::Stopped(Stopped::TooMuch(_)) => "too_much",
        }
    }
}
