//! SQL over the spans of a snapshot, with DataFusion. The only crate that names it.
//!
//! `session` plans and runs a query that only reads, if it is `allowed`. Its tables are `spans`, `events` and `links` (`table`), which `scan` reads a part
//! at a time, only the columns that a query names: `columns` says what there is, `values` makes arrays of a field's sources, `maps`
//! of lists of attributes, `entries` rows of events and links. `pushdown` turns conditions into what `clew_query` can look for
//! without reading rows. `resources` is a table in memory. `functions`
//! says which functions there are and how long their results may be, `held` and `windows` count rows that the engine does not. `plain`
//! makes answers of it that all readers of Arrow know, `format` writes them.

mod allowed;
mod columns;
mod entries;
mod error;
pub mod format;
mod functions;
mod held;
mod maps;
mod plain;
mod pushdown;
mod resources;
mod scan;
mod session;
mod table;
mod values;
mod windows;

pub use allowed::MAX_QUERY_BYTES;
pub use datafusion::common::ParamValues;
pub use error::SqlError;
pub use session::{CATALOG, Limits, Planned, SCHEMA, STACK_BYTES, Session, parameters};
