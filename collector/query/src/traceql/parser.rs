//! Words into a tree.
//!
//! Operators are read by their power (Pratt's method), in two languages that share it: `fields` inside of braces and
//! brackets of functions, `pipeline` outside. Every nesting counts towards [`MAX_DEPTH`], and so does every link of a chain
//! like `1 + 1 + 1`, which makes its tree as high as it is long.

use super::{
    MAX_DEPTH, MAX_PATTERNS,
    ast::{ArithmeticOp, Body, CompareOp, Hint, Keep, Literal, Pipeline, Query, Relation, SpansetKind, Stage},
    at::At,
    error::Fault,
    lexer::lex,
    power,
    token::Token,
};

mod fields;
mod metrics;
mod pipeline;

use pipeline::Mixed;

/// Reads a whole query. It may have no meaning yet.
pub(super) fn query(text: &str) -> Result<Query, Fault> {
    let mut parser = Parser { tokens: lex(text)?, next: 0, depth: 0, patterns: 0 };
    let (mixed, _) = parser.pipeline()?;
    let hints = parser.hints()?;
    if *parser.peek() != Token::End {
        return parser.unexpected("an operator, `|`, `with`, or the end of the query");
    }
    let body = match mixed {
        Mixed::Metrics(metrics) => Body::Metrics(metrics),
        Mixed::Spans(spansets) => Body::Spans(match spansets.kind {
            SpansetKind::Pipeline(pipeline) => pipeline,
            _ => Pipeline { stages: vec![Stage::Spansets(spansets)] },
        }),
        Mixed::Scalar(scalar) => {
            return Fault::new(scalar.at, "a number alone finds no traces, expected a comparison: `count() > 2`");
        }
    };
    Ok(Query { body, hints })
}

/// A node and the height of the tree below it.
type Tall<T> = (T, usize);

