//! Why a query has no answer.

use clew_query::exec::{SpansError, Stopped};
use datafusion::common::{DataFusionError, SchemaError};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The query makes no sense, or is not one that only reads. Final.
    #[error("{0}")]
    Invalid(String),
    /// It needs more than it may have.
    #[error("{0}")]
    TooMuch(String),
    /// It took too long, or nobody waits for it any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// What is stored cannot be read, or the engine failed.
    #[error("{0}")]
    Failed(String),
}

impl From<SpansError> for SqlError {
    fn from(error: SpansError) -> Self {
        match error {
            SpansError::Stopped(stopped) => Self::Stopped(stopped),
            SpansError::Damaged(why) => Self::Failed(why),
        }
    }
}

/// As DataFusion passes it through.
pub fn external(error: SpansError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What is stored is not as it should be.
pub fn damaged(why: &str) -> DataFusionError {
    external(SpansError::Damaged(why.to_owned()))
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::External(inner) => match inner.downcast_ref::<SpansError>() {
                Some(error) => error.clone().into(),
                // A regular expression that is none, for one.
                None => Self::Invalid(shortened(&inner.to_string())),
            },
            DataFusionError::ResourcesExhausted(_) => Self::TooMuch(
                "the query needs more memory than max_sql_memory_bytes allows; ask for fewer groups, columns or rows, or \
                 for a shorter time range"
                    .to_owned(),
            ),
            // What was written is wrong, or what it works on does not fit.
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Execution(_)
            | DataFusionError::ArrowError(..) => Self::Invalid(shortened(&message(error.find_root()))),
            // Its own checks, which a query that makes no sense comes upon: the same query does so again.
            DataFusionError::Internal(why) => {
                let why = why.split(BUG).next().unwrap_or_default().trim_end();
                Self::Invalid(format!("the engine cannot work this out: {}", shortened(why)))
            }
            _ => Self::Failed(message(error.find_root())),
        }
    }
}

/// How the engine begins to ask for a report.
const BUG: &str = "\nThis issue was likely caused by";

/// Characters of a message at most: some have all of a plan in them.
const MAX_MESSAGE: usize = 400;

fn shortened(text: &str) -> String {
    if text.contains("WindowFunction(") {
        return "a window function stands where none can be; put it in a subquery, and filter or group what that gives"
            .to_owned();
    }
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What is wrong, without traces of where it came from and without all columns that there are.
fn message(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.message().into_owned(),
    };
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
    match error {
        DataFusionError::SchemaError(error, _) if matches!(**error, SchemaError::FieldNotFound { .. }) => {
            let text = text.lines().next().unwrap_or_default().trim_end_matches('.');
            format!("{text}; DESCRIBE and a table's name lists its columns")
        }
        _ => text.to_owned(),
    }
}
