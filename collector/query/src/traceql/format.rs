//! A tree as text again, in one canonical way: reading it gives the same tree.

use std::fmt::{self, Display, Formatter, Result, Write};

use super::{
    ast::{
        Aggregate, ArithmeticOp, Body, CompareOp, Comparison, Expr, ExprKind, Literal, LogicOp, MetricsExpr,
        MetricsFunction, MetricsKind, Pipeline, Query, ScalarExpr, ScalarFilter, ScalarKind, Series, SeriesStage,
        SpansetExpr, SpansetKind, SpansetOp, Stage,
    },
    power,
    token::relation_text,
};

mod values;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.body {
            Body::Spans(pipeline) => pipeline.fmt(f)?,
            Body::Metrics(metrics) => metrics.fmt(f)?,
        }
        if !self.hints.is_empty() {
            f.write_str(" with (")?;
            list(f, &self.hints, |f, hint| write!(f, "{} = {}", hint.name, hint.value))?;
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, stage) in self.stages.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " | " })?;
            stage.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Spansets(spans) => spans.fmt(f),
            Self::Scalar(filter) => filter.fmt(f),
            Self::By(expr) => write!(f, "by({expr})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(fields) => {
                f.write_str("select(")?;
                list(f, fields, |f, field| field.fmt(f))?;
                f.write_char(')')
            }
        }
    }
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            SpansetKind::Filter(None) => f.write_str("{ }"),
            SpansetKind::Filter(Some(expr)) => write!(f, "{{ {expr} }}"),
            SpansetKind::Pipeline(pipeline) => write!(f, "({pipeline})"),
            SpansetKind::Binary { op, left, right } => {
                // `&&` and `||` are equally strong: where both occur, parentheses say what is meant.
                let other_logic = matches!(&left.kind, SpansetKind::Binary { op: inner, .. }
                    if spanset_power(*op) == power::LOGIC && spanset_power(*inner) == power::LOGIC && inner != op);
                let own = spanset_power(*op);
                wrapped(f, left, other_logic || own > power_of_spanset(left))?;
                write!(f, " {op} ")?;
                wrapped(f, right, own >= power_of_spanset(right))
            }
        }
    }
}

fn spanset_power(op: SpansetOp) -> u8 {
    match op {
        SpansetOp::And | SpansetOp::Or => power::LOGIC,
        SpansetOp::Related(..) => power::COMPARE,
    }
}

fn power_of_spanset(spans: &SpansetExpr) -> u8 {
    match &spans.kind {
        SpansetKind::Binary { op, .. } => spanset_power(*op),
        SpansetKind::Filter(_) | SpansetKind::Pipeline(_) => power::ATOM,
    }
}

impl Display for ScalarFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {} {}", self.left, self.op, self.right)
    }
}

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            ScalarKind::Literal(literal) => literal.fmt(f),
            ScalarKind::Aggregate { op, of: None } => write!(f, "{op}()"),
            ScalarKind::Aggregate { op, of: Some(expr) } => write!(f, "{op}({expr})"),
            ScalarKind::Pipeline { pipeline, of } => write!(f, "({pipeline} | {of})"),
            ScalarKind::Negate(operand) => {
                f.write_char('-')?;
                wrapped(f, operand, power_of_scalar(operand) < power::PREFIX)
            }
            ScalarKind::Binary { op, left, right } => {
                arithmetic(f, *op, (left, power_of_scalar(left)), (right, power_of_scalar(right)))
            }
        }
    }
}

fn power_of_scalar(scalar: &ScalarExpr) -> u8 {
    match &scalar.kind {
        ScalarKind::Literal(literal) => power_of_literal(literal),
        ScalarKind::Aggregate { .. } | ScalarKind::Pipeline { .. } => power::ATOM,
        ScalarKind::Negate(_) => power::PREFIX,
        ScalarKind::Binary { op, .. } => arithmetic_power(*op),
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            ExprKind::Literal(literal) => literal.fmt(f),
            ExprKind::Field(field) => field.fmt(f),
            ExprKind::Not(operand) | ExprKind::Negate(operand) => {
                f.write_char(if matches!(self.kind, ExprKind::Not(_)) { '!' } else { '-' })?;
                wrapped(f, operand, power_of_expr(operand) < power::PREFIX)
            }
            ExprKind::Logic { op, operands } => {
                for (index, operand) in operands.iter().enumerate() {
                    if index > 0 {
                        f.write_str(if *op == LogicOp::And { " && " } else { " || " })?;
                    }
                    wrapped(f, operand, power_of_expr(operand) <= power::LOGIC)?;
                }
                Ok(())
            }
            ExprKind::Compare { op, left, right } => {
                wrapped(f, left, power_of_expr(left) < power::COMPARE)?;
                write!(f, " {op} ")?;
                wrapped(f, right, power_of_expr(right) <= power::COMPARE)
            }
            ExprKind::Arithmetic { op, left, right } => {
                arithmetic(f, *op, (left, power_of_expr(left)), (right, power_of_expr(right)))
            }
        }
    }
}

