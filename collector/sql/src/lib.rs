//! SQL over the spans of a snapshot, with DataFusion. The only crate that names it.
//!
//! `session` plans and runs a query that only reads. Its tables are `spans`, `events` and `links` (`table`), which `scan` reads a part
//! at a time, only the columns that a query names: `columns` says what there is, `values` makes arrays of a field's sources, `maps`
//! of lists of attributes, `entries` rows of events and links. `pushdown` turns conditions into what `clew_query` can look for
//! without reading rows. `resources` is a table in memory.

mod columns;
mod entries;
mod error;
mod maps;
mod pushdown;
mod resources;
mod scan;
mod session;
mod table;
mod values;

pub use error::SqlError;
pub use session::{Limits, MAX_QUERY_BYTES, Planned, STACK_BYTES, Session};
