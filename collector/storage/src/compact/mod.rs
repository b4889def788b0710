//! Merges small blocks into large ones, on a thread of its own, beside ingest.
//!
//! `pick` chooses, `room` looks for room on the disk, `Compactor` writes their merge and puts it in their place. The blocks that were merged stay on the store for a while, for the queries that read them: `sweep`
//! deletes them later. A crash leaves all data once at every point: the merged block's meta, written last, names the blocks that
//! it replaces.

mod pick;
mod room;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use clew_common::{ids::Tenant, threads::NoThreads, world::World};
use parking_lot::Mutex;
use uuid::Uuid;

pub use self::room::Room;
use crate::{
    block::{self, Block, BlockError, BlockWriter, Cache, Layout, Meta, Spec, WalRange, WriteError},
    catalogue,
    compact::pick::{Candidate, Job},
    contents::{Blocks, Contents},
    owner::Owner,
    stats::{Counts, Event},
    store::Store,
    sweep::Sweeper,
};

/// How much is read and written at a time.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Rows of all inputs together that are put into order at a time, about.
    pub window_rows: usize,
    /// Of the merged blocks.
    pub layout: Layout,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { window_rows: 32_000, layout: Layout::default() }
    }
}

/// Merges blocks.
#[derive(Clone)]
pub struct Compactor {
    /// What can be found.
    pub contents: Arc<Contents>,
    /// Where blocks live.
    pub store: Arc<dyn Store>,
    /// For reading the merged ones.
    pub cache: Arc<Cache>,
    /// Deletes what was merged.
    pub sweeper: Sweeper,
    /// Time and chance.
    pub world: World,
    /// Whose blocks are merged.
    pub owner: Owner,
    /// How much is in memory.
    pub sizes: Sizes,
    /// The merge that failed last: its block may be there all the same.
    pub unsettled: Arc<Mutex<Option<Attempt>>>,
    /// Blocks that a merge would fail with, for another reason than that they are damaged.
    pub left_out: Arc<Mutex<HashSet<Uuid>>>,
    /// For failures.
    pub counts: Arc<Counts>,
    /// Room on the disk.
    pub room: Room,
}

/// A merge with an unknown outcome.
#[derive(Clone)]
pub struct Attempt {
    tenant: Tenant,
    job: Job,
    /// Of the block that it makes.
    id: Uuid,
    path: String,
}

/// Why blocks could not be merged. They stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// An input cannot be read.
    #[error("cannot read a block to merge it: {0}")]
    Read(#[from] BlockError),
    /// The output cannot be written.
    #[error("cannot write the merged block: {0}")]
    Write(WriteError),
    /// The inputs did not give all that their metas say.
    #[error("the blocks have {read} spans to merge, and should have {said}")]
    Incomplete {
        /// Spans that they gave.
        read: u64,
        /// Spans that they should have.
        said: u64,
    },
    /// The process stops.
    #[error("the process stops")]
    Stopped,
    /// There is no thread to merge on.
    #[error(transparent)]
    Threads(#[from] NoThreads),
}

impl From<WriteError> for CompactError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Read(error) => Self::Read(error),
            error => Self::Write(error),
        }
    }
}

impl CompactError {
    /// The reason in metrics; None when it is no failure.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) if !error.is_unavailable() => Some("damaged"),
            Self::Write(error) if !error.is_of_store() => Some("spans"),
            Self::Read(_) | Self::Write(_) => Some("store"),
            Self::Incomplete { .. } => Some("spans"),
            Self::Stopped | Self::Threads(_) => None,
        }
    }

    /// Whether the same merge would fail in the same way.
    fn will_last(&self) -> bool {
        match self {
            Self::Read(error) => !error.is_unavailable(),
            Self::Write(error) => !error.is_of_store(),
            Self::Incomplete { .. } => true,
            Self::Stopped | Self::Threads(_) => false,
        }
    }
}

impl Compactor {
    /// Merges once, if there is something to merge; says whether there was. Blocking. `pause` is called before each column is read.
    ///
    /// # Errors
    /// When a block cannot be read or written, and when `pause` says so.
    pub fn step(&self, mut pause: impl FnMut() -> Result<(), CompactError>) -> Result<bool, CompactError> {
        if self.settle(&mut pause)? {
            return Ok(true);
        }
        if self.unsettled.lock().is_some() {
            return Ok(false);
        }
        let mut missing = 0;
        for (tenant, blocks) in self.contents.blocks() {
            let Some(job) = self.job(&blocks) else { continue };
            match self.missing(&blocks, &job)? {
                0 => {
                    self.try_merge(&tenant, &blocks, &job, None, &mut pause)?;
                    return Ok(true);
                }
                // Another tenant's may need less.
                bytes => missing = missing.max(bytes),
            }
        }
        self.note_missing(missing);
        Ok(false)
    }

