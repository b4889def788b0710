//! What can be found at one instant: the generations in memory and the blocks of each tenant, behind one lock. Spans move
//! from memory into a block, and from blocks into another one, in one step that no reader sees half of.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use clew_common::ids::Tenant;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    block::{Block, BlockError},
    catalogue,
    memtable::{Arrival, Generation, Table},
    owner::Owner,
};

/// Blocks of a tenant, and those that cannot be read.
#[derive(Clone, Default)]
pub struct Blocks {
    /// Those that can be read, in the order of their ids: oldest first.
    pub whole: Vec<Arc<Block>>,
    /// Those that cannot, or not in full: where, and why. Answers are partial while there are any.
    pub damaged: Vec<(String, Arc<BlockError>)>,
}

/// A tenant's blocks of other collectors.
#[derive(Default)]
pub struct Foreign {
    /// Those that can be read.
    pub whole: Vec<Arc<Block>>,
    /// Those that cannot.
    pub damaged: Vec<(String, Arc<BlockError>)>,
}

/// What can be found. Everybody's way to it is this one lock, held for moves in memory only.
pub struct Contents {
    state: RwLock<State>,
    /// Appends on their way into the WAL: for each the lowest number that its record can get.
    coming: Mutex<Coming>,
    /// Changes when there is something new in memory.
    news: watch::Sender<()>,
    /// Changes when there may be memory for more.
    freed: watch::Sender<()>,
}

#[derive(Default)]
struct Coming {
    next: u64,
    lowest: BTreeMap<u64, u64>,
}

struct State {
    active: Arc<Generation>,
    /// How many were sealed before it.
    number: u64,
    /// Oldest first.
    sealed: Vec<Arc<Generation>>,
    blocks: HashMap<Tenant, Arc<Blocks>>,
}

impl State {
    /// A tenant without blocks is none.
    fn forget_if_empty(&mut self, tenant: &Tenant) {
        if self.blocks.get(tenant).is_some_and(|blocks| blocks.whole.is_empty() && blocks.damaged.is_empty()) {
            self.blocks.remove(tenant);
        }
    }
}

/// An append on its way into the WAL.
pub struct Ticket {
    contents: Arc<Contents>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.contents.coming.lock().lowest.remove(&self.number);
    }
}

/// A tenant's share of an instant.
#[derive(Clone)]
pub struct Instant {
    /// Tables in memory, each with the places of the batches that count; oldest first.
    pub tables: Vec<(Arc<Table>, Range<usize>)>,
    /// What is in blocks.
    pub blocks: Arc<Blocks>,
}

/// A tenant's share of an instant, for those who follow it.
pub struct Numbered {
    /// Tables in memory, each with the number of its generation and how many batches it has; oldest first.
    pub tables: Vec<(u64, Arc<Table>, usize)>,
    /// The generations in memory, by number. Numbers grow and are never used again, until the process ends.
    pub generations: RangeInclusive<u64>,
    /// What is in blocks.
    pub blocks: Arc<Blocks>,
}

impl Contents {
    /// With these blocks, and nothing in memory.
    pub fn new(blocks: HashMap<Tenant, Blocks>) -> Self {
        let blocks = blocks.into_iter().map(|(tenant, blocks)| (tenant, Arc::new(blocks))).collect();
        Self {
            state: RwLock::new(State { active: Arc::new(Generation::begin()), number: 0, sealed: Vec::new(), blocks }),
            coming: Mutex::default(),
            news: watch::Sender::default(),
            freed: watch::Sender::default(),
        }
    }

    /// Announces an append, whose record will get the number `lowest` or a higher one.
    pub fn announce(self: &Arc<Self>, lowest: u64) -> Ticket {
        let mut coming = self.coming.lock();
        let number = coming.next;
        coming.next += 1;
        coming.lowest.insert(number, lowest);
        Ticket { contents: self.clone(), number }
    }

    /// Publishes the spans of a WAL record. `noted` runs in the same step: what it does is done for every record of a
    /// sealed generation.
    pub fn publish(&self, tenant: &Tenant, seq: u64, redelivery: bool, arrival: Arrival, noted: impl FnOnce()) {
        let state = self.state.read();
        state.active.publish(tenant, seq, redelivery, arrival);
        noted();
        drop(state);
        if self.news.receiver_count() > 0 {
            self.news.send_replace(());
        }
    }

