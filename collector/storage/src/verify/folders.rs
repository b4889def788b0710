//! Finds the blocks of a store, damaged and replaced ones too.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use clew_common::ids::Tenant;
use uuid::Uuid;

use crate::{
    block::{Block, BlockError, Cache, META},
    catalogue::parts,
    store::{Listed, Store, StoreError},
};

/// A block's folder.
pub struct Found {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its folder in the store.
    pub path: String,
    /// Its files, in order of their paths.
    pub files: Vec<Listed>,
    /// What the folder's name says.
    pub id: Uuid,
    /// The block, as far as meta and filter say; None when it has no meta: it was never finished, or is being written.
    pub block: Option<Result<Block, BlockError>>,
}

/// All folders of blocks, in order of tenant and age. Reads metas and filters.
///
/// # Errors
/// When the store cannot be listed.
pub fn folders(store: &Arc<dyn Store>) -> Result<Vec<Found>, StoreError> {
    let mut folders: BTreeMap<(Tenant, Uuid, String), Vec<Listed>> = BTreeMap::new();
    for file in store.list("")? {
        if let Some((tenant, id, folder, _)) = parts(&file.path) {
            folders.entry((tenant, id, folder.to_owned())).or_default().push(file);
        }
    }
    // Each block is read once: nothing is worth keeping.
    let cache = Arc::new(Cache::new(0));
    let found = folders.into_iter().map(|((tenant, id, path), mut files)| {
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let finished = files.iter().any(|file| file.path.ends_with(META));
        let block = finished.then(|| Block::open(store.clone(), &path, cache.clone()));
        Found { tenant, path, files, id, block }
    });
    Ok(found.collect())
}

/// The blocks in whose place others have come.
pub fn replaced(found: &[Found]) -> HashSet<Uuid> {
    let whole = found.iter().filter_map(|found| found.block.as_ref()?.as_ref().ok());
    whole.flat_map(|block| block.meta().replaces.iter().copied()).collect()
}