    /// Whether there is something to merge.
    pub fn has_work(&self) -> bool {
        self.unsettled.lock().is_some() || self.contents.blocks().iter().any(|(_, blocks)| self.job(blocks).is_some())
    }

    fn job(&self, blocks: &Blocks) -> Option<Job> {
        let today = self.world.clock.unix_ms() / DAY_MS;
        if is_in_doubt(blocks) { None } else { pick::pick(&self.candidates(blocks), today) }
    }

    /// Whether so many blocks wait to be merged that merges must not give way any longer: they would never become fewer.
    pub fn is_behind(&self) -> bool {
        let new = |blocks: &Blocks| self.candidates(blocks).iter().filter(|block| block.level == 0).count();
        self.contents.blocks().iter().any(|(_, blocks)| new(blocks) > MANY)
    }

    /// Bytes that the disk has too few of for a merge.
    fn missing(&self, blocks: &Blocks, job: &Job) -> Result<u64, WriteError> {
        let inputs = blocks.whole.iter().filter(|block| job.inputs.contains(&block.meta().id));
        Ok(self.room.missing(&*self.store, inputs.map(|block| block.meta().bytes()).sum())?)
    }

    fn note_missing(&self, bytes: u64) {
        let missed_before = self.room.note(bytes);
        if bytes > 0 && !missed_before {
            self.counts.add(Event::MergeWait, "disk", 1);
            let missing_mib = bytes.div_ceil(1 << 20);
            tracing::warn!(missing_mib, "the disk has no room for a merge: blocks stay as they are until it has");
        } else if bytes == 0 && missed_before {
            tracing::info!("the disk has room for merges again");
        }
    }

    /// Merges, or leaves out from now on what would only fail again: the other blocks must not wait for it.
    fn try_merge(
        &self,
        tenant: &Tenant,
        blocks: &Blocks,
        job: &Job,
        again: Option<Uuid>,
        pause: &mut impl FnMut() -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        let merged = self.merge(tenant, blocks, job, again, pause);
        if let Some(reason) = merged.as_ref().err().and_then(CompactError::reason) {
            self.counts.add(Event::MergeFailure, reason, 1);
        }
        let error = match merged {
            Err(error) if error.will_last() => error,
            merged => return merged,
        };
        let damaged = |error: &BlockError| blocks.whole.iter().find(|block| error.path.starts_with(block.path()));
        let block = if let CompactError::Read(error) = &error { damaged(error) } else { None };
        match (block, error) {
            (Some(block), CompactError::Read(error)) => {
                tracing::error!(%tenant, %error, "a block cannot be merged: answers are partial; `clew verify --repair` sets it aside");
                self.contents.damaged(tenant, block.path(), Arc::new(error));
            }
            (_, error) => {
                tracing::error!(%tenant, %error, "these blocks will not be merged: {:?}", job.inputs);
                self.left_out.lock().extend(&job.inputs);
            }
        }
        Ok(())
    }

    /// Merges what could not be merged, once more and under the same id; says whether there was any. When the inputs are no
    /// longer what they were, or the disk has no room, whatever there is of the block goes: another merge may take some of them.
    fn settle(&self, pause: &mut impl FnMut() -> Result<(), CompactError>) -> Result<bool, CompactError> {
        let Some(attempt) = self.unsettled.lock().clone() else { return Ok(false) };
        let blocks = self.contents.instant(&attempt.tenant).blocks;
        if is_in_doubt(&blocks) {
            return Ok(false);
        }
        let there = self.candidates(&blocks);
        let are_there = attempt.job.inputs.iter().all(|input| there.iter().any(|block| block.id == *input));
        // Without room, what there is of it would keep others from having some.
        if are_there && self.missing(&blocks, &attempt.job)? == 0 {
            self.try_merge(&attempt.tenant, &blocks, &attempt.job, Some(attempt.id), pause)?;
            return Ok(true);
        }
        self.sweeper.delete(&attempt.path).map_err(WriteError::from)?;
        *self.unsettled.lock() = None;
        Ok(false)
    }

