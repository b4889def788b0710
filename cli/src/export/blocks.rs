//! Exports the spans of blocks, also while a collector merges them.

use std::{collections::HashSet, sync::Arc};

use anyhow::bail;
use clew_common::ids::TraceId;
use clew_storage::{
    block::{Block, BlockError, META},
    store::{Store, StoreError},
    verify::{self, Damage, Found, Part, PartError},
};

use uuid::Uuid;

use super::{
    Output, Report,
    select::{Selection, Share},
};

/// Spans that are read at a time.
const ROWS: usize = 2048;
/// How often blocks are listed again because some have gone: each time means a merge, and that reading a block took longer
/// than the collector's `sweep_delay_s`.
const ROUNDS: usize = 100;

/// What is exported, from where to where.
pub(crate) struct Blocks<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    pub(crate) selection: &'a Selection,
    pub(crate) output: &'a mut Output,
    pub(crate) report: &'a mut Report,
    /// Told how many spans have been looked at.
    pub(crate) progress: &'a dyn Fn(u64),
}

/// Why a block's spans were not exported.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    Part(#[from] PartError),
    /// It is damaged.
    #[error("{}: {}", .0.place, .0.what)]
    Damaged(Damage),
    /// They cannot be written.
    #[error("{0:#}")]
    Output(anyhow::Error),
}

impl Blocks<'_> {
    /// Exports all of the tenant's blocks of a listing. Blocks that go meanwhile were merged: what came in their place is
    /// looked for and exported whole.
    pub(crate) fn export(mut self, mut found: Vec<Found>) -> anyhow::Result<()> {
        let mut done: HashSet<Uuid> = HashSet::new();
        for round in 0..ROUNDS {
            let replaced = verify::replaced(&found);
            let before = self.report.spans;
            let mut again = false;
            for found in found.iter().filter(|found| found.tenant == self.selection.tenant) {
                if replaced.contains(&found.id) || done.contains(&found.id) {
                    continue;
                }
                let Some(opened) = &found.block else {
                    // It is being written, and its spans are in the WAL; or it is being deleted.
                    again |= round == 0;
                    continue;
                };
                // Merged of what was exported; or flushed since the first listing: that came later, or is exported from the WAL.
                let known = opened.as_ref().is_ok_and(|block| block.meta().replaces.iter().all(|id| done.contains(id)));
                if round > 0 && known || self.block(found, opened.as_ref())? {
                    done.insert(found.id);
                } else {
                    again = true;
                }
            }
            if round > 0 {
                self.report.may_repeat += self.report.spans - before;
            }
            if !again {
                return Ok(());
            }
            found = verify::folders(self.store)?;
        }
        bail!("blocks are merged and deleted faster than they can be read: give the collector a longer sweep_delay_s")
    }

    /// Exports a block, or says what is damaged; false when it is not there any more.
    fn block(&mut self, found: &Found, opened: Result<&Block, &BlockError>) -> anyhow::Result<bool> {
        let before = self.report.spans;
        let (place, what) = match opened.map(|block| (block, self.spans(found, block))) {
            Ok((_, Ok(()))) => {
                self.report.blocks += 1;
                return Ok(true);
            }
            Ok((_, Err(Failed::Output(error)))) => return Err(error),
            Ok((_, Err(Failed::Block(error)))) if error.is_retryable() => return Err(error.into()),
            Err(error) if error.is_retryable() => bail!("{error}"),
            Ok((_, Err(Failed::Block(error)))) => (error.path, error.why.to_string()),
            Ok((_, Err(Failed::Part(error)))) => (found.path.clone(), error.to_string()),
            Ok((_, Err(Failed::Damaged(damage)))) => (damage.place, damage.what),
            Err(error) => (error.path.clone(), error.why.to_string()),
        };
        if is_gone(&**self.store, found)? {
            return Ok(false);
        }
        let exported = self.report.spans - before;
        let of = opened.map(|block| format!(" of {}", block.meta().spans)).unwrap_or_default();
        self.report.damage(&place, &format!("{what}; {exported}{of} spans of the block were exported"));
        Ok(true)
    }

    fn spans(&mut self, found: &Found, block: &Block) -> Result<(), Failed> {
        let all = block.meta().spans;
        match self.selection.share(block.meta()) {
            Share::Nothing => {}
            Share::All if let Output::Folder(folder) = &self.output => {
                match folder.copy(&**self.store, found, block).map_err(Failed::Output)? {
                    Some(damage) => return Err(Failed::Damaged(damage)),
                    None => self.report.spans += all,
                }
                (self.progress)(all);
            }
            Share::All | Share::Some if self.selection.traces.is_empty() => {
                for part in Part::all_of(block, ROWS)? {
                    let part = part?;
                    (self.progress)(part.spans() as u64);
                    self.part(part)?;
                }
            }
            Share::All | Share::Some => {
                let traces = self.selection.traces.iter().filter_map(|id| TraceId::new(*id));
                for trace in traces.filter(|trace| block.may_hold(trace)) {
                    if let Some(spans) = block.trace(&trace)? {
                        self.part(Part::of_otlp(&spans)?)?;
                    }
                }
                (self.progress)(all);
            }
        }
        Ok(())
    }

    fn part(&mut self, part: Part) -> Result<(), Failed> {
        let part = part.only(|trace, start| self.selection.wants(trace, start))?;
        let spans = part.spans() as u64;
        self.output.write(part).map_err(Failed::Output)?;
        self.report.spans += spans;
        Ok(())
    }
}

fn is_gone(store: &dyn Store, found: &Found) -> Result<bool, StoreError> {
    match store.size(&format!("{}/{META}", found.path)) {
        Err(error) if error.is_not_found() => Ok(true),
        size => size.map(|_| false),
    }
}
