//! The words of TraceQL.

use std::fmt;

use super::ast::{Attribute, Intrinsic, Keep, Relation};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A whole number without its sign.
    Int(u64),
    Float(f64),
    /// In nanoseconds.
    Duration(i64),
    String(String),
    /// A word: a function, a constant, an intrinsic in its old spelling.
    Word(String),
    /// `.key`, `span.key`, `parent.resource.key`
    Attribute(Attribute),
    /// `span:name`
    Intrinsic(Intrinsic),
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    Comma,
    Pipe,
    And,
    Or,
    Not,
    Eq,
    NotEq,
    LessEq,
    GreaterEq,
    Match,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    /// What relates spansets. `<`, `>` and `!~` compare values too.
    Related(Relation, Keep),
    End,
}

/// What is written for a relation.
pub(super) fn relation_text(relation: Relation, keep: Keep) -> &'static str {
    use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
    match (keep, relation) {
        (Keep::Right, Child) => ">",
        (Keep::Right, Descendant) => ">>",
        (Keep::Right, Parent) => "<",
        (Keep::Right, Ancestor) => "<<",
        (Keep::Right, Sibling) => "~",
        (Keep::NotRelated, Child) => "!>",
        (Keep::NotRelated, Descendant) => "!>>",
        (Keep::NotRelated, Parent) => "!<",
        (Keep::NotRelated, Ancestor) => "!<<",
        (Keep::NotRelated, Sibling) => "!~",
        (Keep::Both, Child) => "&>",
        (Keep::Both, Descendant) => "&>>",
        (Keep::Both, Parent) => "&<",
        (Keep::Both, Ancestor) => "&<<",
        (Keep::Both, Sibling) => "&~",
    }
}

/// As an error message names it.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Int(number) => return write!(f, "the number {number}"),
            Self::Float(number) => return write!(f, "the number {number:?}"),
            Self::Duration(_) => "a duration",
            Self::String(_) => "a string",
            Self::Word(word) => return write!(f, "`{word}`"),
            Self::Attribute(attribute) => return write!(f, "the attribute `{attribute}`"),
            Self::Intrinsic(intrinsic) => return write!(f, "the field `{intrinsic}`"),
            Self::OpenBrace => "`{`",
            Self::CloseBrace => "`}`",
            Self::OpenParen => "`(`",
            Self::CloseParen => "`)`",
            Self::OpenBracket => "`[`",
            Self::CloseBracket => "`]`",
            Self::Comma => "`,`",
            Self::Pipe => "`|`",
            Self::And => "`&&`",
            Self::Or => "`||`",
            Self::Not => "`!`",
            Self::Eq => "`=`",
            Self::NotEq => "`!=`",
            Self::LessEq => "`<=`",
            Self::GreaterEq => "`>=`",
            Self::Match => "`=~`",
            Self::Add => "`+`",
            Self::Sub => "`-`",
            Self::Mul => "`*`",
            Self::Div => "`/`",
            Self::Mod => "`%`",
            Self::Pow => "`^`",
            Self::Related(relation, keep) => return write!(f, "`{}`", relation_text(*relation, *keep)),
            Self::End => "the end of the query",
        };
        f.write_str(text)
    }
}
