//! `clew verify`: reads everything that a collector has stored, and says what is damaged.

use std::{
    any::Any,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use clew_common::world::World;
use clew_storage::{
    store::Store,
    verify::{self, Damage, Look, StoreWalError, Wal, WalError},
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

Every record of the WAL, the checkpoint, the identity and every page of every block is read;
nothing is changed. Exit code 1
tells that something is damaged, 2 that something could not be looked at: the store is away, or a
block is of a newer version. --repair moves damaged blocks from TENANT/blocks to
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
    /// WALs that collectors keep beside the blocks.
    store_wal: Option<Wal>,
    blocks: usize,
    spans: u64,
    /// Blocks in whose place others have come: their spans are in those.
    replaced: usize,
    damage: Vec<Damage>,
    /// What could not be looked at, and why.
    unseen: Vec<Damage>,
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
        let _lock = if self.repair { self.lock(&world, &store)? } else { None };
        let mut report = Report::default();
        report.wals(&self.place, &store, &world);
        self.blocks(&store, &mut report)?;
        let mut out = output::stdout();
        if self.json {
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        } else {
            report.write(&mut out)?;
        }
        out.flush()?;
        Ok(match (report.damage.is_empty(), report.unseen.is_empty()) {
            (false, _) => ExitCode::FAILURE,
            (true, false) => ExitCode::from(UNSEEN),
            (true, true) => ExitCode::SUCCESS,
        })
    }

    /// The lock that a running collector holds. One whose WAL is in the store has none, but a heartbeat.
    fn lock(&self, world: &World, store: &Arc<dyn Store>) -> anyhow::Result<Option<Box<dyn Any + Send + Sync>>> {
        if let Some(wal) = self.place.wal() {
            let hint = || format!("{} is locked: stop the collector first, --repair works on its own", wal.display());
            return Ok(Some(world.disk.lock(&wal.join("lock")).with_context(hint)?));
        }
        let hint = "--repair works on its own: stop the collectors of the store first";
        if verify::stand_still(store, world, WATCH).context(hint)? == 0 {
            bail!("--repair needs the folder of the collector that writes to the store: give it with --data DIR");
        }
        Ok(None)
    }

    fn blocks(&self, store: &Arc<dyn Store>, report: &mut Report) -> anyhow::Result<()> {
        let found = match verify::folders(store) {
            Ok(found) => found,
            Err(error) => {
                report.unseen.push(Damage { place: "blocks".to_owned(), what: error.to_string() });
                return Ok(());
            }
        };
        let shown = io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(found.len() as u64) } else { ProgressBar::hidden() };
        let replaced = verify::replaced(&found);
        for found in &found {
            bar.inc(1);
            match verify::look(&**store, found) {
                Look::Whole { .. } if replaced.contains(&found.id) => report.replaced += 1,
                Look::Whole { spans } => {
                    report.blocks += 1;
                    report.spans += spans;
                }
                Look::Damaged { damage, spans, is_movable } => {
                    report.blocks += 1;
                    report.spans += spans;
                    report.damage.extend(damage);
                    if self.repair && is_movable {
                        report.set_aside.push(verify::set_aside(&**store, found)?);
                    }
                }
                Look::Unseen(unseen) => report.unseen.push(unseen),
                Look::Unfinished => report.unfinished += 1,
                Look::Gone => {}
            }
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// Exit code when nothing is known to be damaged, and not everything could be looked at.
const UNSEEN: u8 = 2;
/// A collector that lives shows it every two seconds.
const WATCH: Duration = Duration::from_secs(5);

impl Report {
    fn wals(&mut self, place: &Place, store: &Arc<dyn Store>, world: &World) {
        if let Some(dir) = place.wal() {
            let read = verify::read_wal(world.disk.clone(), &dir, |_| (), |damage| self.damage.push(damage));
            let unseen = |error: WalError| Damage { place: dir.display().to_string(), what: error.to_string() };
            self.wal = read.map_err(|error| self.unseen.push(unseen(error))).ok();
            let (damage, unseen) = verify::check_notes(world.disk.clone(), dir.parent().unwrap_or(&dir));
            self.damage.extend(damage);
            self.unseen.extend(unseen);
        }
        let read = verify::read_store_wals(store, world, |_, _| (), |damage| self.damage.push(damage));
        let unseen = |error: StoreWalError| Damage { place: "wal".to_owned(), what: error.to_string() };
        let read = read.map_err(|error| self.unseen.push(unseen(error))).ok();
        self.store_wal = read.filter(|wal| wal.records > 0);
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for damage in &self.damage {
            writeln!(out, "damaged: {}: {}", damage.place, damage.what)?;
        }
        for unseen in &self.unseen {
            writeln!(out, "not seen: {}: {}", unseen.place, unseen.what)?;
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
        if let Some(wal) = &self.store_wal {
            let (records, spans) = (output::thousands(wal.records), output::thousands(wal.spans));
            writeln!(out, "WALs in the store: {records} records with {spans} spans")?;
            for Damage { place, what } in &wal.missing {
                writeln!(out, "     {place}: {what}: a PUT that was cut off, or an object that was lost")?;
            }
        }
        writeln!(out, "blocks: {} with {} spans", self.blocks, output::thousands(self.spans))?;
        if self.replaced > 0 {
            writeln!(out, "        {} more are replaced by others, and will go", self.replaced)?;
        }
        if self.unfinished > 0 {
            writeln!(out, "        {} more are being written, or were left by a crash", self.unfinished)?;
        }
        match self.damage.len() {
            0 if self.unseen.is_empty() => writeln!(out, "nothing is damaged"),
            0 => writeln!(out, "nothing that could be looked at is damaged; {} could not", self.unseen.len()),
            count => writeln!(out, "{count} damaged"),
        }
    }
}
