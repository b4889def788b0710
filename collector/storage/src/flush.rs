//! Turns a sealed generation into blocks, one for each tenant.

use std::sync::Arc;

use clew_common::{ids::Tenant, world::World};
use parking_lot::Mutex;

use crate::{
    block::{Block, BlockError, BlockWriter, Cache, Layout, Spec, WalRange, WriteError},
    catalogue,
    contents::Contents,
    memtable::{Generation, Table, open_all},
    owner::Owner,
    retention::SteadyClock,
    stats::{Counts, Event},
    store::Store,
    wal::Wal,
};

/// Where blocks go.
#[derive(Clone)]
pub struct Flusher {
    /// What can be found.
    pub contents: Arc<Contents>,
    /// Where blocks live.
    pub store: Arc<dyn Store>,
    /// For reading them.
    pub cache: Arc<Cache>,
    /// Where the spans come from.
    pub wal: Wal,
    /// Chance, for ids.
    pub world: World,
    /// Whose blocks they are.
    pub owner: Owner,
    /// How files are cut.
    pub layout: Layout,
    /// For failures.
    pub counts: Arc<Counts>,
    /// When blocks are made.
    pub clock: Arc<Mutex<SteadyClock>>,
}

/// Why a generation could not be made into blocks. It stays in memory, and in the WAL.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// A block cannot be written.
    #[error("cannot write a block: {0}")]
    Write(#[from] WriteError),
    /// It cannot be read back.
    #[error("cannot read the block that was just written: {0}")]
    Read(#[from] BlockError),
}

impl FlushError {
    /// Whether it may go better later: always when another machine says no. Spans wait in memory and in the WAL, then senders.
    pub fn may_pass(&self, store: &dyn Store) -> bool {
        match self {
            Self::Write(error) => error.is_retryable() || store.is_remote() && error.is_of_store(),
            Self::Read(error) => error.is_retryable() || store.is_remote(),
        }
    }
}

impl Flusher {
    /// Flushes the oldest sealed generation; says whether there was one. Blocking. Each tenant's spans move into its block
    /// in one step, so that after an error the rest can be tried again: under the same id, since a block may be there though
    /// its writing seemed to fail.
    ///
    /// # Errors
    /// Those of the store.
    pub fn flush_oldest(&self) -> Result<bool, FlushError> {
        let Some(generation) = self.contents.oldest_sealed() else { return Ok(false) };
        for (tenant, table) in generation.tables() {
            self.flush(&generation, &tenant, &table).inspect_err(|error| {
                let is_of_store = !matches!(error, FlushError::Write(error) if !error.is_of_store());
                self.counts.add(Event::FlushFailure, if is_of_store { "store" } else { "spans" }, 1);
            })?;
        }
        drop(generation);
        Ok(true)
    }

    fn flush(&self, generation: &Arc<Generation>, tenant: &Tenant, table: &Table) -> Result<(), FlushError> {
        let started = std::time::Instant::now();
        let inputs = open_all(&table.all(), self.world.work, &|| true);
        let begin = || (self.owner.block_id(&self.world), self.clock.lock().about_ms());
        let ((id, created_ms), again) = table.block(begin);
        let spec = Spec {
            id,
            tenant: tenant.clone(),
            level: 0,
            created_ms,
            wal: self.wal.sources(&table.seqs()).iter().map(|(log, seqs)| WalRange::of(*log, seqs)).collect(),
            replaces: Vec::new(),
            may_duplicate: table.may_duplicate(),
            owner: Some(self.owner.id()),
        };
        let path = spec.path();
        // An attempt that failed may have got further than its error says.
        let block = match again.then(|| catalogue::attempted(&self.store, &self.cache, &path)).transpose()?.flatten() {
            Some(block) => block,
            None => {
                BlockWriter::write_all(&self.store, &spec, &inputs, &table.resources(), self.layout)?;
                Block::open(self.store.clone(), &path, self.cache.clone())?
            }
        };
        tracing::debug!(%tenant, path, spans = block.meta().spans, took_ms = started.elapsed().as_millis() as u64, "wrote a block");
        self.contents.flushed(generation, tenant, Arc::new(block));
        Ok(())
    }
}
