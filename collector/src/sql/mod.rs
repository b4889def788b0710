//! SQL for programs and people: over HTTP (`http`) and as Arrow Flight SQL (`flight`, with `handle` for prepared statements).
//! `docs/sql.md` has the tables and what may be asked.

mod flight;
mod handle;
mod http;

pub use flight::service;
pub use http::router;
