//! Reads a block whole, and holds it against what its meta says.

use std::collections::HashSet;

use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{Int64Type, TimestampNanosecondType, UInt64Type},
};
use clew_common::ids::TraceId;

use super::Found;
use crate::{
    block::{Block, BlockError, Why},
    schema::core,
    store::Store,
};

/// Rows that are read at a time.
const ROWS: usize = 4096;
/// Read of a file at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// Of one kind of damage in a block's rows, so many are told.
const MOST: usize = 8;

/// Something is damaged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// Where.
    pub place: String,
    /// What is wrong, and what that means.
    pub what: String,
}

/// Reads all of a block that its meta and filter let open. Gives what is wrong; nothing when it is whole.
///
/// # Errors
/// When the store does not give its files now: that says nothing about the block.
pub fn check_block(store: &dyn Store, found: &Found, block: &Block) -> Result<Vec<Damage>, BlockError> {
    let mut check = Check { path: &found.path, damage: Vec::new() };
    let meta = block.meta();
    if meta.replaces.contains(&meta.id) {
        check.found("meta.json", "it says that the block replaces itself".to_owned());
    }
    for (name, said) in &meta.files {
        check.file(store, name, said)?;
    }
    match block.resources() {
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => check.error(&error),
        Ok(resources) => {
            let mut rows = match block.groups() {
                Ok(groups) => Rows::of(&groups),
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    check.error(&error);
                    return Ok(check.damage);
                }
            };
            for batch in block.batches(ROWS) {
                match batch {
                    Ok(batch) => rows.add(&mut check, block, &batch, |id| resources.contains_key(&id)),
                    Err(error) if error.is_unavailable() => return Err(error),
                    Err(error) => {
                        check.error(&error);
                        return Ok(check.damage);
                    }
                }
            }
            rows.compare(&mut check, block);
        }
    }
    Ok(check.damage)
}

struct Check<'a> {
    path: &'a str,
    damage: Vec<Damage>,
}

impl Check<'_> {
    fn found(&mut self, file: &str, what: String) {
        self.damage.push(Damage { place: format!("{}/{file}", self.path), what });
    }

    fn error(&mut self, error: &BlockError) {
        let damage = Damage { place: error.path.clone(), what: error.why.to_string() };
        if !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }

    fn file(&mut self, store: &dyn Store, name: &str, said: &crate::block::File) -> Result<(), BlockError> {
        let path = format!("{}/{name}", self.path);
        let failed = |error: crate::store::StoreError| BlockError { path: path.clone(), why: error.into() };
        let bytes = match store.size(&path) {
            Err(error) if error.is_not_found() => {
                self.found(name, "it is missing".to_owned());
                return Ok(());
            }
            size => size.map_err(failed)?,
        };
        if bytes != said.bytes {
            self.found(name, format!("it has {bytes} bytes, and should have {}", said.bytes));
            return Ok(());
        }
        let source = store.open(&path).map_err(failed)?;
        let mut crc = 0;
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + CHUNK_BYTES);
            match source.read(at..end) {
                Ok(chunk) => crc = crc32c::crc32c_append(crc, &chunk),
                Err(error) if error.is_unavailable() => return Err(failed(error)),
                Err(error) => {
                    self.found(name, format!("bytes {at} to {end} cannot be read: {}", error.error));
                    return Ok(());
                }
            }
            at = end;
        }
        if crc != said.crc32c {
            self.found(name, "its checksum is not the one that the meta has".to_owned());
        }
        Ok(())
    }
}

/// What the rows say.
#[derive(Default)]
struct Rows {
    /// The first rows of row groups.
    groups: HashSet<u64>,
    spans: u64,
    traces: u64,
    last: Option<([u8; 16], i64)>,
    start_min: Option<i64>,
    start_max: Option<i64>,
    end_max: Option<i64>,
    unordered: usize,
    unfiltered: usize,
    without_resource: usize,
}

