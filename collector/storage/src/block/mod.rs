//! Blocks: spans that will not change any more, as Parquet files that others can read too.
//!
//! A block is a folder `<tenant>/blocks/<day>/<id>/` of a [`Store`](crate::store::Store): `spans.parquet` with the spans,
//! sorted by (trace_id, start_time, span_id); `shapes.parquet`, where that saves space, with what many spans say alike;
//! `resources.parquet` with the resources that they name; `filter.bin`, which tells what traces are not in it; and
//! `meta.json`, written last: without it there is no block.
//!
//! `write` makes blocks, `read` reads them, `merge` makes one of several; `meta` and `filter` are the small files.

mod filter;
pub(crate) mod merge;
mod meta;
mod read;
mod shapes;
mod write;

pub use filter::{Filter, FilterError};
pub use merge::merge;
pub use meta::{File, Meta, MetaError, Service, Spec, WalRange};
pub use read::{Block, BlockError, Cache, GoOn, Why, trace_in};
pub use shapes::SHAPE_ID;
pub use write::{BlockWriter, CHECKSUMS, Layout, WriteError};

/// The spans.
pub const SPANS: &str = "spans.parquet";
/// What many of them say alike; not every block has it.
pub const SHAPES: &str = "shapes.parquet";
/// What they share.
pub const RESOURCES: &str = "resources.parquet";
/// Which traces are not in it.
pub const FILTER: &str = "filter.bin";
/// What the block is; its presence makes it one.
pub const META: &str = "meta.json";
