//! What may stand in `with (...)`.

use super::{
    ast::{Hint, Literal, Query},
    error::Fault,
};

/// What a hint's value has to be.
#[derive(Clone, Copy)]
enum Value {
    Bool,
    Int,
    BoolOrInt,
    /// `true`, or a share from 0 to 1.
    BoolOrShare,
    Share,
    Duration,
    Texts,
}

impl Value {
    fn what(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number from 0 on",
            Self::BoolOrInt => "true, false, or a whole number from 0 on",
            Self::BoolOrShare => "true, false, or a number from 0 to 1",
            Self::Share => "a number from 0 to 1",
            Self::Duration => "a duration",
            Self::Texts => "a string or several in brackets",
        }
    }

    fn fits(self, literal: &Literal) -> bool {
        match (self, literal) {
            (Self::Bool | Self::BoolOrInt | Self::BoolOrShare, Literal::Bool(_)) => true,
            (Self::Int | Self::BoolOrInt, Literal::Int(number)) => *number >= 0,
            (Self::Share | Self::BoolOrShare, Literal::Float(number)) => (0.0..=1.0).contains(number),
            (Self::Share | Self::BoolOrShare, Literal::Int(number)) => (0..=1).contains(number),
            (Self::Duration, Literal::Duration(ns)) => *ns >= 0,
            (Self::Texts, Literal::String(_)) => true,
            _ => false,
        }
    }
}

/// All hints. Those that tune how Tempo works are understood and have no effect. `sample` allows what is not exact, and is
/// satisfied by what is.
const HINTS: [(&str, Value); 14] = [
    ("most_recent", Value::Bool),
    ("exemplars", Value::BoolOrInt),
    ("sample", Value::BoolOrShare),
    ("span_sample", Value::BoolOrShare),
    ("trace_sample", Value::BoolOrShare),
    ("concurrent_blocks", Value::Int),
    ("dedupe", Value::Bool),
    ("job_interval", Value::Duration),
    ("job_size", Value::Int),
    ("time_overlap_cutoff", Value::Share),
    ("extrapolate", Value::Bool),
    ("spanonly_fetch", Value::Bool),
    ("skip_optimization", Value::Bool),
    ("skip_ast_transformations", Value::Texts),
];

impl Query {
    /// The value of a hint; of several the last one.
    #[must_use]
    pub fn hint(&self, name: &str) -> Option<&Literal> {
        self.hints.iter().rev().find(|hint| hint.name == name).map(|hint| &hint.value)
    }
}

pub(super) fn check(hints: &[Hint]) -> Result<(), Fault> {
    for hint in hints {
        let Some((_, value)) = HINTS.iter().find(|(name, _)| *name == hint.name) else {
            let known = HINTS.map(|(name, _)| name).join(", ");
            return Fault::new(hint.at, format!("no hint is called `{}`; there are {known}", hint.name));
        };
        if !value.fits(&hint.value) {
            return Fault::new(hint.at, format!("found {}, expected {} for `{}`", hint.value, value.what(), hint.name));
        }
    }
    Ok(())
}
