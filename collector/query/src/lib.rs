//! Answers questions about traces from a storage snapshot.

pub mod analysis;
pub mod exec;
pub mod trace;
pub mod traceql;
pub mod tree;