    /// Changes whenever something was published.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Changes whenever there may be memory for more spans.
    pub fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// There may be memory for those who wait for some.
    pub fn tell_freed(&self) {
        if self.freed.receiver_count() > 0 {
            self.freed.send_replace(());
        }
    }

    /// The active generation.
    pub fn active(&self) -> Arc<Generation> {
        self.state.read().active.clone()
    }

    /// Bytes and batches of all generations.
    pub fn memory(&self) -> (usize, usize) {
        let state = self.state.read();
        let all = || state.sealed.iter().chain([&state.active]);
        (all().map(|generation| generation.bytes()).sum(), all().map(|generation| generation.batches()).sum())
    }

    /// Makes columns of what a start has left as it came, for as long as `go_on` says yes. The newest first: blocks are made of the oldest.
    pub fn open_packed(&self, go_on: impl Fn() -> bool) {
        let state = self.state.read();
        let generations: Vec<_> = [&state.active].into_iter().chain(state.sealed.iter().rev()).cloned().collect();
        drop(state);
        let tables = generations.iter().flat_map(|generation| generation.tables());
        let batches = tables.flat_map(|(_, table)| table.all()).filter(|batch| !batch.is_open());
        for batch in batches.take_while(|_| go_on()) {
            batch.columns();
        }
    }

    /// Ends the active generation, unless it is empty.
    pub fn seal(&self) {
        let mut state = self.state.write();
        if state.active.batches() > 0 {
            let sealed = std::mem::replace(&mut state.active, Arc::new(Generation::begin()));
            state.sealed.push(sealed);
            state.number += 1;
        }
    }

    /// The oldest sealed generation.
    pub fn oldest_sealed(&self) -> Option<Arc<Generation>> {
        self.state.read().sealed.first().cloned()
    }

    /// A tenant's batches of a sealed generation have become this block.
    pub fn flushed(&self, generation: &Arc<Generation>, tenant: &Tenant, block: Arc<Block>) {
        let mut state = self.state.write();
        if generation.remove(tenant) {
            state.sealed.retain(|sealed| !Arc::ptr_eq(sealed, generation));
        }
        let blocks = Arc::make_mut(state.blocks.entry(tenant.clone()).or_default());
        blocks.whole.push(block);
        blocks.whole.sort_by_key(|block| block.meta().id);
        drop(state);
        self.tell_freed();
    }

    /// A tenant's blocks with these ids are gone, and `by` is there in their place.
    pub fn replace(&self, tenant: &Tenant, gone: &[Uuid], by: Option<Arc<Block>>) {
        let mut state = self.state.write();
        let blocks = Arc::make_mut(state.blocks.entry(tenant.clone()).or_default());
        blocks.whole.retain(|block| !gone.contains(&block.meta().id));
        blocks.damaged.retain(|(path, _)| !catalogue::id_of(path).is_some_and(|id| gone.contains(&id)));
        blocks.whole.extend(by);
        blocks.whole.sort_by_key(|block| block.meta().id);
        state.forget_if_empty(tenant);
    }

    /// A block that could not be read before can be read now. Gives those that are not to be found any more: the ones that it
    /// replaces, or itself, if another one has replaced it.
    pub fn opened(&self, tenant: &Tenant, block: Arc<Block>) -> Vec<Arc<Block>> {
        let mut state = self.state.write();
        let blocks = Arc::make_mut(state.blocks.entry(tenant.clone()).or_default());
        blocks.damaged.retain(|(path, _)| path != block.path());
        if blocks.whole.iter().any(|other| other.meta().replaces.contains(&block.meta().id)) {
            return vec![block];
        }
        let replaced = |other: &mut Arc<Block>| block.meta().replaces.contains(&other.meta().id);
        let gone = blocks.whole.extract_if(.., replaced).collect();
        blocks.whole.push(block);
        blocks.whole.sort_by_key(|block| block.meta().id);
        gone
    }

    /// A block cannot be read, for this reason: in part, or not at all.
    pub fn damaged(&self, tenant: &Tenant, path: &str, error: Arc<BlockError>) {
        let mut state = self.state.write();
        let blocks = Arc::make_mut(state.blocks.entry(tenant.clone()).or_default());
        blocks.damaged.retain(|(other, _)| other != path);
        blocks.damaged.push((path.to_owned(), error));
    }

