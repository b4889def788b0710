//! Blocks that come and go by themselves: those of other collectors that share the store, and those that it did not give for a
//! while.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use clew_common::ids::Tenant;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    block::{Block, Cache},
    catalogue::{self, Folder},
    contents::{Contents, Foreign},
    owner::Owner,
    store::{Store, StoreError},
    sweep::Sweeper,
};

/// Looks at them now and then.
pub struct Refresher {
    contents: Arc<Contents>,
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
    owner: Owner,
    sweeper: Sweeper,
    /// Blocks that were opened by this and are still there, replaced ones too: none is opened each time.
    known: Mutex<HashMap<Uuid, Arc<Block>>>,
}

impl Refresher {
    /// Those in `store`; `owner` is this collector.
    pub fn new(
        contents: Arc<Contents>,
        store: Arc<dyn Store>,
        cache: Arc<Cache>,
        owner: Owner,
        sweeper: Sweeper,
    ) -> Self {
        Self { contents, store, cache, owner, sweeper, known: Mutex::default() }
    }

    /// Opens what could not be read before, though it may be whole. Blocking.
    pub fn reopen(&self) {
        for (tenant, blocks) in self.contents.blocks() {
            for (path, _) in blocks.damaged.iter().filter(|(_, error)| error.is_unavailable()) {
                match Block::open(self.store.clone(), path, self.cache.clone()) {
                    Ok(block) => self.reopened(&tenant, Arc::new(block)),
                    Err(error) if error.is_gone() => self.contents.gone(&tenant, path),
                    Err(error) => self.contents.damaged(&tenant, path, Arc::new(error)),
                }
            }
        }
    }

    fn reopened(&self, tenant: &Tenant, block: Arc<Block>) {
        tracing::info!(path = block.path(), "a block can be read again");
        let gone = self.contents.opened(tenant, block);
        let own = gone.iter().filter(|block| self.owner.owns(block.meta()));
        self.sweeper.later(own.map(|block| block.path().to_owned()));
    }

    /// Does that, lists the store and puts what the others have there now into the contents. Blocking. Not to be called by two at once.
    ///
    /// # Errors
    /// When the store cannot be listed. Blocks that cannot be opened are no error.
    pub fn refresh(&self) -> Result<(), StoreError> {
        self.reopen();
        if self.owner.is_sole() {
            return Ok(());
        }
        let mut listed = catalogue::list(&*self.store)?;
        listed.retain(|folder| folder.finished && !self.owner.has_begun(folder.id));
        let before = self.contents.blocks();
        let mut known = std::mem::take(&mut *self.known.lock());
        let whole = before.iter().flat_map(|(_, blocks)| &blocks.whole);
        known.extend(whole.map(|block| (block.meta().id, block.clone())));
        let there: HashSet<Uuid> = listed.iter().map(|folder| folder.id).collect();
        known.retain(|id, _| there.contains(id));

        let (new, old): (Vec<_>, Vec<_>) = listed.into_iter().partition(|folder| !known.contains_key(&folder.id));
        let mut tenants: HashMap<Tenant, Foreign> =
            before.iter().map(|(tenant, _)| (tenant.clone(), Foreign::default())).collect();
        let mut live: Vec<(Tenant, Arc<Block>)> = Vec::new();
        live.extend(old.into_iter().filter_map(|folder| Some((folder.tenant, known.get(&folder.id)?.clone()))));
        let opened = catalogue::open_all(&self.store, &self.cache, &new);
        for (Folder { tenant, id, path, .. }, opened) in new.into_iter().zip(opened) {
            match opened {
                Ok(block) => {
                    let block = Arc::new(block);
                    known.insert(id, block.clone());
                    let of_tenant = before.iter().find(|(of, _)| *of == tenant);
                    let missed =
                        of_tenant.is_some_and(|(_, blocks)| blocks.damaged.iter().any(|(missed, _)| *missed == path));
                    if missed && self.owner.owns(block.meta()) {
                        self.reopened(&tenant, block);
                    } else {
                        live.push((tenant, block));
                    }
                }
                // It was deleted meanwhile.
                Err(error) if error.is_gone() => {}
                Err(error) => tenants.entry(tenant).or_default().damaged.push((path, Arc::new(error))),
            }
        }
        live.retain(|(_, block)| !self.owner.owns(block.meta()));
        let replaced: HashSet<Uuid> = live.iter().flat_map(|(_, block)| &block.meta().replaces).copied().collect();
        for (tenant, block) in live.into_iter().filter(|(_, block)| !replaced.contains(&block.meta().id)) {
            tenants.entry(tenant).or_default().whole.push(block);
        }
        for (tenant, foreign) in tenants {
            self.contents.set_foreign(&tenant, foreign, &self.owner);
        }
        *self.known.lock() = known;
        Ok(())
    }
}
