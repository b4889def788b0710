//! What stands inside of braces.

use std::fmt;

use crate::traceql::{at::At, value::Pattern};

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

impl CompareOp {
    /// What says the same with the sides exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEq => Self::GreaterEq,
            Self::Greater => Self::Less,
            Self::GreaterEq => Self::LessEq,
            same => same,
        }
    }
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
    /// Stands after `=~` and `!~`, and nowhere else.
    Pattern(Pattern),
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
