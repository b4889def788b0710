//! Time series, and what is computed from them.

use super::{ArithmeticOp, CompareOp, Expr, FieldAt, Literal, Pipeline};
use crate::traceql::at::At;

/// Time series, and what is computed from them.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsExpr {
    pub kind: MetricsKind,
    pub at: At,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricsKind {
    /// `{ ... } | rate() by (name)`
    Series(Series),
    /// `100`, as an operand of [`MetricsKind::Arithmetic`] with series on its other side. A number or a duration.
    Number(Literal),
    /// `a / b`. Never [`ArithmeticOp::Mod`] or [`ArithmeticOp::Pow`].
    Arithmetic { op: ArithmeticOp, left: Box<MetricsExpr>, right: Box<MetricsExpr> },
    /// `... | topk(10)`, `... > 5`
    Then { input: Box<MetricsExpr>, stage: SeriesStage },
}

/// Spans counted into time series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub pipeline: Pipeline,
    pub function: MetricsFunction,
    /// `by (field, ...)`: one series for each combination of values. Empty for `compare`.
    pub by: Vec<FieldAt>,
    /// Of the function.
    pub at: At,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricsFunction {
    Rate,
    CountOverTime,
    MinOverTime(FieldAt),
    MaxOverTime(FieldAt),
    AvgOverTime(FieldAt),
    SumOverTime(FieldAt),
    /// At least one quantile, each from 0 to 1.
    QuantileOverTime(FieldAt, Vec<f64>),
    HistogramOverTime(FieldAt),
    Compare(Comparison),
}

/// `compare({ selection }, top_n, start, end)`
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What is inside of the braces; nothing selects every span.
    pub selection: Option<Expr>,
    /// How many values of an attribute are shown. 10 when not said.
    pub top_n: Option<u32>,
    /// From when until when a span may be selected, nanoseconds since 1970, the end excluded.
    pub window_ns: Option<(i64, i64)>,
}

/// What is done with series.
#[derive(Debug, Clone, PartialEq)]
pub enum SeriesStage {
    /// `topk(n)`: at each step the n highest values stay.
    TopK(u32),
    /// `bottomk(n)`
    BottomK(u32),
    /// `> 5`: at each step the values for which it holds stay. A number or a duration, never `=~` or `!~`.
    Filter { op: CompareOp, than: Literal },
}