impl Rows {
    /// Of row groups with so many rows each.
    fn of(groups: &[usize]) -> Self {
        let starts = groups.iter().scan(0, |next, rows| Some(std::mem::replace(next, *next + *rows as u64)));
        Self { groups: starts.collect(), ..Self::default() }
    }

    fn add(&mut self, check: &mut Check<'_>, block: &Block, batch: &RecordBatch, known: impl Fn(u64) -> bool) {
        let columns = batch.columns();
        let typed = || {
            let ids = columns.get(core::TRACE_ID)?.as_fixed_size_binary_opt()?;
            let starts = columns.get(core::START_TIME)?.as_primitive_opt::<TimestampNanosecondType>()?;
            let durations = columns.get(core::DURATION)?.as_primitive_opt::<Int64Type>()?;
            let resources = columns.get(core::RESOURCE_ID)?.as_primitive_opt::<UInt64Type>()?;
            (ids.value_length() == 16).then_some((ids, starts, durations, resources))
        };
        let Some((ids, starts, durations, resources)) = typed() else {
            check.found("spans.parquet", "it does not have the columns of a block".to_owned());
            return;
        };
        for row in 0..batch.num_rows() {
            let Ok(id) = <[u8; 16]>::try_from(ids.value(row)) else { continue };
            let (start, end) = (starts.value(row), starts.value(row).wrapping_add(durations.value(row)));
            let place = self.spans;
            self.spans += 1;
            if self.last.is_none_or(|(last, _)| last != id) {
                self.traces += 1;
                let passes = TraceId::new(id).is_some_and(|trace| block.may_hold(&trace));
                if !passes && tell(&mut self.unfiltered) {
                    check.found("filter.bin", format!("it does not know trace {}: it would not be found", hex(&id)));
                }
            }
            // Merges of former versions wrote a trace that is larger than a row group in pieces, each in order. That harms
            // nobody: traces are found by their ids.
            let anew = self.groups.contains(&place);
            let after = |(trace, last): ([u8; 16], i64)| trace > id || trace == id && last > start && !anew;
            if self.last.is_some_and(after) && tell(&mut self.unordered) {
                check.found("spans.parquet", format!("row {place} is out of order: spans may not be found"));
            }
            if (!known(resources.value(row))) && tell(&mut self.without_resource) {
                let id = resources.value(row);
                check.found("resources.parquet", format!("resource {id} of row {place} is missing"));
            }
            self.last = Some((id, start));
            self.start_min = Some(self.start_min.map_or(start, |least| least.min(start)));
            self.start_max = Some(self.start_max.map_or(start, |most| most.max(start)));
            self.end_max = Some(self.end_max.map_or(end, |most| most.max(end)));
        }
    }

    fn compare(&self, check: &mut Check<'_>, block: &Block) {
        let meta = block.meta();
        let number = |number: u64| i128::from(number);
        let time = |time: Option<i64>| i128::from(time.unwrap_or(0));
        for (what, said, found) in [
            ("spans", number(meta.spans), number(self.spans)),
            ("traces", number(meta.traces), number(self.traces)),
            ("as the first start", meta.start_min.into(), time(self.start_min)),
            ("as the last start", meta.start_max.into(), time(self.start_max)),
            ("as the last end", meta.end_max.into(), time(self.end_max)),
        ] {
            if said != found {
                check.found("meta.json", format!("it says {said} {what}, and the spans say {found}"));
            }
        }
    }
}

fn tell(times: &mut usize) -> bool {
    *times += 1;
    *times <= MOST
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether what keeps a block from being opened will stay, and lies in the block: not a store that fails now, not a format
/// that another version of this program knows.
pub fn is_damage(error: &BlockError) -> bool {
    match &error.why {
        Why::Store(error) => error.is_not_found(),
        _ => !error.is_unavailable() && !error.is_newer(),
    }
}
