//! TraceQL evaluated slowly and plainly, over whole traces in memory.
//!
//! This says what queries mean: faster evaluators have to find the same. It is for tests, and to be read. It takes checked
//! queries; of others it makes something, without falling over.

mod compare;
mod expr;
mod metrics;
mod relations;
mod scalars;
mod spansets;
mod trace;

pub use metrics::measure;
pub use spansets::{Found, Spanset, find};
pub use trace::Trace;
