//! Finds the blocks of a store at start. Nothing but metas and filters is read.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use clew_common::ids::Tenant;
use uuid::Uuid;

use crate::{
    block::{Block, Cache, META},
    contents::Blocks,
    store::{Store, StoreError},
};

/// Blocks are opened by so many threads: on an object store opening is waiting.
const OPENERS: usize = 8;

/// What a store holds.
#[derive(Default)]
pub struct Catalogue {
    /// Each tenant's blocks.
    pub blocks: HashMap<Tenant, Blocks>,
    /// Folders of blocks that another one replaces, or that were never finished: they can go.
    pub leftovers: Vec<String>,
}

/// Lists a store and opens its blocks. Damaged ones are no error.
///
/// # Errors
/// When the store cannot be listed.
pub fn open(store: &Arc<dyn Store>, cache: &Arc<Cache>) -> Result<Catalogue, StoreError> {
    let mut folders: BTreeMap<(Tenant, Uuid), (String, bool)> = BTreeMap::new();
    for file in store.list("")? {
        if let Some((tenant, id, folder, name)) = parts(&file.path) {
            folders.entry((tenant, id)).or_insert_with(|| (folder.to_owned(), false)).1 |= name == META;
        }
    }
    let mut catalogue = Catalogue::default();
    let mut whole = Vec::new();
    for ((tenant, _), (path, finished)) in folders {
        if finished {
            whole.push((tenant, path));
        } else {
            catalogue.leftovers.push(path);
        }
    }
    let opened = std::thread::scope(|scope| {
        let openers: Vec<_> = whole
            .chunks(whole.len().div_ceil(OPENERS).max(1))
            .map(|paths| {
                scope.spawn(|| paths.iter().map(|(_, path)| open_block(store, cache, path)).collect::<Vec<_>>())
            })
            .collect();
        let opened =
            openers.into_iter().map(|opener| opener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        opened.flatten().collect::<Vec<_>>()
    });
    let replaced: HashSet<Uuid> =
        opened.iter().flatten().flat_map(|block| block.meta().replaces.iter().copied()).collect();
    for ((tenant, path), opened) in whole.into_iter().zip(opened) {
        match opened {
            Ok(block) if replaced.contains(&block.meta().id) => catalogue.leftovers.push(path),
            Ok(block) => catalogue.blocks.entry(tenant).or_default().whole.push(Arc::new(block)),
            Err(error) => {
                tracing::error!(path, %error, "a block cannot be read: answers are partial; `clew verify --repair` sets it aside");
                catalogue.blocks.entry(tenant).or_default().damaged.push((path, Arc::new(error)));
            }
        }
    }
    Ok(catalogue)
}

fn open_block(store: &Arc<dyn Store>, cache: &Arc<Cache>, path: &str) -> Result<Block, crate::block::BlockError> {
    Block::open(store.clone(), path, cache.clone())
}

/// Takes `<tenant>/blocks/<day>/<id>/<file>` apart: tenant, id, the block's folder, the file's name. None for other files.
pub fn parts(path: &str) -> Option<(Tenant, Uuid, &str, &str)> {
    let (folder, name) = path.rsplit_once('/')?;
    let mut names = folder.split('/');
    let (tenant, "blocks", _day, id, None) = (names.next()?, names.next()?, names.next()?, names.next()?, names.next())
    else {
        return None;
    };
    Some((Tenant::new(tenant).ok()?, Uuid::try_parse(id).ok()?, folder, name))
}
