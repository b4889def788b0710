//! The storage engine: what was acked is in the WAL, and can be found in memory or in a block.
//!
//! Data flows: `storage` (append) -> WAL (`clew_common::log`) -> `memtable` -> `flush` -> `block`, on a `store`.
//! `place` keeps memory for a batch, `decode` opens and checks it, `columns` turns it into Arrow; `allocator` is what
//! memory comes from, `side_by_side` shares work among processors.
//! `contents` is what can be found now, of which a `snapshot` is one instant; a `tail` follows it. `batches` remembers which
//! batches of which agents are durable, `checkpoint` those whose WAL is gone. `catalogue` and `replay` put it all together again
//! at start. `owner` says whose a block is, `refresh` finds those of other collectors of the store. The crate knows no gRPC.

pub mod allocator;
mod batches;
pub mod block;
mod catalogue;
mod checkpoint;
pub mod columns;
mod compact;
mod contents;
mod decode;
mod errors;
mod flush;
mod identity;
mod maintain;
mod memtable;
pub mod merge;
mod owner;
mod place;
mod recent;
mod refresh;
mod replay;
pub mod retention;
pub mod schema;
mod side_by_side;
mod snapshot;
mod stats;
mod storage;
pub mod store;
mod sweep;
mod tail;
pub mod verify;
pub mod wal;

#[cfg(test)]
mod tests;

pub use batches::{Claim, Claimed};
pub use compact::CompactError;
pub use decode::{DecodeError, Decoded};
pub use errors::{AppendError, OpenError, TooManyTenants};
pub use maintain::MaintainError;
pub use place::Place;
pub use snapshot::{Memory, Snapshot, SnapshotError};
pub use stats::{Counts, Event, Stats};
pub use storage::{Opened, Options, Storage};
pub use tail::{Cursor, News, Tail, TailError};
