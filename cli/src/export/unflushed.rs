//! Spans that are in the write-ahead log and not yet in a block.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use clew_common::world::World;
use clew_storage::{
    store::Store,
    verify::{self, Covered, Damage, Part, WalRecord},
};
use uuid::Uuid;

use super::select::Selection;
use crate::place::Place;

/// How often a log is read again that a running collector has freed meanwhile.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// The selected spans of a log, a record each, compressed: far less than what a collector has of them in memory.
///
/// The log has to be read before the blocks are listed: what becomes a block in between is in both, and is known by its
/// number. The other way round it would be in neither.
#[derive(Default)]
pub(crate) struct Unflushed {
    records: Vec<Record>,
    /// What could not be read.
    pub(crate) damage: Vec<Damage>,
}

struct Record {
    /// Under which name blocks speak of the log; None when nothing tells.
    log: Option<Uuid>,
    seq: u64,
    spans: u64,
    /// An OTLP message, by zstd.
    otlp: Vec<u8>,
}

impl Unflushed {
    /// Reads the log of the data folder, and those in the store.
    pub(crate) fn read(
        place: &Place,
        store: &Arc<dyn Store>,
        world: &World,
        selection: &Selection,
    ) -> anyhow::Result<Self> {
        let mut all = Self::default();
        if let Some(wal) = place.wal() {
            let mut tries = 1..TRIES;
            all = loop {
                match Self::of_folder(&wal, world, selection) {
                    Err(_) if tries.next().is_some() => std::thread::sleep(PAUSE),
                    read => break read?,
                }
            };
        }
        let Self { records, damage } = &mut all;
        let mut failed = Ok(());
        let record = |log, record| keep(records, &mut failed, Some(log), record, selection);
        verify::read_store_wals(store, world, record, |found| damage.push(found))?;
        failed?;
        Ok(all)
    }

    fn of_folder(wal: &Path, world: &World, selection: &Selection) -> anyhow::Result<Self> {
        let data = wal.parent().context("a WAL lies in a data folder")?;
        let log = verify::log_name(world.disk.clone(), data).context("cannot read the collector's identity")?;
        let (mut records, mut damage, mut failed) = (Vec::new(), Vec::new(), Ok(()));
        let record = |record| keep(&mut records, &mut failed, log, record, selection);
        verify::read_wal(world.disk.clone(), wal, record, |found| damage.push(found))?;
        failed?;
        Ok(Self { records, damage })
    }

    /// Forgets what blocks have.
    pub(crate) fn forget(&mut self, covered: &Covered, selection: &Selection) {
        self.records.retain(|record| !record.log.is_some_and(|log| covered.has(&selection.tenant, log, record.seq)));
    }

    /// How many spans there are.
    pub(crate) fn spans(&self) -> u64 {
        self.records.iter().map(|record| record.spans).sum()
    }

    /// The spans.
    pub(crate) fn parts(&self) -> impl Iterator<Item = anyhow::Result<Part>> {
        self.records.iter().map(|record| {
            let otlp = zstd::decode_all(&*record.otlp).context("cannot decompress what was read of the WAL")?;
            Ok(Part::of_otlp(&otlp)?)
        })
    }
}

/// Keeps the selected spans of a record.
fn keep(
    records: &mut Vec<Record>,
    failed: &mut anyhow::Result<()>,
    log: Option<Uuid>,
    WalRecord { seq, head, spans }: WalRecord,
    selection: &Selection,
) {
    if head.tenant != selection.tenant || failed.is_err() {
        return;
    }
    let kept = || {
        let part = Part::from(spans).only(|trace, start| selection.wants(trace, start))?;
        let otlp = zstd::encode_all(&*part.otlp(0..part.spans())?, 1)?;
        anyhow::Ok(Record { log, seq, spans: part.spans() as u64, otlp })
    };
    match kept() {
        Ok(record) if record.spans > 0 => records.push(record),
        Ok(_) => {}
        Err(error) => *failed = Err(error.context(format!("cannot use record {seq} of the WAL"))),
    }
}
