//! Why something cannot be imported, and where.

use std::{fmt, io, path::Path};

use clew_common::otlp::{json::JsonError, walk::Malformed};
use clew_storage::{block::BlockError, store::StoreError, verify::PartError};

use crate::output;

/// What is wrong, and with what.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct ReadError {
    /// A file, with the line or the byte.
    pub(crate) place: String,
    pub(crate) what: What,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum What {
    #[error("cannot open it: {0}")]
    Open(io::Error),
    #[error("cannot read it: {0}")]
    Read(io::Error),
    #[error("a Parquet file has the spans without their resources: give the folder that `clew export` wrote")]
    ParquetFile,
    /// Of a line that has an end, or not.
    #[error("{}{}", Json(.error), if *.ended { "" } else { "; the file ends there without a line's end: is it cut short?" })]
    Json { error: JsonError, ended: bool },
    #[error("it is longer than the limit of {}", output::bytes(*.max as u64))]
    TooLong { max: usize },
    #[error("the file ends within a message of {said} bytes, of which it has {found}: it is cut short{}", neither(*.guessed))]
    Cut { said: u64, found: u64, guessed: bool },
    #[error("no message has a length like this{}", neither(*.guessed))]
    Length { guessed: bool },
    #[error("{error}{}", neither(*.guessed))]
    Malformed { error: Malformed, guessed: bool },
    #[error("cannot list its blocks: {0}")]
    List(StoreError),
    #[error("there are no blocks: is it what `clew export --format parquet` wrote?")]
    NoBlocks,
    #[error("it has blocks of the tenants {0}: `clew export --store ... --tenant ...` takes one of them out")]
    Tenants(String),
    #[error("a block was never finished, so its spans are missing: was the export cut short?")]
    Unfinished,
    #[error("{}", .0.why)]
    Block(BlockError),
    #[error(transparent)]
    Part(#[from] PartError),
    /// Nobody takes requests any more.
    #[error("stopped")]
    Stopped,
    #[error("cannot compress a request: {0}")]
    Compress(io::Error),
}

impl What {
    /// With the place.
    pub(crate) fn at(self, place: impl fmt::Display) -> ReadError {
        ReadError { place: place.to_string(), what: self }
    }

    /// Of a file.
    pub(crate) fn of(self, path: &Path) -> ReadError {
        self.at(path.display())
    }
}

/// An error within a line, whose number is said already.
struct Json<'a>(&'a JsonError);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JsonError { path, what, column, .. } = self.0;
        write!(f, "column {column}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        write!(f, "{what}")?;
        // A document over several lines: what it starts with is no document.
        if what.starts_with("EOF") {
            write!(f, " (each line has to be a whole object: `jq -c .` writes such lines)")?;
        }
        Ok(())
    }
}

/// When it was only guessed that a file is protobuf.
fn neither(guessed: bool) -> &'static str {
    if guessed { "; is it neither OTLP JSON, a line each, nor protobuf with lengths?" } else { "" }
}
