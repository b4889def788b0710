//! Looks at a store from outside, beside a running collector or without one. Nothing but [`set_aside`] changes anything.
//!
//! `folders` finds the blocks, `sizes` says what takes their bytes, `block` reads a block whole and holds it against its
//! meta, `wal` reads the write-ahead log through `peek`, a disk that is only looked at. `aside` puts damaged blocks away.

mod aside;
mod block;
mod folders;
mod peek;
mod sizes;
mod wal;

pub use aside::set_aside;
pub use block::{Damage, check_block, is_damage};
pub use folders::{Found, folders, replaced};
pub use peek::Peek;
pub use sizes::{Sizes, SizesError, sizes};
pub use wal::{Wal, WalError, WalRecord, read_wal};