struct Parser {
    /// The last one is the end, which is never passed.
    tokens: Vec<(Token, At)>,
    next: usize,
    depth: usize,
    /// Regular expressions so far.
    patterns: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(token, _)| token)
    }

    fn peek_at(&self) -> At {
        self.tokens.get(self.next).map_or(At::default(), |(_, at)| *at)
    }

    /// Where the word before the next one was.
    fn last_at(&self) -> At {
        self.next.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(At::default(), |(_, at)| *at)
    }

    fn bump(&mut self) -> At {
        let at = self.peek_at();
        if *self.peek() != Token::End {
            self.next += 1;
        }
        at
    }

    fn eat(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.next += 1;
        }
        found
    }

    fn expect(&mut self, token: &Token) -> Result<At, Fault> {
        if self.peek() == token { Ok(self.bump()) } else { self.unexpected(&token.to_string()) }
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, Fault> {
        Fault::new(self.peek_at(), format!("found {}, expected {expected}", self.peek()))
    }

    /// Reads something that is nested in something else.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= MAX_DEPTH {
            return too_deep(self.peek_at());
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// `with (name = value, ...)`, if it is there.
    fn hints(&mut self) -> Result<Vec<Hint>, Fault> {
        let mut hints = Vec::new();
        if !self.peek_word("with") {
            return Ok(hints);
        }
        self.bump();
        self.expect(&Token::OpenParen)?;
        loop {
            let Token::Word(name) = self.peek().clone() else { return self.unexpected("the name of a hint") };
            let start = self.bump();
            self.expect(&Token::Eq)?;
            let value = if *self.peek() == Token::OpenBracket { self.texts()? } else { self.signed_literal()? };
            hints.push(Hint { name, value, at: start.to(self.last_at()) });
            if !self.eat(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::CloseParen)?;
        Ok(hints)
    }

    /// `["a", "b"]`, which is as good as `"a,b"`.
    fn texts(&mut self) -> Result<Literal, Fault> {
        self.bump();
        let mut texts = Vec::new();
        while !self.eat(&Token::CloseBracket) {
            if !texts.is_empty() {
                self.expect(&Token::Comma)?;
            }
            let Token::String(text) = self.peek().clone() else { return self.unexpected("a string or `]`") };
            self.bump();
            texts.push(text);
        }
        Ok(Literal::String(texts.join(",")))
    }

    /// A literal, which may have a sign when it is a number.
    fn signed_literal(&mut self) -> Result<Literal, Fault> {
        if !self.eat(&Token::Sub) {
            return match self.literal()? {
                Some(literal) => Ok(literal),
                None => self.unexpected("a value"),
            };
        }
        if self.eat(&Token::Int(1 << 63)) {
            return Ok(Literal::Int(i64::MIN));
        }
        match self.literal()?.and_then(|literal| negative(&literal)) {
            Some(literal) => Ok(literal),
            None => self.unexpected("a number"),
        }
    }

    /// A literal without a sign, if there is one.
    fn literal(&mut self) -> Result<Option<Literal>, Fault> {
        let literal = match self.peek() {
            Token::Int(number) => match i64::try_from(*number) {
                Ok(number) => Literal::Int(number),
                Err(_) => {
                    return Fault::new(self.peek_at(), "whole numbers end at maxInt, which is 9223372036854775807");
                }
            },
            Token::Float(number) => Literal::Float(*number),
            Token::Duration(ns) => Literal::Duration(*ns),
            Token::String(text) => Literal::String(text.clone()),
            Token::Word(word) => match constant(word) {
                Some(literal) => literal,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some(literal))
    }

    /// The comparison that comes next, if one does.
    fn peek_comparison(&self) -> Option<CompareOp> {
        Some(match self.peek() {
            Token::Eq => CompareOp::Eq,
            Token::NotEq => CompareOp::NotEq,
            Token::LessEq => CompareOp::LessEq,
            Token::GreaterEq => CompareOp::GreaterEq,
            Token::Match => CompareOp::Match,
            Token::Related(Relation::Child, Keep::Right) => CompareOp::Greater,
            Token::Related(Relation::Parent, Keep::Right) => CompareOp::Less,
            Token::Related(Relation::Sibling, Keep::NotRelated) => CompareOp::NotMatch,
            _ => return None,
        })
    }

    /// The arithmetic operator that comes next, if one does, and its power.
    fn peek_arithmetic(&self) -> Option<(ArithmeticOp, u8)> {
        Some(match self.peek() {
            Token::Add => (ArithmeticOp::Add, power::ADD),
            Token::Sub => (ArithmeticOp::Sub, power::ADD),
            Token::Mul => (ArithmeticOp::Mul, power::MULTIPLY),
            Token::Div => (ArithmeticOp::Div, power::MULTIPLY),
            Token::Mod => (ArithmeticOp::Mod, power::MULTIPLY),
            Token::Pow => (ArithmeticOp::Pow, power::POW),
            _ => return None,
        })
    }
}

/// What the right side of an operator has to be stronger than, or as strong as.
fn right_of(power: u8) -> u8 {
    if power == power::POW { power } else { power + 1 }
}

/// One more than the highest of these.
fn above(at: At, heights: &[usize]) -> Result<usize, Fault> {
    let height = heights.iter().max().map_or(1, |height| height + 1);
    if height > MAX_DEPTH { too_deep(at) } else { Ok(height) }
}

fn too_deep<T>(at: At) -> Result<T, Fault> {
    Fault::new(at, format!("this is nested more than {MAX_DEPTH} deep, or a chain of more operators than that"))
}

/// A number with the other sign. There is none for minInt and for what is no number.
fn negative(literal: &Literal) -> Option<Literal> {
    match literal {
        Literal::Int(number) => number.checked_neg().map(Literal::Int),
        Literal::Float(number) => Some(Literal::Float(-number)),
        Literal::Duration(ns) => ns.checked_neg().map(Literal::Duration),
        _ => None,
    }
}

/// Words that are values.
fn constant(word: &str) -> Option<Literal> {
    use super::ast::{Kind, Status};
    Some(match word {
        "nil" => Literal::Nil,
        "true" => Literal::Bool(true),
        "false" => Literal::Bool(false),
        "minInt" => Literal::Int(i64::MIN),
        "maxInt" => Literal::Int(i64::MAX),
        "unset" => Literal::Status(Status::Unset),
        "ok" => Literal::Status(Status::Ok),
        "error" => Literal::Status(Status::Error),
        "unspecified" => Literal::Kind(Kind::Unspecified),
        "internal" => Literal::Kind(Kind::Internal),
        "server" => Literal::Kind(Kind::Server),
        "client" => Literal::Kind(Kind::Client),
        "producer" => Literal::Kind(Kind::Producer),
        "consumer" => Literal::Kind(Kind::Consumer),
        _ => return None,
    })
}
