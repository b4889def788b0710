//! What operators make of values.

use super::*;
use crate::traceql::ast::ArithmeticOp;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|one| text(one)).collect())
}

const ORDERS: [CompareOp; 4] = [CompareOp::Less, CompareOp::LessEq, CompareOp::Greater, CompareOp::GreaterEq];

#[test]
fn nothing_holds_beside_nil() {
    for op in ORDERS.into_iter().chain([CompareOp::Eq, CompareOp::NotEq]) {
        assert!(!compare(op, &Value::Nil, &Value::Int(1)));
        assert!(!compare(op, &Value::Int(1), &Value::Nil));
        assert!(!compare(op, &Value::Nil, &Value::Nil));
    }
}

#[test]
fn numbers_of_all_kinds_compare_with_each_other() {
    let second = Value::Duration(1_000_000_000);
    assert!(compare(CompareOp::Eq, &second, &Value::Int(1_000_000_000)));
    assert!(compare(CompareOp::Less, &Value::Float(0.5), &Value::Int(1)));
    assert!(compare(CompareOp::Greater, &second, &Value::Float(1.5)));
    assert!(compare(CompareOp::Less, &Value::Int(i64::MAX - 1), &Value::Int(i64::MAX)));
}

#[test]
fn values_of_different_types_are_neither_equal_nor_unequal() {
    for op in ORDERS.into_iter().chain([CompareOp::Eq, CompareOp::NotEq]) {
        assert!(!compare(op, &text("200"), &Value::Int(200)));
        assert!(!compare(op, &Value::Bool(true), &text("true")));
        assert!(!compare(op, &Value::Status(Status::Ok), &Value::Kind(Kind::Internal)));
        assert!(!compare(op, &Value::Opaque, &Value::Opaque));
    }
}

#[test]
fn nan_differs_from_everything_and_has_no_order() {
    let nan = Value::Float(f64::NAN);
    assert!(compare(CompareOp::NotEq, &nan, &nan));
    assert!(ORDERS.iter().all(|op| !compare(*op, &nan, &Value::Int(0))));
}

#[test]
fn types_without_an_order_are_only_equal_or_not() {
    for (a, b) in [
        (Value::Bool(false), Value::Bool(true)),
        (Value::Status(Status::Unset), Value::Status(Status::Error)),
        (Value::Kind(Kind::Client), Value::Kind(Kind::Server)),
    ] {
        assert!(compare(CompareOp::Eq, &a, &a) && compare(CompareOp::NotEq, &a, &b));
        assert!(ORDERS.iter().all(|op| !compare(*op, &a, &b) && !compare(*op, &b, &a)));
    }
}

#[test]
fn of_an_array_any_element_may_match_and_all_have_to_differ() {
    let both = texts(&["a", "b"]);
    assert!(compare(CompareOp::Eq, &both, &text("b")));
    assert!(!compare(CompareOp::NotEq, &both, &text("b")));
    assert!(compare(CompareOp::NotEq, &both, &text("c")));
    assert!(compare(CompareOp::Greater, &text("b"), &both));
    assert!(!compare(CompareOp::NotEq, &both, &Value::Int(1)), "another type");
    assert!(compare(CompareOp::Eq, &both, &texts(&["c", "a"])));
    assert!(compare(CompareOp::NotEq, &Value::Array(vec![]), &text("c")));
    assert!(!compare(CompareOp::Eq, &Value::Array(vec![]), &text("c")));
}

#[test]
fn patterns_match_from_end_to_end() {
    let pattern = Pattern::new("ab?|c").unwrap();
    assert!(pattern.is_match(&text("a")) && pattern.is_match(&text("c")));
    assert!(!pattern.is_match(&text("xab")) && !pattern.is_match(&text("ac")));
    assert!(pattern.is_mismatch(&text("ac")));
}

#[test]
fn patterns_ask_strings_only() {
    let pattern = Pattern::new(".*").unwrap();
    for value in [Value::Nil, Value::Int(1), Value::Bool(true), Value::Opaque] {
        assert!(!pattern.is_match(&value) && !pattern.is_mismatch(&value), "{value:?}");
    }
    let pattern = Pattern::new("a").unwrap();
    assert!(pattern.is_match(&texts(&["b", "a"])) && !pattern.is_mismatch(&texts(&["b", "a"])));
    assert!(pattern.is_mismatch(&texts(&["b", "c"])));
}

#[test]
fn patterns_that_are_none_or_too_large_are_refused() {
    assert!(matches!(Pattern::new("a("), Err(PatternError::Syntax(_))));
    assert!(matches!(Pattern::new("a)(b"), Err(PatternError::Syntax(_))));
    assert_eq!(Pattern::new("(?:\\w{100}){100}").err(), Some(PatternError::TooLarge));
}

#[test]
fn as_many_alternatives_as_a_query_holds_are_one_pattern() {
    let ids: Vec<_> = (0..3800u64).map(|number| format!("{:016x}", number * 7919)).collect();
    let pattern = Pattern::new(&ids.join("|")).unwrap();
    assert!(pattern.matches(&ids[3799]) && !pattern.matches(&ids[3799][1..]));
}

#[test]
fn ints_stay_ints_and_durations_durations() {
    use ArithmeticOp::{Add, Div, Mod, Mul, Pow, Sub};
    use Value::{Duration, Float, Int};
    for (left, op, right, result) in [
        (Int(7), Div, Int(2), Int(3)),
        (Int(7), Mod, Int(-2), Int(1)),
        (Int(2), Pow, Int(10), Int(1024)),
        (Int(2), Pow, Int(-1), Float(0.5)),
        (Int(7), Div, Float(2.0), Float(3.5)),
        (Duration(10), Add, Duration(5), Duration(15)),
        (Duration(10), Sub, Int(3), Duration(7)),
        (Duration(10), Mul, Int(3), Duration(30)),
        (Int(3), Mul, Duration(10), Duration(30)),
        (Duration(10), Div, Duration(4), Float(2.5)),
        (Duration(10), Div, Int(4), Duration(2)),
        (Duration(10), Mul, Float(1.5), Float(15.0)),
    ] {
        assert_eq!(arithmetic(op, &left, &right), result, "{left:?} {op} {right:?}");
    }
}

#[test]
fn what_cannot_be_computed_is_nil() {
    use ArithmeticOp::{Add, Div, Mod, Mul, Pow};
    use Value::{Int, Nil};
    for (left, op, right) in [
        (Int(1), Div, Int(0)),
        (Int(1), Mod, Int(0)),
        (Int(i64::MIN), Div, Int(-1)),
        (Int(i64::MAX), Add, Int(1)),
        (Int(i64::MAX), Mul, Int(2)),
        (Int(10), Pow, Int(19)),
        (text("a"), Add, text("b")),
        (Nil, Add, Int(1)),
        (Value::Array(vec![Int(1)]), Add, Int(1)),
    ] {
        assert_eq!(arithmetic(op, &left, &right), Nil, "{left:?} {op} {right:?}");
    }
    assert_eq!(negate(&Int(i64::MIN)), Nil);
    assert_eq!(negate(&text("a")), Nil);
}
