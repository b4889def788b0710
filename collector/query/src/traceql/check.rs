//! Refuses queries that can be read and mean nothing.
//!
//! The type of an attribute is known only when a span is looked at, so it goes with everything; literals and intrinsic
//! fields have their types.

use super::{
    ast::{
        Aggregate, Body, CompareOp, Expr, ExprKind, Field, FieldAt, Intrinsic, Literal, MetricsExpr, MetricsFunction,
        MetricsKind, Pipeline, Query, ScalarExpr, ScalarFilter, ScalarKind, Series, SpansetExpr, SpansetKind, Stage,
    },
    error::Fault,
    hints,
};

/// What an expression gives, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// An attribute's.
    Any,
    Nil,
    Bool,
    /// Int, float and duration: they go together.
    Number,
    String,
    Status,
    Kind,
    /// The span's parent, of which one only asks whether it is there.
    Parent,
}

impl Type {
    fn what(self) -> &'static str {
        match self {
            Self::Any => "an attribute",
            Self::Nil => "nil",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Status => "a status",
            Self::Kind => "a kind",
            Self::Parent => "the parent",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Any | Self::Number)
    }

    fn is_bool(self) -> bool {
        matches!(self, Self::Any | Self::Bool)
    }
}

/// Says what is wrong with a query, if something is.
pub(super) fn check(query: &Query) -> Result<(), Fault> {
    match &query.body {
        Body::Spans(spans) => pipeline(spans)?,
        Body::Metrics(metrics) => metrics_expr(metrics)?,
    }
    hints::check(&query.hints)
}

fn pipeline(pipeline: &Pipeline) -> Result<(), Fault> {
    pipeline.stages.iter().try_for_each(|stage| match stage {
        Stage::Spansets(spans) => spanset(spans),
        Stage::Scalar(filter) => scalar_filter(filter),
        Stage::By(expr) => match type_of(expr)? {
            Type::Parent => Fault::new(expr.at, "spans cannot be grouped by `parent`; `span:parentID` is its id"),
            _ => of_the_span(expr, "by"),
        },
        Stage::Coalesce => Ok(()),
        Stage::Select(fields) => fields.iter().try_for_each(shown),
    })
}

fn spanset(spans: &SpansetExpr) -> Result<(), Fault> {
    match &spans.kind {
        SpansetKind::Filter(None) => Ok(()),
        SpansetKind::Filter(Some(expr)) => condition(expr),
        SpansetKind::Pipeline(inner) => pipeline(inner),
        SpansetKind::Binary { left, right, .. } => {
            spanset(left)?;
            spanset(right)
        }
    }
}

/// What stands in braces.
fn condition(expr: &Expr) -> Result<(), Fault> {
    match type_of(expr)? {
        found if found.is_bool() => Ok(()),
        found => {
            Fault::new(expr.at, format!("found {} in braces, expected a condition that is true or false", found.what()))
        }
    }
}

fn scalar_filter(filter: &ScalarFilter) -> Result<(), Fault> {
    scalar(&filter.left)?;
    scalar(&filter.right)?;
    if has_aggregate(&filter.left) || has_aggregate(&filter.right) {
        return Ok(());
    }
    Fault::new(filter.at, "this compares numbers that do not depend on the spans, expected an aggregate like `count()`")
}

fn scalar(scalar_expr: &ScalarExpr) -> Result<(), Fault> {
    match &scalar_expr.kind {
        ScalarKind::Literal(_) | ScalarKind::Aggregate { op: Aggregate::Count, .. } => Ok(()),
        ScalarKind::Aggregate { op, of } => {
            let Some(expr) = of else { return Fault::new(scalar_expr.at, format!("`{op}` needs a field")) };
            match type_of(expr)? {
                found if found.is_number() => of_the_span(expr, &op.to_string()),
                found => Fault::new(expr.at, format!("found {}, expected a number for `{op}`", found.what())),
            }
        }
        ScalarKind::Pipeline { pipeline: stages, of } => {
            pipeline(stages)?;
            scalar(of)
        }
        ScalarKind::Negate(operand) => scalar(operand),
        ScalarKind::Binary { left, right, .. } => {
            scalar(left)?;
            scalar(right)
        }
    }
}

