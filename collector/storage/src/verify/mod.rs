//! Looks at a store from outside, beside a running collector or without one. Nothing but [`set_aside`] changes it.
//!
//! `folders` finds the blocks, `sizes` says what takes their bytes, `block` reads a block whole and holds it against its
//! meta, `look` tells damage from what could not be seen, `wal` reads the write-ahead log through `peek`, a disk that is only looked at; `store_wal` reads logs that are in the
//! store; `covered` tells which of their records are in blocks, `notes` looks at the small files beside a log. `part` is spans that were read. `copy` copies blocks, `aside`
//! puts damaged ones away.

mod aside;
mod block;
mod copy;
mod covered;
mod folders;
mod look;
mod notes;
mod part;
mod peek;
mod sizes;
mod store_wal;
mod wal;

pub use aside::set_aside;
pub use block::{Damage, check_block, is_damage};
pub use copy::copy_block;
pub use covered::{Covered, log_name};
pub use folders::{Found, folders, replaced};
pub use look::{Look, look};
pub use notes::check_notes;
pub use part::{Part, PartError};
pub use peek::Peek;
pub use sizes::{Sizes, SizesError, sizes};
pub use store_wal::{StoreWalError, read_store_wals, stand_still};
pub use wal::{Wal, WalError, WalRecord, read_wal};
