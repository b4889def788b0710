//! Why the store says no.

use clew_common::{log, otlp::record::HeadError};

use crate::{flush::FlushError, store::StoreError, wal};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The WAL says no.
    #[error("cannot open the WAL: {0}")]
    Wal(#[from] wal::OpenError),
    /// The WAL cannot be read.
    #[error("cannot read the WAL: {0}")]
    Replay(#[from] wal::ReadError),
    /// A record of the WAL was written by a newer program.
    #[error("record {seq} of the WAL: {error}; nothing was changed")]
    Record {
        /// Its number.
        seq: u64,
        /// What is wrong.
        error: HeadError,
    },
    /// The identity file cannot be read or written.
    #[error("cannot open the identity file: {0}")]
    Identity(std::io::Error),
    /// The checkpoint cannot be read.
    #[error("cannot read the checkpoint: {0}")]
    Checkpoint(std::io::Error),
    /// Memory is full, and a block cannot be written.
    #[error("cannot make room for what the WAL holds: {0}")]
    Flush(#[from] FlushError),
    /// The blocks cannot be listed.
    #[error("cannot list the blocks: {0}")]
    Blocks(#[from] StoreError),
}

/// Why an append did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The WAL says no.
    #[error("WAL: {0}")]
    Wal(#[from] log::AppendError),
    /// Blocks are not written as fast as spans come. Retry later.
    #[error("the memory for spans that are in no block yet is full: {used} of {budget} bytes")]
    Memory {
        /// Bytes in use.
        used: usize,
        /// Bytes allowed.
        budget: usize,
    },
}

impl AppendError {
    /// Whether it may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Wal(error) => error.is_retryable(),
            Self::Memory { .. } => true,
        }
    }

    /// Whether it never will.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Wal(log::AppendError::TooLarge { .. }))
    }
}

/// A tenant has no spans here, and as many others have some as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spans of {0} tenants are stored, the most that are allowed (max_tenants): those of another one are refused")]
pub struct TooManyTenants(pub usize);