fn has_aggregate(scalar: &ScalarExpr) -> bool {
    match &scalar.kind {
        ScalarKind::Literal(_) => false,
        ScalarKind::Aggregate { .. } => true,
        ScalarKind::Pipeline { of, .. } => has_aggregate(of),
        ScalarKind::Negate(operand) => has_aggregate(operand),
        ScalarKind::Binary { left, right, .. } => has_aggregate(left) || has_aggregate(right),
    }
}

/// Some field has to occur: what is the same for all spans neither groups nor adds up.
fn of_the_span(expr: &Expr, function: &str) -> Result<(), Fault> {
    if has_field(expr) {
        return Ok(());
    }
    Fault::new(expr.at, format!("`{function}` of a constant, expected a field of the span in it"))
}

fn has_field(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Literal(_) => false,
        ExprKind::Field(_) => true,
        ExprKind::Not(operand) | ExprKind::Negate(operand) => has_field(operand),
        ExprKind::Logic { operands, .. } => operands.iter().any(has_field),
        ExprKind::Compare { left, right, .. } | ExprKind::Arithmetic { left, right, .. } => {
            has_field(left) || has_field(right)
        }
    }
}

/// A field that an answer can show.
fn shown(field: &FieldAt) -> Result<(), Fault> {
    match type_of_field(&field.field) {
        Type::Parent => Fault::new(field.at, "`parent` is no value to show; `span:parentID` is its id"),
        _ => Ok(()),
    }
}

fn type_of_field(field: &Field) -> Type {
    match field {
        Field::Attribute(_) => Type::Any,
        Field::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::Duration
            | Intrinsic::ChildCount
            | Intrinsic::TraceDuration
            | Intrinsic::EventTimeSinceStart
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => Type::Number,
            Intrinsic::Status => Type::Status,
            Intrinsic::Kind => Type::Kind,
            Intrinsic::Parent => Type::Parent,
            Intrinsic::Name
            | Intrinsic::StatusMessage
            | Intrinsic::SpanId
            | Intrinsic::SpanParentId
            | Intrinsic::TraceId
            | Intrinsic::RootName
            | Intrinsic::RootService
            | Intrinsic::EventName
            | Intrinsic::LinkTraceId
            | Intrinsic::LinkSpanId
            | Intrinsic::InstrumentationName
            | Intrinsic::InstrumentationVersion => Type::String,
        },
    }
}

fn type_of(expr: &Expr) -> Result<Type, Fault> {
    match &expr.kind {
        ExprKind::Literal(literal) => Ok(match literal {
            Literal::Nil => Type::Nil,
            Literal::Bool(_) => Type::Bool,
            Literal::Int(_) | Literal::Float(_) | Literal::Duration(_) => Type::Number,
            Literal::String(_) | Literal::Pattern(_) => Type::String,
            Literal::Status(_) => Type::Status,
            Literal::Kind(_) => Type::Kind,
        }),
        ExprKind::Field(field) => Ok(type_of_field(field)),
        ExprKind::Not(operand) => match type_of(operand)? {
            found if found.is_bool() => Ok(Type::Bool),
            found => Fault::new(operand.at, format!("found {} after `!`, expected a boolean", found.what())),
        },
        ExprKind::Negate(operand) => match type_of(operand)? {
            found if found.is_number() => Ok(Type::Number),
            found => Fault::new(operand.at, format!("found {} after `-`, expected a number", found.what())),
        },
        ExprKind::Logic { op, operands } => {
            for operand in operands {
                let found = type_of(operand)?;
                if !found.is_bool() {
                    let sign = if *op == super::ast::LogicOp::And { "&&" } else { "||" };
                    return Fault::new(
                        operand.at,
                        format!("found {} beside `{sign}`, expected a condition that is true or false", found.what()),
                    );
                }
            }
            Ok(Type::Bool)
        }
        ExprKind::Compare { op, left, right } => {
            compared(*op, left, right, expr)?;
            Ok(Type::Bool)
        }
        ExprKind::Arithmetic { op, left, right } => {
            for side in [left, right] {
                let found = type_of(side)?;
                if !found.is_number() {
                    return Fault::new(side.at, format!("found {} beside `{op}`, expected a number", found.what()));
                }
            }
            Ok(Type::Number)
        }
    }
}

