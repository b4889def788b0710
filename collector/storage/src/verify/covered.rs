//! Which records of write-ahead logs are in blocks.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use clew_common::{ids::Tenant, log::Disk, ranges::SeqRanges};
use uuid::Uuid;

use super::Found;
use crate::{identity::Identity, wal::Notes};

/// What the blocks of a store hold of each log.
#[derive(Default)]
pub struct Covered(HashMap<(Tenant, Uuid), SeqRanges>);

impl Covered {
    /// By these blocks, replaced ones too. Those that cannot be opened say nothing.
    pub fn by(found: &[Found]) -> Self {
        let mut covered = Self::default();
        for found in found {
            let Some(Ok(block)) = &found.block else { continue };
            for wal in &block.meta().wal {
                let seqs = covered.0.entry((found.tenant.clone(), wal.collector)).or_default();
                wal.ranges.iter().for_each(|(first, end)| seqs.insert_range(*first..*end));
            }
        }
        covered
    }

    /// Whether a block has the tenant's spans of a log's record.
    pub fn has(&self, tenant: &Tenant, log: Uuid, seq: u64) -> bool {
        // Keys own their tenant: a look-up by reference would take a map in a map.
        self.0.get(&(tenant.clone(), log)).is_some_and(|seqs| seqs.contains(seq))
    }
}

/// Under which name blocks speak of the log of a collector whose data is in the folder `data`; None when its identity is
/// missing or damaged. Changes nothing.
///
/// # Errors
/// Those of the disk; an unknown version.
pub fn log_name(disk: Arc<dyn Disk>, data: &Path) -> io::Result<Option<Uuid>> {
    Identity::peek(&Notes::on_disk(disk, data.to_owned())).map(|identity| identity.map(|it| it.collector_id))
}
