//! SQL for programs and people: over HTTP (`http`) and as Arrow Flight SQL (`flight`). `docs/sql.md`
//! has the tables and what may be asked.

mod flight;
mod http;

pub use flight::service;
pub use http::router;