    /// A block that could not be read is no longer there.
    pub fn gone(&self, tenant: &Tenant, path: &str) {
        let mut state = self.state.write();
        Arc::make_mut(state.blocks.entry(tenant.clone()).or_default()).damaged.retain(|(other, _)| other != path);
        state.forget_if_empty(tenant);
    }

    /// A tenant's blocks of other collectors than `owner` are these now.
    pub fn set_foreign(&self, tenant: &Tenant, foreign: Foreign, owner: &Owner) {
        let is_foreign = |path: &str| !catalogue::id_of(path).is_some_and(|id| owner.has_begun(id));
        let mut state = self.state.write();
        let blocks = state.blocks.entry(tenant.clone()).or_default();
        let had = blocks.whole.iter().any(|block| !owner.owns(block.meta()))
            || blocks.damaged.iter().any(|(path, _)| is_foreign(path));
        if !had && foreign.whole.is_empty() && foreign.damaged.is_empty() {
            state.forget_if_empty(tenant);
            return;
        }
        let blocks = Arc::make_mut(blocks);
        blocks.whole.retain(|block| owner.owns(block.meta()));
        let own: HashSet<&str> = blocks.whole.iter().map(|block| block.path()).collect();
        let before = std::mem::take(&mut blocks.damaged);
        let (kept, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|(path, _)| !is_foreign(path) || own.contains(path.as_str()));
        for (path, error) in &foreign.damaged {
            if gone.iter().all(|(known, _)| known != path) {
                tracing::error!(path, %error, "a block of another collector cannot be read: answers are partial");
            }
        }
        blocks.damaged = kept;
        blocks.damaged.extend(foreign.damaged);
        blocks.whole.extend(foreign.whole);
        blocks.whole.sort_by_key(|block| block.meta().id);
        state.forget_if_empty(tenant);
    }

    /// This instant, for a tenant.
    pub fn instant(&self, tenant: &Tenant) -> Instant {
        let state = self.state.read();
        let tables = state.sealed.iter().chain([&state.active]).filter_map(|generation| generation.table(tenant));
        let tables = tables.map(|table| {
            let places = 0..table.len();
            (table, places)
        });
        Instant { tables: tables.collect(), blocks: state.blocks.get(tenant).cloned().unwrap_or_default() }
    }

    /// This instant, for a tenant, with the numbers of generations.
    pub fn numbered(&self, tenant: &Tenant) -> Numbered {
        let state = self.state.read();
        let first = state.number - state.sealed.len() as u64;
        let generations = (first..).zip(state.sealed.iter().chain([&state.active]));
        let tables = generations.filter_map(|(number, generation)| Some((number, generation.table(tenant)?)));
        let tables = tables.map(|(number, table)| {
            let batches = table.len();
            (number, table, batches)
        });
        Numbered {
            tables: tables.collect(),
            generations: first..=state.number,
            blocks: state.blocks.get(tenant).cloned().unwrap_or_default(),
        }
    }

    /// Whether a tenant has something here, or fewer than `max` others have. Those whose first spans are on their way do not count yet.
    pub fn admits(&self, tenant: &Tenant, max: usize) -> bool {
        let state = self.state.read();
        let generations = || state.sealed.iter().chain([&state.active]);
        if state.blocks.contains_key(tenant) || generations().any(|generation| generation.table(tenant).is_some()) {
            return true;
        }
        let mut fresh = HashSet::new();
        for generation in generations() {
            if state.blocks.len() + fresh.len() >= max {
                return false;
            }
            generation.tenants(&mut fresh, |tenant| !state.blocks.contains_key(tenant));
        }
        state.blocks.len() + fresh.len() < max
    }

    /// All tenants with their blocks.
    pub fn blocks(&self) -> Vec<(Tenant, Arc<Blocks>)> {
        self.state.read().blocks.iter().map(|(tenant, blocks)| (tenant.clone(), blocks.clone())).collect()
    }

    /// Every WAL record below this number was published; `committed` are durable.
    pub fn published(&self, committed: u64) -> u64 {
        self.coming.lock().lowest.values().copied().fold(committed, u64::min)
    }

    /// The lowest number of a WAL record that is not, or may not be, in a block; `committed` when all are.
    pub fn first_needed(&self, committed: u64) -> u64 {
        let state = self.state.write();
        let coming = self.coming.lock();
        let memory = state.sealed.iter().chain([&state.active]).filter_map(|generation| generation.first_seq());
        memory.chain(coming.lowest.values().copied()).fold(committed, u64::min)
    }
}
