//! Fields and literals as text.

use std::fmt::{Display, Formatter, Result, Write};

use crate::traceql::{
    ast::{Attribute, Field, FieldAt, Intrinsic, Literal, Scope},
    lexer::is_key_char,
};

impl Display for FieldAt {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.field.fmt(f)
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Intrinsic(intrinsic) => intrinsic.fmt(f),
        }
    }
}

impl Display for Intrinsic {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match (self.of_parent, self.scope) {
            (false, Scope::Any) => ".",
            (true, Scope::Any) => "parent.",
            (true, Scope::Span) => "parent.span.",
            (true, _) => "parent.resource.",
            (false, Scope::Span) => "span.",
            (false, Scope::Resource) => "resource.",
            (false, Scope::Event) => "event.",
            (false, Scope::Link) => "link.",
            (false, Scope::Instrumentation) => "instrumentation.",
        })?;
        let unscoped = self.scope == Scope::Any;
        let like_a_number = unscoped && self.key.starts_with(|c: char| c.is_ascii_digit());
        let like_a_scope =
            unscoped && self.of_parent && (self.key.starts_with("span.") || self.key.starts_with("resource."));
        if !self.key.is_empty() && self.key.chars().all(is_key_char) && !like_a_number && !like_a_scope {
            return f.write_str(&self.key);
        }
        f.write_char('"')?;
        for c in self.key.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(yes) => yes.fmt(f),
            Self::Int(i64::MIN) => f.write_str("minInt"),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Duration(ns) => duration(f, *ns),
            Self::String(text) => string(f, text),
            Self::Pattern(pattern) => string(f, pattern.text()),
            Self::Status(status) => status.fmt(f),
            Self::Kind(kind) => kind.fmt(f),
        }
    }
}

/// In the largest unit of which it is a whole number.
fn duration(f: &mut Formatter<'_>, ns: i64) -> Result {
    let units = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    if ns == 0 {
        return f.write_str("0s");
    }
    let (unit, unit_ns) = units.into_iter().find(|(_, unit_ns)| ns % unit_ns == 0).unwrap_or(("ns", 1));
    write!(f, "{}{unit}", ns / unit_ns)
}

fn string(f: &mut Formatter<'_>, text: &str) -> Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
