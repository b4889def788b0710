//! What a TraceQL query says, as a tree.
//!
//! The parser builds it, `check` refuses what has no meaning, `format` writes it back as
//! text, and evaluators walk it. Its height is limited by the parser ([`MAX_DEPTH`](super::MAX_DEPTH)), so walking it may
//! recurse. Equality of trees ignores where in the text their nodes stood.

use super::at::At;

mod fields;
mod metrics;

pub use fields::{
    ArithmeticOp, Attribute, CompareOp, Expr, ExprKind, Field, FieldAt, Intrinsic, Kind, Literal, LogicOp, Scope,
    Status,
};
pub use metrics::{Comparison, MetricsExpr, MetricsFunction, MetricsKind, Series, SeriesStage};

/// A whole query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub body: Body,
    /// `with (key = value, ...)`.
    pub hints: Vec<Hint>,
}

/// What a query asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Spans of each trace: a search.
    Spans(Pipeline),
    /// Time series over the spans of all traces.
    Metrics(MetricsExpr),
}

/// `most_recent = true`
#[derive(Debug, Clone, PartialEq)]
pub struct Hint {
    pub name: String,
    pub value: Literal,
    /// From the name to the value.
    pub at: At,
}

/// `stage | stage | ...`: each works on the spansets that the one before leaves of a trace. At first there is one spanset
/// with all spans of the trace; a trace is found when a spanset with spans is left at the end. There is at least one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// `{ ... }`, `{ ... } >> { ... }`: keeps some spans of each spanset.
    Spansets(SpansetExpr),
    /// `count() > 2`: keeps a spanset whole or drops it.
    Scalar(ScalarFilter),
    /// `by(resource.service.name)`: splits each spanset by the value of the expression.
    By(Expr),
    /// `coalesce()`: makes one spanset of all.
    Coalesce,
    /// `select(span.http.url, status)`: changes no spanset; the answer shows these fields too. At least one.
    Select(Vec<FieldAt>),
}

/// Which spans of a spanset are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct SpansetExpr {
    pub kind: SpansetKind,
    pub at: At,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SpansetKind {
    /// `{ expression }`; `{ }`, which is all spans, when there is none.
    Filter(Option<Expr>),
    /// `( ... | ... )`: what a pipeline leaves, as one set. Mere parentheses around a filter or an operator make no such
    /// node. A scalar filter as an operand (`count() > 2 && { ... }`) is a pipeline of this one stage.
    Pipeline(Pipeline),
    Binary {
        op: SpansetOp,
        left: Box<SpansetExpr>,
        right: Box<SpansetExpr>,
    },
}

/// What stands between two spansets of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpansetOp {
    /// `&&`: both have spans; the spans of both.
    And,
    /// `||`: the spans of both.
    Or,
    /// `>`, `!>`, `&>` and so on.
    Related(Relation, Keep),
}

/// How a span of the right side stands to one of the left side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `>`: right is a child of left.
    Child,
    /// `>>`: right is below left.
    Descendant,
    /// `<`: right is the parent of left.
    Parent,
    /// `<<`: right is above left.
    Ancestor,
    /// `~`: right is another child of left's parent.
    Sibling,
}

/// Which spans a relation keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// `>`: spans of the right side that are related to some span of the left side.
    Right,
    /// `!>`: spans of the right side that are related to no span of the left side.
    NotRelated,
    /// `&>`: spans of both sides that are related to one of the other side.
    Both,
}

/// A comparison of two numbers that are computed from a spanset.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarFilter {
    /// Never [`CompareOp::Match`] or [`CompareOp::NotMatch`].
    pub op: CompareOp,
    pub left: ScalarExpr,
    pub right: ScalarExpr,
    pub at: At,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ScalarExpr {
    pub kind: ScalarKind,
    pub at: At,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ScalarKind {
    /// A number or a duration.
    Literal(Literal),
    /// `count()`, without an operand, or `max(duration)`, with one.
    Aggregate {
        op: Aggregate,
        of: Option<Box<Expr>>,
    },
    /// `({ ... } | count())`: a number of what a pipeline leaves of the spanset, as one set.
    Pipeline {
        pipeline: Pipeline,
        of: Box<ScalarExpr>,
    },
    /// `-count()`. Of a literal it is a negative literal.
    Negate(Box<ScalarExpr>),
    Binary {
        op: ArithmeticOp,
        left: Box<ScalarExpr>,
        right: Box<ScalarExpr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    Count,
    Min,
    Max,
    Avg,
    Sum,
}
