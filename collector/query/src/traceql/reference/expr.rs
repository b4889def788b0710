//! Expressions over the fields of one span.

use super::Trace;
use crate::traceql::{
    ast::{CompareOp, Expr, ExprKind, Field, Literal, LogicOp},
    value::{Value, arithmetic, compare, negate},
};

/// What an expression is worth for a span.
pub(super) fn eval(trace: &Trace, span: usize, expr: &Expr) -> Value {
    let side = |expr| eval(trace, span, expr);
    match &expr.kind {
        ExprKind::Literal(literal) => Value::from(literal),
        ExprKind::Field(field) => trace.field(span, field),
        // Of what is neither true nor false there is no opposite: `!.a` does not hold where there is no `a`.
        ExprKind::Not(operand) => match side(operand) {
            Value::Bool(yes) => Value::Bool(!yes),
            _ => Value::Nil,
        },
        ExprKind::Negate(operand) => negate(&side(operand)),
        ExprKind::Logic { op: LogicOp::And, operands } => Value::Bool(operands.iter().all(|one| side(one).is_true())),
        ExprKind::Logic { op: LogicOp::Or, operands } => Value::Bool(operands.iter().any(|one| side(one).is_true())),
        ExprKind::Arithmetic { op, left, right } => arithmetic(*op, &side(left), &side(right)),
        ExprKind::Compare { op, left, right } => Value::Bool(compared(trace, span, *op, left, right)),
    }
}

/// Whether a span fulfils a condition.
pub(super) fn holds(trace: &Trace, span: usize, condition: Option<&Expr>) -> bool {
    condition.is_none_or(|condition| eval(trace, span, condition).is_true())
}

fn compared(trace: &Trace, span: usize, op: CompareOp, left: &Expr, right: &Expr) -> bool {
    let (left_value, right_value) = (eval(trace, span, left), eval(trace, span, right));
    match (op, &left.kind, &right.kind) {
        // A nil in the text asks whether there is a value.
        (CompareOp::Eq, _, ExprKind::Literal(Literal::Nil)) => left_value.is_nil(),
        (CompareOp::Eq, ExprKind::Literal(Literal::Nil), _) => right_value.is_nil(),
        (CompareOp::NotEq, _, ExprKind::Literal(Literal::Nil)) => !left_value.is_nil(),
        (CompareOp::NotEq, ExprKind::Literal(Literal::Nil), _) => !right_value.is_nil(),
        (CompareOp::Match, _, ExprKind::Literal(Literal::Pattern(pattern))) => pattern.is_match(&left_value),
        (CompareOp::NotMatch, _, ExprKind::Literal(Literal::Pattern(pattern))) => pattern.is_mismatch(&left_value),
        (_, ExprKind::Field(Field::Intrinsic(intrinsic)), ExprKind::Literal(Literal::String(id))) => {
            compare(op, &left_value, &Value::String(intrinsic.full_id(id)))
        }
        (_, ExprKind::Literal(Literal::String(id)), ExprKind::Field(Field::Intrinsic(intrinsic))) => {
            compare(op, &Value::String(intrinsic.full_id(id)), &right_value)
        }
        _ => compare(op, &left_value, &right_value),
    }
}
