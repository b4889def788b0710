//! Numbers that are computed from a spanset.

use super::{Spanset, Trace, expr::eval, spansets::left_of};
use crate::traceql::{
    ast::{Aggregate, ArithmeticOp, CompareOp, ScalarExpr, ScalarFilter, ScalarKind},
    value::{Value, arithmetic, compare, negate},
};

/// Whether a filter lets a spanset through. What its aggregates are worth is written down in the spanset.
pub(super) fn passes(trace: &Trace, spanset: &mut Spanset, filter: &ScalarFilter) -> bool {
    let left = scalar(trace, spanset, &filter.left);
    let right = scalar(trace, spanset, &filter.right);
    compare(filter.op, &left, &right)
}

fn scalar(trace: &Trace, spanset: &mut Spanset, scalar_expr: &ScalarExpr) -> Value {
    match &scalar_expr.kind {
        ScalarKind::Literal(literal) => Value::from(literal),
        ScalarKind::Negate(operand) => negate(&scalar(trace, spanset, operand)),
        ScalarKind::Binary { op, left, right } => {
            arithmetic(*op, &scalar(trace, spanset, left), &scalar(trace, spanset, right))
        }
        ScalarKind::Pipeline { pipeline, of } => {
            let mut left = Spanset { spans: left_of(trace, &spanset.spans, pipeline), attributes: vec![] };
            let value = scalar(trace, &mut left, of);
            spanset.attributes.push((scalar_expr.to_string(), value.clone()));
            value
        }
        ScalarKind::Aggregate { op, of } => {
            let value = match of {
                None => Value::Int(i64::try_from(spanset.spans.len()).unwrap_or(i64::MAX)),
                Some(expr) => {
                    let values = spanset.spans.iter().map(|span| eval(trace, *span, expr));
                    aggregate(*op, &values.flat_map(|value| value.elements().to_vec()).collect::<Vec<_>>())
                }
            };
            spanset.attributes.push((scalar_expr.to_string(), value.clone()));
            value
        }
    }
}

/// The aggregate of those values that are numbers; nil when there are none.
fn aggregate(op: Aggregate, values: &[Value]) -> Value {
    let numbers: Vec<_> = values.iter().filter(|value| value.as_number().is_some()).collect();
    let wins = |op| {
        let winner = numbers.iter().copied().reduce(|best, next| if compare(op, next, best) { next } else { best });
        winner.cloned().unwrap_or_default()
    };
    let sum = || {
        let sum = numbers.iter().copied().cloned().reduce(|sum, next| arithmetic(ArithmeticOp::Add, &sum, &next));
        sum.unwrap_or_default()
    };
    match op {
        Aggregate::Count => Value::Int(i64::try_from(values.len()).unwrap_or(i64::MAX)),
        Aggregate::Min => wins(CompareOp::Less),
        Aggregate::Max => wins(CompareOp::Greater),
        Aggregate::Sum => sum(),
        Aggregate::Avg if numbers.is_empty() => Value::Nil,
        Aggregate::Avg => {
            let total: f64 = numbers.iter().filter_map(|number| number.as_number()).sum();
            let average = total / numbers.len() as f64;
            let durations = numbers.iter().all(|number| matches!(number, Value::Duration(_)));
            // A duration has whole nanoseconds; the cast cuts off the rest.
            if durations { Value::Duration(average as i64) } else { Value::Float(average) }
        }
    }
}
