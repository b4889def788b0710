//! Which batches of which agents are durable, so that one that comes again is acked and not stored.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use clew_common::{otlp::record::BatchKey, ranges::SeqRanges};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

/// The batches of all agents. Cheap to clone.
#[derive(Clone, Default)]
pub struct Batches(Arc<Mutex<Agents>>);

#[derive(Default)]
struct Agents {
    by_id: HashMap<Uuid, Agent>,
    /// Goes on at each stream.
    clock: u64,
}

/// So many agents are remembered. Each start of an agent has an id of its own; those whose last stream is the longest ago are
/// forgotten. Should one come back, it stores again what it sends again, which is dropped later.
const MAX_AGENTS: usize = 100_000;

/// An agent that sends to several collectors leaves each with ranges; past so many, those that it will never send again go.
const MAX_RANGES: usize = 1000;

struct Agent {
    durable: SeqRanges,
    pending: HashSet<u64>,
    /// Whether a batch of it was ever made durable here.
    stored: bool,
    /// When its last stream was opened.
    used: u64,
    /// Changes when `durable` does.
    news: watch::Sender<()>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            durable: SeqRanges::default(),
            pending: HashSet::new(),
            stored: false,
            used: 0,
            news: watch::channel(()).0,
        }
    }
}

impl Agent {
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.news.receiver_count() == 0
    }
}

impl Agents {
    /// Forgets those that were idle for the longest time, a tenth at once, when there are too many.
    fn make_room(&mut self) {
        if self.by_id.len() < MAX_AGENTS {
            return;
        }
        let mut idle: Vec<_> =
            self.by_id.iter().filter(|(_, agent)| agent.is_idle()).map(|(id, agent)| (agent.used, *id)).collect();
        idle.sort_unstable();
        for (_, id) in idle.into_iter().take(MAX_AGENTS / 10) {
            self.by_id.remove(&id);
        }
    }
}

/// Whether a batch has to be stored.
pub enum Claim {
    /// Yes, by whoever holds this.
    New(Claimed),
    /// No: it is durable.
    Durable,
    /// Somebody else is storing it. News will tell.
    Pending,
}

/// The right to store a batch. Dropped without `durable`, the batch may be claimed again.
pub struct Claimed {
    batches: Batches,
    key: BatchKey,
}

impl Claimed {
    /// Which batch.
    pub fn key(&self) -> BatchKey {
        self.key
    }

    /// Takes note that the batch is durable and can be found.
    pub fn durable(self) {
        self.batches.note(self.key);
        // Dropping it removes the claim.
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(agent) = self.batches.0.lock().by_id.get_mut(&self.key.agent) {
            agent.pending.remove(&self.key.seq);
        }
    }
}

impl Batches {
    /// Takes note that a batch is durable.
    pub fn note(&self, key: BatchKey) {
        let mut agents = self.0.lock();
        let agent = agents.by_id.entry(key.agent).or_default();
        agent.durable.insert(key.seq);
        agent.stored = true;
        agent.news.send_replace(());
    }

    /// Asks for the right to store a batch.
    pub fn claim(&self, key: BatchKey) -> Claim {
        let mut agents = self.0.lock();
        let agent = agents.by_id.entry(key.agent).or_default();
        if agent.durable.contains(key.seq) {
            Claim::Durable
        } else if agent.pending.insert(key.seq) {
            Claim::New(Claimed { batches: self.clone(), key })
        } else {
            Claim::Pending
        }
    }

    /// Gives what is durable of an agent's batches, with a watch that changes when more is. It says that it will never send one
    /// below `first_seq` again.
    pub fn agent(&self, agent: Uuid, first_seq: u64) -> (SeqRanges, watch::Receiver<()>) {
        let mut agents = self.0.lock();
        agents.make_room();
        agents.clock += 1;
        let used = agents.clock;
        let agent = agents.by_id.entry(agent).or_default();
        agent.used = used;
        agent.durable.thin_below(first_seq, MAX_RANGES);
        (agent.durable.clone(), agent.news.subscribe())
    }

    /// Takes note that an agent says that it will never send a batch below `first_seq` again. What is known of those is kept
    /// while it is little: an agent that runs on a copy of its folder may send them all the same.
    pub fn forget_below(&self, agent: Uuid, first_seq: u64) {
        if let Some(agent) = self.0.lock().by_id.get_mut(&agent) {
            agent.durable.thin_below(first_seq, MAX_RANGES);
        }
    }

    /// Takes note that a stream of an agent has ended, whose news were `news`. Of one that never had anything stored nothing
    /// need be kept: ids that come once do not add up.
    pub fn leave(&self, agent: Uuid, news: watch::Receiver<()>) {
        drop(news);
        let mut agents = self.0.lock();
        if agents.by_id.get(&agent).is_some_and(|agent| !agent.stored && agent.is_idle()) {
            agents.by_id.remove(&agent);
        }
    }

    /// What is durable of every agent that has something stored here.
    pub fn export(&self) -> Vec<(Uuid, SeqRanges)> {
        let agents = self.0.lock();
        agents.by_id.iter().filter(|(_, agent)| agent.stored).map(|(id, agent)| (*id, agent.durable.clone())).collect()
    }

    /// Takes note of what `export` gave before the process started.
    pub fn import(&self, agents: Vec<(Uuid, SeqRanges)>) {
        let mut all = self.0.lock();
        for (id, durable) in agents {
            let agent = all.by_id.entry(id).or_default();
            agent.stored = true;
            agent.durable.insert_below(durable.upto());
            durable.above().for_each(|range| agent.durable.insert_range(range));
        }
    }

    /// How many agents are remembered.
    pub fn agents(&self) -> usize {
        self.0.lock().by_id.len()
    }

    /// What is durable of an agent.
    pub fn durable(&self, agent: Uuid) -> SeqRanges {
        self.0.lock().by_id.get(&agent).map(|agent| agent.durable.clone()).unwrap_or_default()
    }
}
