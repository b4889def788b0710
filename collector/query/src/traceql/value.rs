//! What fields are worth while a query runs, and what operators make of it.
//!
//! Every evaluator uses these, so that they agree. `nil` here is the value of what a span does not have; that a query can
//! ask for it by name (`{ span.a = nil }`) is the evaluator's business: see [`Value::is_nil`].

use std::cmp::Ordering;

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};

use super::ast::{CompareOp, Kind, Literal, Status};

mod arithmetic;
mod pattern;

pub use arithmetic::{arithmetic, floats, ints, negate};
pub use pattern::{Pattern, PatternError};

/// A value of a field or an expression.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// There is none.
    #[default]
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// In nanoseconds.
    Duration(i64),
    String(String),
    Status(Status),
    Kind(Kind),
    /// An array attribute, or what the events or links of a span have. No nil and no array is in it.
    Array(Vec<Value>),
    /// Bytes or a list of keys and values: there is something, and it compares with nothing.
    Opaque,
}

impl Value {
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// Whether this as a condition holds: true does, and nothing else.
    #[must_use]
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// This as a number; a duration in nanoseconds.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(number) | Self::Duration(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array, and of anything else itself; none of nil.
    #[must_use]
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) => elements,
            Self::Nil => &[],
            one => std::slice::from_ref(one),
        }
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::String(text) => text.len(),
                Self::Array(elements) => elements.iter().map(Self::bytes).sum(),
                _ => 0,
            }
    }

    /// Several values as one: nil when there are none, an array otherwise, even of one.
    #[must_use]
    pub fn array(elements: Vec<Self>) -> Self {
        if elements.is_empty() { Self::Nil } else { Self::Array(elements) }
    }
}

impl From<&Literal> for Value {
    fn from(literal: &Literal) -> Self {
        match literal {
            Literal::Nil => Self::Nil,
            Literal::Bool(yes) => Self::Bool(*yes),
            Literal::Int(number) => Self::Int(*number),
            Literal::Float(number) => Self::Float(*number),
            Literal::Duration(ns) => Self::Duration(*ns),
            Literal::String(text) => Self::String(text.clone()),
            Literal::Pattern(pattern) => Self::String(pattern.text().to_owned()),
            Literal::Status(status) => Self::Status(*status),
            Literal::Kind(kind) => Self::Kind(*kind),
        }
    }
}

impl From<&AnyValue> for Value {
    fn from(any: &AnyValue) -> Self {
        match &any.value {
            Some(any_value::Value::ArrayValue(array)) => {
                let element = |any: &AnyValue| match Self::from(any) {
                    Self::Nil => None,
                    Self::Array(_) => Some(Self::Opaque),
                    value => Some(value),
                };
                Self::Array(array.values.iter().filter_map(element).collect())
            }
            Some(any_value::Value::StringValue(text)) => Self::String(text.clone()),
            Some(any_value::Value::BoolValue(yes)) => Self::Bool(*yes),
            Some(any_value::Value::IntValue(number)) => Self::Int(*number),
            Some(any_value::Value::DoubleValue(number)) => Self::Float(*number),
            None => Self::Nil,
            Some(_) => Self::Opaque,
        }
    }
}

/// Whether `left op right` holds.
///
/// - With nil on a side nothing holds, `!=` included.
/// - Values of different types: nothing holds, `!=` included. Int, float and duration are one type; a whole number beside a
///   float is compared as a float.
/// - `x >= minInt` and `x <= maxInt` do not hold for floats: so one asks whether x is whole.
/// - Of arrays any element may make `=`, `<`, `<=`, `>`, `>=` true, and all have to for `!=`. So `!=` holds for an empty one.
/// - `=~` and `!~` never hold here: they take a [`Pattern`].
#[must_use]
pub fn compare(op: CompareOp, left: &Value, right: &Value) -> bool {
    if left.is_nil() || right.is_nil() {
        return false;
    }
    let mut pairs = left.elements().iter().flat_map(|left| right.elements().iter().map(move |right| (left, right)));
    if op == CompareOp::NotEq {
        pairs.all(|(left, right)| compare_single(op, left, right))
    } else {
        pairs.any(|(left, right)| compare_single(op, left, right))
    }
}

/// Whether a number stands so between `minInt` and `maxInt` that it is asked for whether it is whole.
#[must_use]
pub fn asks_for_whole(op: CompareOp, right: &Value) -> bool {
    matches!((op, right), (CompareOp::GreaterEq, Value::Int(i64::MIN)) | (CompareOp::LessEq, Value::Int(i64::MAX)))
}

/// Compares two values neither of which is an array.
fn compare_single(op: CompareOp, left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(_), limit) if asks_for_whole(op, limit) => return false,
        (limit, Value::Float(_)) if asks_for_whole(op.mirrored(), limit) => return false,
        _ => {}
    }
    let order = match (left, right) {
        (Value::Int(left) | Value::Duration(left), Value::Int(right) | Value::Duration(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => return equal_or_not(op, left == right),
        (Value::Status(left), Value::Status(right)) => return equal_or_not(op, left == right),
        (Value::Kind(left), Value::Kind(right)) => return equal_or_not(op, left == right),
        _ => match (left.as_number(), right.as_number()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => return false,
        },
    };
    ordered(op, order)
}

/// Whether a comparison of numbers or of strings holds that stand in this order. Without an order one of them is NaN, which
/// differs from everything.
#[must_use]
pub fn ordered(op: CompareOp, order: Option<Ordering>) -> bool {
    let Some(order) = order else { return op == CompareOp::NotEq };
    match op {
        CompareOp::Eq => order.is_eq(),
        CompareOp::NotEq => order.is_ne(),
        CompareOp::Less => order.is_lt(),
        CompareOp::LessEq => order.is_le(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::GreaterEq => order.is_ge(),
        CompareOp::Match | CompareOp::NotMatch => false,
    }
}

/// For types without an order.
fn equal_or_not(op: CompareOp, equal: bool) -> bool {
    match op {
        CompareOp::Eq => equal,
        CompareOp::NotEq => !equal,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