    fn merge(
        &self,
        tenant: &Tenant,
        blocks: &Blocks,
        job: &Job,
        again: Option<Uuid>,
        pause: &mut impl FnMut() -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        let started = std::time::Instant::now();
        let inputs: Vec<_> = blocks.whole.iter().filter(|block| job.inputs.contains(&block.meta().id)).collect();
        let metas = || inputs.iter().map(|block| &**block.meta());
        let spec = Spec {
            id: again.unwrap_or_else(|| self.owner.block_id(&self.world)),
            tenant: tenant.clone(),
            level: job.level,
            // The age of the data, not of the file.
            created_ms: metas().map(|meta| meta.created_ms).max().unwrap_or_default(),
            wal: WalRange::union(metas().flat_map(|meta| &meta.wal)),
            // Also those that were replaced before: their files may outlive the blocks that say so.
            replaces: metas().flat_map(|meta| meta.replaces.iter().copied().chain([meta.id])).collect(),
            may_duplicate: metas().any(|meta| meta.may_duplicate),
            owner: Some(self.owner.id()),
        };
        let path = spec.path();
        let attempt = Attempt { tenant: tenant.clone(), job: job.clone(), id: spec.id, path: path.clone() };
        *self.unsettled.lock() = Some(attempt);
        let former = again.map(|_| catalogue::attempted(&self.store, &self.cache, &path)).transpose()?.flatten();
        let block = match former {
            Some(block) => block,
            None => self.write(&spec, &inputs, pause)?,
        };
        let (took_ms, spans) = (started.elapsed().as_millis() as u64, block.meta().spans);
        tracing::info!(%tenant, path, level = job.level, inputs = inputs.len(), spans, took_ms, "merged blocks");
        self.contents.replace(tenant, &job.inputs, Some(Arc::new(block)));
        self.sweeper.later(inputs.iter().map(|block| block.path().to_owned()));
        *self.unsettled.lock() = None;
        Ok(())
    }

    fn write(
        &self,
        spec: &Spec,
        inputs: &[&Arc<Block>],
        pause: &mut impl FnMut() -> Result<(), CompactError>,
    ) -> Result<Block, CompactError> {
        let metas = || inputs.iter().map(|block| &**block.meta());
        let mut resources = std::collections::HashMap::new();
        for block in inputs {
            resources.extend(block.resources()?.iter().map(|(id, resource)| (*id, resource.clone())));
        }
        let mut write = |layout: Layout| {
            let mut writer = BlockWriter::create(self.store.clone(), spec, metas(), layout)?;
            let sizes = (self.sizes.window_rows, layout.group_rows);
            block::merge(&mut writer, inputs.iter().map(|block| &***block), sizes, &mut *pause)?;
            let read = writer.taken();
            let said: u64 = metas().map(|meta| meta.spans).sum();
            if read != said {
                return Err(CompactError::Incomplete { read, said });
            }
            writer.finish(resources.values())?;
            Ok(())
        };
        let spans = metas().map(|meta| meta.spans).sum();
        let lasts = pick::is_last(spec.level, spans);
        let mut layout = if lasts { self.sizes.layout.lasting() } else { self.sizes.layout };
        loop {
            match (write(layout), layout.with_fewer_shapes()) {
                (Err(CompactError::Write(WriteError::TooManyShapes)), Some(fewer)) => layout = fewer,
                (written, _) => {
                    written?;
                    return Ok(Block::open(self.store.clone(), &spec.path(), self.cache.clone())?);
                }
            }
        }
    }

    fn candidates(&self, blocks: &Blocks) -> Vec<Candidate> {
        let left_out = self.left_out.lock();
        let fit = |block: &&Arc<Block>| {
            self.owner.owns(block.meta())
                && !left_out.contains(&block.meta().id)
                && blocks.damaged.iter().all(|(path, _)| path != block.path())
        };
        let metas = blocks.whole.iter().filter(fit).map(|block| block.meta());
        let of = |meta: &Arc<Meta>| Candidate {
            id: meta.id,
            day: meta.created_ms / DAY_MS,
            level: meta.level,
            spans: meta.spans,
        };
        metas.map(of).collect()
    }
}

/// A block that cannot be read now may be the merge of others that would be merged again.
fn is_in_doubt(blocks: &Blocks) -> bool {
    blocks.damaged.iter().any(|(_, error)| error.is_unavailable())
}

/// Blocks of a tenant that were flushed and not merged, four merges of them, are many.
const MANY: usize = 4 * pick::MAX_INPUTS;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
