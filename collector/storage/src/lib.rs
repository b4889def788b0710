//! The storage engine: what was acked is in the WAL, and can be found in the memtable.
//!
//! Data flows: `storage` (append) -> WAL (`clew_common::log`) -> `memtable` -> `snapshot` (read). `batches` remembers
//! which batches of which agents are durable; `decode` opens a batch and checks it. It knows no gRPC.

mod batches;
pub mod block;
pub mod columns;
mod decode;
mod identity;
mod memtable;
pub mod merge;
pub mod schema;
mod snapshot;
mod storage;
pub mod store;

#[cfg(test)]
mod tests;

pub use batches::{Claim, Claimed};
pub use decode::{DecodeError, Decoded, Part, decode};
pub use snapshot::{Snapshot, SnapshotError};
pub use storage::{AppendError, OpenError, Opened, Options, Stats, Storage};
