//! TraceQL, the language in which spans are asked for: `{ resource.service.name = "shop" } >> { status = error }`.
//!
//! `docs/traceql.md` describes it. Nothing in here knows how spans are stored.

pub mod ast;
pub mod at;

/// How deeply parts of a query may be nested, and how high its tree may be. Recursion over the tree is safe below this.
pub const MAX_DEPTH: usize = 100;
