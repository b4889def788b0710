//! `clew verify`: reads everything that a collector has stored, and says what is damaged.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clew_common::world::World;
use clew_storage::{
    store::Store,
    verify::{self, Damage, Found, Wal},
};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{output, place::Place};

/// What to read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  clew verify                              the data in clew-data/collector
  clew verify --data /var/lib/clew --json
  clew verify --store /mnt/blocks          only blocks
  clew verify --repair                     and set damaged blocks aside; the collector must be stopped

Every record of the WAL and every page of every block is read; nothing is changed. Exit code 1
tells that something is damaged. --repair moves damaged blocks from TENANT/blocks to
TENANT/quarantine and deletes nothing: answers are then no longer marked partial, and what
those blocks held is not found. Beside a running collector, blocks that come or go meanwhile
are no damage.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Set damaged blocks aside
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    wal: Option<Wal>,
    blocks: usize,
    spans: u64,
    damage: Vec<Damage>,
    /// Where damaged blocks are now.
    set_aside: Vec<String>,
    /// Folders of blocks without a meta: being written, or left by a crash.
    unfinished: usize,
}

impl Args {
    /// Reads and reports.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let world = World::real();
        let store = self.place.open(&world)?;
        let _lock = if self.repair { Some(self.lock(&world)?) } else { None };
        let mut report = Report::default();
        if let Some(wal) = self.place.wal() {
            report.wal = Some(verify::read_wal(world.disk.clone(), &wal, |_| (), |damage| report.damage.push(damage))?);
        }
        self.blocks(&store, &mut report)?;
        let mut out = output::stdout();
        if self.json {
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        } else {
            report.write(&mut out)?;
        }
        out.flush()?;
        Ok(if report.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The lock that a running collector holds.
    fn lock(&self, world: &World) -> anyhow::Result<Box<dyn std::any::Any + Send + Sync>> {
        let Some(wal) = self.place.wal() else {
            bail!("--repair needs the folder of the collector that writes to the store: give it with --data DIR");
        };
        let hint =
            |wal: &Path| format!("{} is locked: stop the collector first, --repair works on its own", wal.display());
        world.disk.lock(&wal.join("lock")).with_context(|| hint(&wal))
    }

    fn blocks(&self, store: &Arc<dyn Store>, report: &mut Report) -> anyhow::Result<()> {
        let found = verify::folders(store)?;
        let shown = io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(found.len() as u64) } else { ProgressBar::hidden() };
        for found in &found {
            bar.inc(1);
            let (damage, repairable) = match &found.block {
                None => {
                    report.unfinished += 1;
                    continue;
                }
                Some(Err(error)) => {
                    let what = format!("{}; answers of tenant {} are partial", error.why, found.tenant);
                    (vec![Damage { place: error.path.clone(), what }], verify::is_damage(error))
                }
                Some(Ok(block)) => {
                    let damage = verify::check_block(&**store, found, block)?;
                    report.spans += block.meta().spans;
                    (damage, true)
                }
            };
            // Merged blocks of a running collector may go while they are read.
            if !damage.is_empty() && is_gone(&**store, found)? {
                continue;
            }
            report.blocks += 1;
            if self.repair && repairable && !damage.is_empty() {
                report.set_aside.push(verify::set_aside(&**store, found)?);
            }
            report.damage.extend(damage);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn is_gone(store: &dyn Store, found: &Found) -> anyhow::Result<bool> {
    match store.size(&format!("{}/{}", found.path, clew_storage::block::META)) {
        Err(error) if error.is_not_found() => Ok(true),
        size => Ok(size.map(|_| false)?),
    }
}

impl Report {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for damage in &self.damage {
            writeln!(out, "damaged: {}: {}", damage.place, damage.what)?;
        }
        for place in &self.set_aside {
            writeln!(out, "set aside: {place}")?;
        }
        if let Some(wal) = &self.wal {
            let (records, spans) = (output::thousands(wal.records), output::thousands(wal.spans));
            writeln!(out, "WAL: {records} records with {spans} spans")?;
            if wal.torn_bytes > 0 {
                let torn = wal.torn_bytes;
                writeln!(
                    out,
                    "     {torn} bytes at its end are no record: a write that was cut short, or its last record is damaged"
                )?;
            }
        }
        writeln!(out, "blocks: {} with {} spans", self.blocks, output::thousands(self.spans))?;
        if self.unfinished > 0 {
            writeln!(out, "        {} more are being written, or were left by a crash", self.unfinished)?;
        }
        match self.damage.len() {
            0 => writeln!(out, "nothing is damaged"),
            count => writeln!(out, "{count} damaged"),
        }
    }
}
