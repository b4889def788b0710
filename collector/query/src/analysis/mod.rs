//! What a trace says beyond its spans: each module answers one question about a [`Tree`](crate::tree::Tree).
//!
//! `summary` is a trace in a few numbers, `self_time` what each span did itself, `critical_path` what made the trace take as
//! long as it did, `origin` what made it fail. `pairing` finds the two sides of calls, `skew` what these say about clocks.
//! `compare` sets two traces side by side. `over` knows no trace: it ranks values that spans in question have more often than
//! others. Nothing recurses: a chain of a million spans costs memory, not the stack.

pub mod compare;
pub mod critical_path;
pub mod origin;
pub mod over;
pub mod pairing;
pub mod self_time;
pub mod skew;
pub mod summary;
