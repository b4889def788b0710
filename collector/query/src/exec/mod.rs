//! Runs TraceQL over what is stored.
//!
//! A query looks at `part`s: row groups of blocks and batches in memory. In each a `mask` says what a filter keeps, computed
//! from the columns (`field`) that it names and no others, which a `cache` keeps. `search` goes to the traces that can be
//! answers (`candidates`), newest first, puts them together (`trace`; `same` tells what is stored twice) and runs the
//! `pipeline` on them. `metrics` counts spans without that where it can. `matches` finds single spans. `tags` lists names
//! (`names` of a part), values, and which of them occur together. `dependencies` counts calls between services, `explain` says in what spans differ from
//! others. `spans` gives columns to other query languages. `scope` is all of it for one query, `budget` ends it.

mod budget;
mod cache;
mod candidates;
mod coded;
mod codes;
mod dependencies;
mod explain;
mod field;
mod mask;
mod matches;
mod metrics;
mod names;
mod parallel;
mod part;
mod pipeline;
mod roots;
mod same;
mod scope;
mod search;
mod spans;
mod tags;
mod trace;
mod traces;

pub use budget::{Budget, Client, MAX_READ_BYTES, Stopped};
pub use cache::Cache;
pub use dependencies::{Dependencies, Dependency, dependencies};
pub use explain::{ExplainOptions, Explained, Sample, explain};
pub use field::{Source, first};
pub use matches::{Matched, Matches, SpanFilter};
pub use metrics::{Exemplar, Measured, MetricsOptions, metrics};
pub use names::TagScope;
pub use search::{Found, FoundSet, FoundSpan, Range, SearchOptions, Searched, search};
pub use spans::{Rows, Spans, SpansError, Wanted};
pub use tags::{TagCombinations, TagOptions, TagValues, Tags, tag_combinations, tag_names, tag_values};
