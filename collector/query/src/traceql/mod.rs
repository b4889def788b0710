//! TraceQL, the language in which spans are asked for: `{ resource.service.name = "shop" } >> { status = error }`.
//!
//! `docs/traceql.md` describes it. Nothing in here knows how spans are stored. Text goes through `lexer` and `parser` into
//! [`ast`], `check` refuses what means nothing, and an evaluator walks the tree with the semantics of [`value`].

pub mod ast;
pub mod at;
mod error;
mod lexer;
mod token;

mod check;
mod format;
mod hints;
mod names;
mod parser;
mod power;

pub mod series;
pub mod steps;
pub mod value;

pub mod reference;

pub use error::Error;
pub use names::INTRINSICS;

/// How deeply parts of a query may be nested, and how high its tree may be. Recursion over the tree is safe below this.
pub const MAX_DEPTH: usize = 100;

/// How long the text of a query may be.
pub const MAX_BYTES: usize = 64 << 10;

/// How many regular expressions a query may have. Each may take 4 MiB and 20 ms.
pub const MAX_PATTERNS: usize = 32;

/// Reads and checks a query.
///
/// # Errors
/// When it is none, has no meaning, or is too long or nested too deeply.
pub fn parse(text: &str) -> Result<ast::Query, Error> {
    let query = if text.len() > MAX_BYTES {
        error::Fault::new(
            at::At::new(MAX_BYTES, text.len()),
            format!("this query has {} bytes, expected {MAX_BYTES} at most", text.len()),
        )
    } else {
        parser::query(text).and_then(|query| check::check(&query).map(|()| query))
    };
    query.map_err(|fault| fault.in_text(text))
}
