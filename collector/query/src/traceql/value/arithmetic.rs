//! `+ - * / % ^` of values.

use super::Value;
use crate::traceql::ast::ArithmeticOp;

/// `left op right`. Nil when a side is no number, when a whole number is divided by zero, and when a whole result does not
/// fit into 64 bits.
///
/// - Two ints give an int; `/` cuts off what is behind the point. `^` with a negative exponent gives a float.
/// - Durations stay durations when added or subtracted, and when multiplied or divided by an int, or taken modulo. An int
///   beside a duration counts as nanoseconds.
/// - Everything else is computed with floats, and gives one.
#[must_use]
pub fn arithmetic(op: ArithmeticOp, left: &Value, right: &Value) -> Value {
    use ArithmeticOp::{Add, Div, Mod, Mul, Pow, Sub};
    use Value::{Duration, Int};
    let whole = match (left, right, op) {
        (Int(left), Int(right), Pow) if *right < 0 => return Value::Float(floats(op, *left as f64, *right as f64)),
        (Int(left), Int(right), _) => ints(op, *left, *right).map(Int),
        (Duration(left), Duration(right), Add | Sub | Mod)
        | (Duration(left), Int(right), Add | Sub | Mod | Mul | Div)
        | (Int(left), Duration(right), Add | Sub | Mul) => ints(op, *left, *right).map(Duration),
        _ => match (left.as_number(), right.as_number()) {
            (Some(left), Some(right)) => return Value::Float(floats(op, left, right)),
            _ => None,
        },
    };
    whole.unwrap_or(Value::Nil)
}

/// `-value`, nil when there is none.
#[must_use]
pub fn negate(value: &Value) -> Value {
    match value {
        Value::Int(number) => number.checked_neg().map_or(Value::Nil, Value::Int),
        Value::Duration(ns) => ns.checked_neg().map_or(Value::Nil, Value::Duration),
        Value::Float(number) => Value::Float(-number),
        _ => Value::Nil,
    }
}

/// Two whole numbers, of which `^` has no negative exponent. Nothing when the divisor is zero or the result does not fit.
#[must_use]
pub fn ints(op: ArithmeticOp, left: i64, right: i64) -> Option<i64> {
    match op {
        ArithmeticOp::Add => left.checked_add(right),
        ArithmeticOp::Sub => left.checked_sub(right),
        ArithmeticOp::Mul => left.checked_mul(right),
        ArithmeticOp::Div => left.checked_div(right),
        ArithmeticOp::Mod => left.checked_rem(right),
        ArithmeticOp::Pow => power(left, right),
    }
}

/// A power with an exponent from 0 on.
fn power(base: i64, exponent: i64) -> Option<i64> {
    match base {
        0 | 1 => Some(if exponent == 0 { 1 } else { base }),
        -1 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        _ => base.checked_pow(u32::try_from(exponent).ok()?),
    }
}

/// Two floats, as IEEE 754 has it.
#[must_use]
pub fn floats(op: ArithmeticOp, left: f64, right: f64) -> f64 {
    match op {
        ArithmeticOp::Add => left + right,
        ArithmeticOp::Sub => left - right,
        ArithmeticOp::Mul => left * right,
        ArithmeticOp::Div => left / right,
        ArithmeticOp::Mod => left % right,
        ArithmeticOp::Pow => left.powf(right),
    }
}
