//! What a TraceQL query says, as a tree.
//!
//! The parser builds it, [`check`](super::check) refuses what has no meaning, [`format`](super::format) writes it back as
//! text, and evaluators walk it. Its height is limited by the parser ([`MAX_DEPTH`](super::MAX_DEPTH)), so walking it may
//! recurse. Equality of trees ignores where in the text their nodes stood.

use std::fmt;

use super::at::At;

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

// ---- Spansets

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

// ---- Scalars

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

// ---- Fields

/// What a span is asked for: a tree of literals, fields and operators.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub at: At,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    Literal(Literal),
    Field(Field),
    /// `!expression`
    Not(Box<Expr>),
    /// `-expression`. Of a literal number it is a negative literal.
    Negate(Box<Expr>),
    /// `a && b && ...` or `a || b || ...`: two operands or more, none of them the same operator again.
    Logic {
        op: LogicOp,
        operands: Vec<Expr>,
    },
    Compare {
        op: CompareOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Arithmetic {
        op: ArithmeticOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogicOp {
    And,
    Or,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    Eq,
    NotEq,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    /// `=~`
    Match,
    /// `!~`
    NotMatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    /// `^`
    Pow,
}

/// A value in the text of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Nil,
    Bool(bool),
    Int(i64),
    /// Finite.
    Float(f64),
    /// In nanoseconds.
    Duration(i64),
    String(String),
    Status(Status),
    Kind(Kind),
}

/// A span's status. The numbers are OTLP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// A span's kind. The numbers are OTLP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// A field with the place where it is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldAt {
    pub field: Field,
    pub at: At,
}

/// Something that a span has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    Attribute(Attribute),
    Intrinsic(Intrinsic),
}

/// An attribute by its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attribute {
    pub scope: Scope,
    /// `parent.`: the attribute of the span's parent. Only with the scopes `Any`, `Span` and `Resource`.
    pub of_parent: bool,
    /// The key as the span has it, without quotes.
    pub key: String,
}

/// Where an attribute is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `.key`: the first of span, resource, event, link and instrumentation that has it.
    Any,
    Span,
    Resource,
    /// All events of the span.
    Event,
    /// All links of the span.
    Link,
    /// The instrumentation scope.
    Instrumentation,
}

/// What every span has, whatever its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intrinsic {
    /// `duration`, `span:duration`: a duration.
    Duration,
    /// `name`, `span:name`: a string.
    Name,
    /// `status`, `span:status`: a status.
    Status,
    /// `statusMessage`, `span:statusMessage`: a string.
    StatusMessage,
    /// `kind`, `span:kind`: a kind.
    Kind,
    /// `childCount`, `span:childCount`: an int.
    ChildCount,
    /// `parent`: only to be compared with nil.
    Parent,
    /// `span:id`: hex.
    SpanId,
    /// `span:parentID`: hex.
    SpanParentId,
    /// `trace:id`: hex.
    TraceId,
    /// `traceDuration`, `trace:duration`: a duration.
    TraceDuration,
    /// `rootName`, `trace:rootName`: a string.
    RootName,
    /// `rootServiceName`, `trace:rootService`: a string.
    RootService,
    /// `event:name`: strings, one an event.
    EventName,
    /// `event:timeSinceStart`: durations, one an event.
    EventTimeSinceStart,
    /// `link:traceID`: hex, one a link.
    LinkTraceId,
    /// `link:spanID`: hex, one a link.
    LinkSpanId,
    /// `instrumentation:name`: a string.
    InstrumentationName,
    /// `instrumentation:version`: a string.
    InstrumentationVersion,
    /// `nestedSetLeft`: an int, the number at which a walk through the trace's tree enters the span, from 1.
    NestedSetLeft,
    /// `nestedSetRight`: an int, the number at which the walk leaves it.
    NestedSetRight,
    /// `nestedSetParent`: an int, `nestedSetLeft` of the parent; -1 for a root.
    NestedSetParent,
}

// ---- Metrics

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

impl Field {
    /// The attribute `key`, wherever `scope` says.
    #[must_use]
    pub fn attribute(scope: Scope, key: impl Into<String>) -> Self {
        Self::Attribute(Attribute { scope, of_parent: false, key: key.into() })
    }
}

impl Status {
    /// From OTLP's number; what OTLP does not know is unset.
    #[must_use]
    pub fn from_otlp(code: i32) -> Self {
        match code {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl Kind {
    /// From OTLP's number; what OTLP does not know is unspecified.
    #[must_use]
    pub fn from_otlp(kind: i32) -> Self {
        match kind {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
