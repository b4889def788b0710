//! Spans between OTLP's bytes and Arrow's columns, both ways. `schema` says what the columns are.
//!
//! `builder` takes requests apart: `span` reads a Span, `pair` an attribute; `attributes` finds the column of a key,
//! `sparse`, `strings` and `lists` hold what came until it is a column. `resource` is what spans share, `resources` a table
//! of that. `view` reads a batch, `write` makes OTLP of its rows.
//!
//! Nothing here is decoded into structs: this runs for each span that is stored.

mod attributes;
mod builder;
mod lists;
mod pair;
mod resource;
mod resources;
mod rewrite;
mod span;
mod sparse;
mod strings;
mod view;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use builder::{Builder, Spans};
pub use resource::Resource;
pub use resources::{RESOURCE_PREFIX, resources_batch, resources_of};
pub use rewrite::{RewriteError, rewrite};
pub use view::ViewError;
pub use write::write_otlp;