fn compared(op: CompareOp, left: &Expr, right: &Expr, whole: &Expr) -> Result<(), Fault> {
    let (left_type, right_type) = (type_of(left)?, type_of(right)?);
    let equality = matches!(op, CompareOp::Eq | CompareOp::NotEq);
    if matches!(op, CompareOp::Match | CompareOp::NotMatch) {
        if !matches!(left_type, Type::Any | Type::String) {
            return Fault::new(left.at, format!("found {} before `{op}`, expected a string", left_type.what()));
        }
        if !matches!(&right.kind, ExprKind::Literal(Literal::Pattern(_))) {
            let what = right_type.what();
            return Fault::new(right.at, format!("found {what} after `{op}`, expected a regular expression in quotes"));
        }
        return Ok(());
    }
    for (side, found) in [(left, left_type), (right, right_type)] {
        let ordered = matches!(found, Type::Any | Type::Number | Type::String);
        if !equality && !ordered {
            return Fault::new(
                side.at,
                format!(
                    "found {} beside `{op}`, expected a number or a string: only these have an order",
                    found.what()
                ),
            );
        }
    }
    let fits = match (left_type, right_type) {
        (Type::Parent, other) | (other, Type::Parent) => other == Type::Nil,
        (Type::Any | Type::Nil, _) | (_, Type::Any | Type::Nil) => true,
        (left, right) => left == right,
    };
    match [left_type, right_type] {
        _ if fits => Ok(()),
        types if types.contains(&Type::Parent) => {
            Fault::new(whole.at, "`parent` compares with nil only: `parent = nil`, `parent != nil`")
        }
        [left, right] => Fault::new(whole.at, format!("`{op}` cannot compare {} with {}", left.what(), right.what())),
    }
}

fn metrics_expr(metrics: &MetricsExpr) -> Result<(), Fault> {
    match &metrics.kind {
        MetricsKind::Series(series_of) => series(series_of),
        MetricsKind::Number(_) => Ok(()),
        MetricsKind::Arithmetic { left, right, .. } => {
            for side in [left, right] {
                not_a_comparison(side, "no arithmetic is done with `compare`")?;
                metrics_expr(side)?;
            }
            Ok(())
        }
        MetricsKind::Then { input, .. } => {
            not_a_comparison(input, "nothing may follow `compare`")?;
            metrics_expr(input)
        }
    }
}

/// The series of `compare` say too different things to be computed with.
fn not_a_comparison(metrics: &MetricsExpr, otherwise: &str) -> Result<(), Fault> {
    match &metrics.kind {
        MetricsKind::Series(Series { function: MetricsFunction::Compare(_), at, .. }) => Fault::new(*at, otherwise),
        _ => Ok(()),
    }
}

fn series(series: &Series) -> Result<(), Fault> {
    pipeline(&series.pipeline)?;
    match &series.function {
        MetricsFunction::Rate | MetricsFunction::CountOverTime => {}
        MetricsFunction::MinOverTime(field)
        | MetricsFunction::MaxOverTime(field)
        | MetricsFunction::AvgOverTime(field)
        | MetricsFunction::SumOverTime(field)
        | MetricsFunction::HistogramOverTime(field)
        | MetricsFunction::QuantileOverTime(field, _) => {
            let found = type_of_field(&field.field);
            if !found.is_number() {
                return Fault::new(field.at, format!("found {}, expected a field with numbers", found.what()));
            }
        }
        MetricsFunction::Compare(comparison) => {
            comparison.selection.as_ref().map_or(Ok(()), condition)?;
        }
    }
    series.by.iter().try_for_each(shown)
}
