//! Regular expressions, anchored at both ends.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::Value;

/// How much memory a compiled expression may take: as many alternatives as a query has room for, and 20 ms of compiling.
const MAX_BYTES: usize = 4 << 20;

/// What `=~` and `!~` compare with, compiled: that takes up to 20 ms, and is done once a query.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Why a regular expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is none.
    #[error("this is no regular expression: {0}")]
    Syntax(String),
    /// Compiled it takes more than 4 MiB.
    #[error("this regular expression is too large: compiled it takes more than {MAX_BYTES} bytes")]
    TooLarge,
}

impl From<regex::Error> for PatternError {
    fn from(error: regex::Error) -> Self {
        if let regex::Error::CompiledTooBig(_) = error {
            return Self::TooLarge;
        }
        let text = error.to_string();
        // The last line says what is wrong; those before it draw the pattern.
        let last = text.lines().last().unwrap_or_default().trim();
        Self::Syntax(last.trim_start_matches("error: ").to_owned())
    }
}

impl Pattern {
    /// Compiles a regular expression. It has to match a value from its first to its last character.
    ///
    /// # Errors
    /// When it is none, or is too large.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let compile = |pattern: &str, max_bytes| RegexBuilder::new(pattern).size_limit(max_bytes).build();
        // Alone first: "a)(b" would become one by the parentheses around it. Only its syntax matters then.
        match compile(pattern, 0).map_err(PatternError::from) {
            Ok(_) | Err(PatternError::TooLarge) => {}
            Err(syntax) => return Err(syntax),
        }
        let regex = compile(&format!("\\A(?:{pattern})\\z"), MAX_BYTES)?;
        Ok(Self { text: pattern.into(), regex })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches this text from end to end.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// `value =~ pattern`: it, or an element of it, is a string that matches.
    #[must_use]
    pub fn is_match(&self, value: &Value) -> bool {
        let matches = |value: &Value| matches!(value, Value::String(text) if self.matches(text));
        value.elements().iter().any(matches)
    }

    /// `value !~ pattern`: it is a string that does not match, or an array of such strings. Never of nil.
    #[must_use]
    pub fn is_mismatch(&self, value: &Value) -> bool {
        let mismatches = |value: &Value| matches!(value, Value::String(text) if !self.matches(text));
        !value.is_nil() && value.elements().iter().all(mismatches)
    }
}
