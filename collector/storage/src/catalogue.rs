//! Finds the blocks of a store at start. Nothing but metas and filters is read.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use clew_common::{backoff::Backoff, ids::Tenant, log::Work, world::World};
use uuid::Uuid;

use crate::{
    block::{Block, BlockError, Cache, META},
    contents::Blocks,
    owner::Owner,
    store::{Store, StoreError},
};

/// Blocks are opened by so many threads: on an object store opening is waiting.
const OPENERS: usize = 8;
/// What the store does not give at start is asked for so often,
const TRIES: usize = 8;
/// and for so long, about: each request has been repeated for up to a minute by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a store holds.
#[derive(Default)]
pub struct Catalogue {
    /// Each tenant's blocks.
    pub blocks: HashMap<Tenant, Blocks>,
    /// Folders of blocks that another one replaces, or that were never finished: they can go. Only of the owner's own: what
    /// looks the same of another collector may be what it writes just now.
    pub leftovers: Vec<String>,
    /// The store did not give all that it has: what blocks hold is not known in full.
    pub in_doubt: bool,
}

/// A block's folder.
#[derive(Clone)]
pub struct Folder {
    /// Whose spans.
    pub tenant: Tenant,
    /// The block's.
    pub id: Uuid,
    /// In the store.
    pub path: String,
    /// Whether it has a meta.
    pub finished: bool,
}

/// Lists a store and opens its blocks. Damaged ones are no error, and those that the store does not give now are tried a few times.
///
/// # Errors
/// When the store cannot be listed.
pub fn open(store: &Arc<dyn Store>, cache: &Arc<Cache>, owner: &Owner, world: &World) -> Result<Catalogue, StoreError> {
    let mut catalogue = Catalogue::default();
    let (whole, unfinished): (Vec<_>, Vec<_>) = list(&**store)?.into_iter().partition(|folder| folder.finished);
    catalogue.leftovers.extend(unfinished.into_iter().filter(|it| owner.has_begun(it.id)).map(|it| it.path));
    let opened = open_patiently(store, cache, &whole, world);
    let replaced: HashSet<Uuid> =
        opened.iter().flatten().flat_map(|block| block.meta().replaces.iter().copied()).collect();
    for (Folder { tenant, path, .. }, opened) in whole.into_iter().zip(opened) {
        match opened {
            Ok(block) if replaced.contains(&block.meta().id) => {
                if owner.owns(block.meta()) {
                    catalogue.leftovers.push(path);
                }
            }
            Ok(block) => catalogue.blocks.entry(tenant).or_default().whole.push(Arc::new(block)),
            // Another collector deleted it meanwhile.
            Err(error) if error.is_gone() => {}
            Err(error) => {
                if error.is_unavailable() {
                    catalogue.in_doubt = true;
                    tracing::error!(path, %error, "a block cannot be read now: answers are partial until it can");
                } else {
                    tracing::error!(path, %error, "a block cannot be read: answers are partial; `clew verify --repair` sets it aside");
                }
                catalogue.blocks.entry(tenant).or_default().damaged.push((path, Arc::new(error)));
            }
        }
    }
    Ok(catalogue)
}

/// Opens blocks, and those that may be read later again a few times.
fn open_patiently(
    store: &Arc<dyn Store>,
    cache: &Arc<Cache>,
    folders: &[Folder],
    world: &World,
) -> Vec<Result<Block, BlockError>> {
    let mut opened = open_all(store, cache, folders);
    let (begun, mut backoff) = (Instant::now(), Backoff::new(Duration::from_millis(100), Duration::from_secs(5)));
    for _ in 0..TRIES {
        let is_retryable = |opened: &Result<Block, BlockError>| opened.as_ref().is_err_and(BlockError::is_retryable);
        let again: Vec<usize> = (0..opened.len()).filter(|at| is_retryable(&opened[*at])).collect();
        if again.is_empty() || begun.elapsed() > PATIENCE {
            break;
        }
        tracing::warn!(blocks = again.len(), "the store does not give these blocks now: trying again");
        if world.work == Work::Threads {
            std::thread::sleep(backoff.next(&world.random));
        }
        let folders: Vec<Folder> = again.iter().map(|at| folders[*at].clone()).collect();
        for (at, outcome) in again.into_iter().zip(open_all(store, cache, &folders)) {
            opened[at] = outcome;
        }
    }
    opened
}

/// All folders of blocks, in order of tenant and age.
///
/// # Errors
/// When the store cannot be listed.
pub fn list(store: &dyn Store) -> Result<Vec<Folder>, StoreError> {
    let mut folders: BTreeMap<(Tenant, Uuid), (String, bool)> = BTreeMap::new();
    for file in store.list("")? {
        if let Some((tenant, id, folder, name)) = parts(&file.path) {
            folders.entry((tenant, id)).or_insert_with(|| (folder.to_owned(), false)).1 |= name == META;
        }
    }
    let folder = |((tenant, id), (path, finished))| Folder { tenant, id, path, finished };
    Ok(folders.into_iter().map(folder).collect())
}

/// Opens blocks, several at once; outcomes are in the order of the folders.
pub fn open_all(store: &Arc<dyn Store>, cache: &Arc<Cache>, folders: &[Folder]) -> Vec<Result<Block, BlockError>> {
    let open = |folder: &Folder| Block::open(store.clone(), &folder.path, cache.clone());
    if folders.len() < 2 {
        return folders.iter().map(open).collect();
    }
    let open = &open;
    std::thread::scope(|scope| {
        let openers: Vec<_> = folders
            .chunks(folders.len().div_ceil(OPENERS))
            .map(|folders| scope.spawn(move || folders.iter().map(open).collect::<Vec<_>>()))
            .collect();
        let opened =
            openers.into_iter().map(|opener| opener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        opened.flatten().collect::<Vec<_>>()
    })
}

/// The block in a folder that an attempt with an unknown outcome was to write; None when it has to be written again.
///
/// # Errors
/// When the store does not tell.
pub fn attempted(store: &Arc<dyn Store>, cache: &Arc<Cache>, path: &str) -> Result<Option<Block>, BlockError> {
    match Block::open(store.clone(), path, cache.clone()) {
        Err(error) if error.is_unavailable() => Err(error),
        opened => Ok(opened.ok()),
    }
}

/// The block of a folder, by its name.
pub fn id_of(folder: &str) -> Option<Uuid> {
    Uuid::try_parse(folder.rsplit('/').next()?).ok()
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
