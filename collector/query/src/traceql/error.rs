//! Why a query is refused.

use super::at::{At, Position};

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct Error {
    pub position: Position,
    /// The part of the text that is wrong.
    pub at: At,
    /// What was found, and what was expected.
    pub message: String,
}

/// An error before its line is counted.
#[derive(Debug)]
pub(super) struct Fault {
    pub at: At,
    pub message: String,
}

impl Fault {
    pub(super) fn new<T>(at: At, message: impl Into<String>) -> Result<T, Self> {
        Err(Self { at, message: message.into() })
    }

    pub(super) fn in_text(self, text: &str) -> Error {
        Error { position: Position::of(text, self.at.start), at: self.at, message: self.message }
    }
}