fn power_of_expr(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Literal(literal) => power_of_literal(literal),
        ExprKind::Field(_) => power::ATOM,
        ExprKind::Not(_) | ExprKind::Negate(_) => power::PREFIX,
        ExprKind::Logic { .. } => power::LOGIC,
        ExprKind::Compare { .. } => power::COMPARE,
        ExprKind::Arithmetic { op, .. } => arithmetic_power(*op),
    }
}

fn power_of_literal(literal: &Literal) -> u8 {
    let negative = match literal {
        Literal::Int(number) => *number < 0 && *number != i64::MIN,
        Literal::Float(number) => number.is_sign_negative(),
        Literal::Duration(ns) => *ns < 0,
        _ => false,
    };
    if negative { power::PREFIX } else { power::ATOM }
}

fn arithmetic_power(op: ArithmeticOp) -> u8 {
    match op {
        ArithmeticOp::Add | ArithmeticOp::Sub => power::ADD,
        ArithmeticOp::Mul | ArithmeticOp::Div | ArithmeticOp::Mod => power::MULTIPLY,
        ArithmeticOp::Pow => power::POW,
    }
}

fn arithmetic<T: Display>(
    f: &mut Formatter<'_>,
    op: ArithmeticOp,
    (left, left_power): (&T, u8),
    (right, right_power): (&T, u8),
) -> Result {
    let own = arithmetic_power(op);
    let to_the_right = op == ArithmeticOp::Pow;
    wrapped(f, left, if to_the_right { left_power <= own } else { left_power < own })?;
    write!(f, " {op} ")?;
    wrapped(f, right, if to_the_right { right_power < own } else { right_power <= own })
}

impl Display for MetricsExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            MetricsKind::Series(series) => series.fmt(f),
            MetricsKind::Number(literal) => literal.fmt(f),
            MetricsKind::Arithmetic { op, left, right } => {
                arithmetic(f, *op, (left, power_of_metrics(left)), (right, power_of_metrics(right)))
            }
            MetricsKind::Then { input, stage } => match stage {
                SeriesStage::TopK(count) => write!(f, "{input} | topk({count})"),
                SeriesStage::BottomK(count) => write!(f, "{input} | bottomk({count})"),
                SeriesStage::Filter { op, than } => write!(f, "{input} {op} {than}"),
            },
        }
    }
}

fn power_of_metrics(metrics: &MetricsExpr) -> u8 {
    match &metrics.kind {
        MetricsKind::Series(_) | MetricsKind::Then { .. } => power::ANY,
        MetricsKind::Number(literal) => power_of_literal(literal),
        MetricsKind::Arithmetic { op, .. } => arithmetic_power(*op),
    }
}

impl Display for Series {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} | {}", self.pipeline, self.function)?;
        if !self.by.is_empty() {
            f.write_str(" by (")?;
            list(f, &self.by, |f, field| field.fmt(f))?;
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Rate => f.write_str("rate()"),
            Self::CountOverTime => f.write_str("count_over_time()"),
            Self::MinOverTime(field) => write!(f, "min_over_time({field})"),
            Self::MaxOverTime(field) => write!(f, "max_over_time({field})"),
            Self::AvgOverTime(field) => write!(f, "avg_over_time({field})"),
            Self::SumOverTime(field) => write!(f, "sum_over_time({field})"),
            Self::HistogramOverTime(field) => write!(f, "histogram_over_time({field})"),
            Self::QuantileOverTime(field, quantiles) => {
                write!(f, "quantile_over_time({field}, ")?;
                list(f, quantiles, |f, quantile| write!(f, "{quantile:?}"))?;
                f.write_char(')')
            }
            Self::Compare(comparison) => comparison.fmt(f),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.selection {
            Some(expr) => write!(f, "compare({{ {expr} }}")?,
            None => f.write_str("compare({ }")?,
        }
        if let Some(top_n) = self.top_n {
            write!(f, ", {top_n}")?;
        }
        if let Some((start, end)) = self.window_ns {
            write!(f, ", {start}, {end}")?;
        }
        f.write_char(')')
    }
}

impl Display for SpansetOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::And => "&&",
            Self::Or => "||",
            Self::Related(relation, keep) => relation_text(*relation, *keep),
        })
    }
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::NotEq => "!=",
            Self::Less => "<",
            Self::LessEq => "<=",
            Self::Greater => ">",
            Self::GreaterEq => ">=",
            Self::Match => "=~",
            Self::NotMatch => "!~",
        })
    }
}

impl Display for ArithmeticOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        })
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::Sum => "sum",
        })
    }
}

fn wrapped(f: &mut Formatter<'_>, inner: &impl Display, parentheses: bool) -> Result {
    if parentheses { write!(f, "({inner})") } else { inner.fmt(f) }
}

fn list<T>(f: &mut Formatter<'_>, items: &[T], mut write: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result) -> Result {
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        write(f, item)?;
    }
    Ok(())
}
