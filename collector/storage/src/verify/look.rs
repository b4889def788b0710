//! Tells a block that is damaged from one that could not be looked at.

use super::{Damage, Found, check_block, is_damage};
use crate::{
    block::{BlockError, META},
    store::Store,
};

/// What a look at a block's folder shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The block is what its meta says.
    Whole {
        /// How many it has.
        spans: u64,
    },
    /// It is not.
    Damaged {
        /// In what.
        damage: Vec<Damage>,
        /// How many it should have, as far as that can be read.
        spans: u64,
        /// Whether its files can be read, so that they can be put elsewhere.
        is_movable: bool,
    },
    /// The store did not give it, or it is of a newer version of this program. That says nothing about the block.
    Unseen(Damage),
    /// It has no meta: it is being written, or was left by a crash.
    Unfinished,
    /// It was deleted meanwhile, such as by a collector that has merged it.
    Gone,
}

/// Reads a block whole.
pub fn look(store: &dyn Store, found: &Found) -> Look {
    let unseen = |error: &BlockError| Damage { place: error.path.clone(), what: error.why.to_string() };
    let (damage, spans, is_movable) = match &found.block {
        None => return Look::Unfinished,
        Some(Err(error)) if error.is_unavailable() || error.is_newer() => return Look::Unseen(unseen(error)),
        Some(Err(error)) => {
            let what = format!("{}; answers of tenant {} are partial", error.why, found.tenant);
            (vec![Damage { place: error.path.clone(), what }], 0, is_damage(error))
        }
        Some(Ok(block)) => match check_block(store, found, block) {
            Ok(damage) => (damage, block.meta().spans, true),
            Err(error) => return Look::Unseen(unseen(&error)),
        },
    };
    if damage.is_empty() {
        return Look::Whole { spans };
    }
    let meta = format!("{}/{META}", found.path);
    match store.size(&meta) {
        Ok(_) => Look::Damaged { damage, spans, is_movable },
        Err(error) if error.is_not_found() => Look::Gone,
        Err(error) => Look::Unseen(Damage { place: meta, what: error.to_string() }),
    }
}
