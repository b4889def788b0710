//! Whose blocks are whose. Several collectors may share a store: each changes only its own blocks, and reads them all.

use clew_common::world::World;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::block::Meta;

/// A collector as the owner of blocks.
#[derive(Clone, Debug)]
pub struct Owner {
    collector: Uuid,
    /// Collectors that are gone, whose blocks are now its own.
    heir_of: Vec<Uuid>,
    /// Nobody else uses the store.
    sole: bool,
}

/// Bytes of a block's id that say whose it is: the last ones. What a UUIDv7 has besides its time is random, and 26 bits of it
/// stay so: a collector makes few blocks a millisecond.
const MARK_BYTES: usize = 6;

impl Owner {
    /// `sole`: no other collector uses the store, so that all blocks are its own. `heir_of`: collectors that are gone.
    pub fn new(collector: Uuid, heir_of: Vec<Uuid>, sole: bool) -> Self {
        Self { collector, heir_of, sole }
    }

    /// What the metas of its blocks say.
    pub fn id(&self) -> Uuid {
        self.collector
    }

    /// Whether no other collector uses the store.
    pub fn is_sole(&self) -> bool {
        self.sole
    }

    /// A new block's id, with the owner's mark: it tells whose a block is that has no meta, because it was never finished.
    pub fn block_id(&self, world: &World) -> Uuid {
        let mut bytes = world.random.uuid(world.clock).into_bytes();
        bytes[16 - MARK_BYTES..].copy_from_slice(&mark(self.collector));
        Uuid::from_bytes(bytes)
    }

    /// Whether a block is its own by its id. False for those of versions that had no marks, unless nobody else uses the store.
    pub fn has_begun(&self, block: Uuid) -> bool {
        self.sole || self.collectors().any(|collector| block.as_bytes()[16 - MARK_BYTES..] == mark(collector))
    }

    /// Whether a block is its own. Metas of versions that knew no owners belong to whoever opens them.
    pub fn owns(&self, meta: &Meta) -> bool {
        self.sole || meta.owner.is_none_or(|owner| self.collectors().any(|collector| collector == owner))
    }

    fn collectors(&self) -> impl Iterator<Item = Uuid> {
        self.heir_of.iter().copied().chain([self.collector])
    }
}

fn mark(collector: Uuid) -> [u8; MARK_BYTES] {
    let [mark @ .., _, _] = xxh3_64(collector.as_bytes()).to_be_bytes();
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_id_tells_whose_it_is_and_is_a_uuid_of_its_time() {
        let world = World::real();
        let [one, two] = [1, 2].map(|number| Owner::new(Uuid::from_u128(number), vec![], false));
        let id = one.block_id(&world);
        assert_eq!(id.get_version_num(), 7);
        assert_ne!(id, one.block_id(&world));
        assert!(one.has_begun(id) && !two.has_begun(id));
        assert!(Owner::new(Uuid::from_u128(2), vec![one.id()], false).has_begun(id));
        assert!(!one.has_begun(world.random.uuid(world.clock)));
        assert!(Owner::new(Uuid::from_u128(3), vec![], true).has_begun(id));
    }
}
