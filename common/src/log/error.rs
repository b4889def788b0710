//! How the log fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An I/O error after which the log takes nothing more: the process has to stop. What was acked is safe.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {error}", path.display())]
pub struct Failure {
    pub doing: &'static str,
    pub path: PathBuf,
    #[source]
    pub error: io::Error,
}

/// Why a record was not made durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk budget is spent. Retry after records were freed.
    #[error("the log is full: {used} of {budget} bytes")]
    Full { used: u64, budget: u64 },
    /// The disk is full. Heals by itself when it no longer is.
    #[error("no space left on the log's disk")]
    NoSpace,
    /// A new segment could not be made for want of file descriptors or memory. Heals by itself.
    #[error("the log cannot take records now: {0}")]
    Unavailable(Arc<Failure>),
    /// Never fits.
    #[error("a record of {bytes} bytes is larger than the {max} bytes that the log takes")]
    TooLarge { bytes: u64, max: u64 },
    /// An I/O error that must not be retried: what the disk holds of this record is unknown.
    #[error("the log has failed: {0}")]
    Failed(Arc<Failure>),
    /// The log was closed first.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Whether the same record may be accepted later by this log.
    pub fn is_retryable(&self) -> bool {
        matches!(self, AppendError::Full { .. } | AppendError::NoSpace | AppendError::Unavailable(_))
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use: another process holds its lock; stop that process or use another folder", dir.display())]
    Locked { dir: PathBuf },
    #[error("{} is of format version {version}, which this program does not know (it knows {known}); nothing was changed", path.display())]
    Version { path: PathBuf, version: u32, known: u32 },
    #[error("the log's options are wrong: {reason}")]
    Options { reason: String },
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl From<Failure> for OpenError {
    fn from(Failure { doing, path, error }: Failure) -> OpenError {
        OpenError::Io { doing, path, error }
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment was freed or evicted, or somebody took its file away.
    #[error("the segment {segment} is gone: it was freed or evicted, or its file was taken away")]
    Gone { segment: u64 },
    /// Its checksum is wrong, or no record is there.
    #[error("the record at byte {offset} of segment {segment} is damaged")]
    Damaged { segment: u64, offset: u64 },
    #[error("cannot read {}: {error}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}
