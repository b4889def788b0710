//! The traces that may be found, from masks of the parts alone.

use std::{
    collections::{BinaryHeap, HashMap},
    ops::Range as Rows,
};

use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
use clew_storage::{block::BlockError, schema::core};

use super::{
    budget::{Budget, Stopped},
    mask::{Kept, Mask, Masks},
    parallel,
    part::traces_of,
    pipeline::{Runner, possible},
    scope::Scope,
    search::Range,
};

/// Traces that may be found, the newest first.
#[derive(Default)]
pub struct Candidates(BinaryHeap<Candidate>);

/// A trace that may be found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// No span that is found of it starts later.
    newest: i64,
    trace: [u8; 16],
}

/// Parts that are looked at together.
pub struct Unit {
    /// No span in it starts later.
    pub newest: i64,
    pub parts: Rows<usize>,
    /// Of which block.
    block: Option<usize>,
}

impl Candidates {
    /// The newest, unless what was not read yet may be newer.
    pub fn pop(&mut self, unread: Option<i64>) -> Option<[u8; 16]> {
        let newest = self.0.peek()?.newest;
        let candidate = unread.is_none_or(|unread| newest >= unread).then(|| self.0.pop())?;
        candidate.map(|candidate| candidate.trace)
    }

    /// All of them, each once.
    pub fn traces(self) -> Vec<[u8; 16]> {
        let mut traces: Vec<_> = self.0.into_iter().map(|candidate| candidate.trace).collect();
        traces.sort_unstable();
        traces.dedup();
        traces
    }

    /// Finds the candidates of a unit; says how many spans it has.
    pub fn read(
        &mut self,
        scope: &Scope,
        runner: &mut Runner<'_>,
        unit: &Unit,
        range: Range,
        budget: &Budget,
    ) -> Result<u64, Stopped> {
        let filters = &runner.filters.filters;
        let read = parallel::map(unit.parts.clone(), |part| {
            budget.check()?;
            let masks = Masks::of(scope, part);
            let kept = filters.iter().map(|filter| match filter {
                Some(filter) => masks.kept(filter),
                None => Ok(Kept { mask: Mask::All, exact: true }),
            });
            let result = kept.collect::<Result<Vec<_>, _>>().and_then(|kept| {
                // Mostly: then nothing else is read of the part.
                if kept.iter().all(|kept| matches!(kept.mask, Mask::None)) {
                    return Ok((kept, Vec::new()));
                }
                let hits = match unit.block {
                    Some(block) => hits_of_block(scope, block, part, &kept, range)?,
                    None => hits_of_batch(scope, part, &kept, range)?,
                };
                Ok((kept, hits))
            });
            // The masks are all that is needed of what was read: columns that the cache has no room for go.
            scope.forget(part);
            budget.check().map(|()| result)
        });
        let mut spans = 0;
        let mut hits: HashMap<[u8; 16], Hit> = HashMap::new();
        let mut last: Option<([u8; 16], Hit)> = None;
        let mut settle = |(trace, hit): ([u8; 16], Hit)| {
            let Some(newest) = hit.newest else { return };
            let mut at = 0;
            let mut keeps = std::iter::from_fn(|| {
                at += 1;
                Some(hit.filters & bit_of(at - 1) != 0)
            });
            // What is missing here may be elsewhere.
            if possible(runner.pipeline, &mut keeps) || is_elsewhere(scope, unit, &trace) {
                self.0.push(Candidate { newest, trace });
            }
        };
        for (part, read) in unit.parts.clone().zip(read) {
            match read? {
                Ok((kept, found)) => {
                    spans += scope.parts[part].part.rows as u64;
                    runner.kept[part] = kept;
                    if unit.block.is_none() {
                        found.into_iter().for_each(|(trace, hit)| hits.entry(trace).or_insert(Hit::NONE).add(hit));
                        continue;
                    }
                    // In a block a trace may go on in the next part.
                    for (trace, hit) in found {
                        match &mut last {
                            Some((same, before)) if *same == trace => before.add(hit),
                            last => {
                                if let Some(before) = last.replace((trace, hit)) {
                                    settle(before);
                                }
                            }
                        }
                    }
                }
                Err(error) => scope.failed(&error),
            }
        }
        last.into_iter().chain(hits).for_each(settle);
        Ok(spans)
    }
}

/// Newest first, those with spans in the range only.
pub fn units(scope: &Scope, range: Range) -> Vec<Unit> {
    let mut units: Vec<Unit> = scope
        .blocks
        .iter()
        .enumerate()
        .filter(|(_, (block, _))| range.meets(block.meta().start_min, block.meta().start_max))
        .map(|(at, (block, parts))| Unit { newest: block.meta().start_max, parts: parts.clone(), block: Some(at) })
        .collect();
    let memory = scope.memory.iter().filter(|(_, parts)| !parts.is_empty());
    units.extend(memory.map(|(_, parts)| Unit { newest: i64::MAX, parts: parts.clone(), block: None }));
    units.sort_by_key(|unit| std::cmp::Reverse(unit.newest));
    units
}

/// Which filters keep spans of a trace, and when the newest of those in the range starts.
#[derive(Clone, Copy)]
struct Hit {
    filters: u32,
    newest: Option<i64>,
}

impl Hit {
    const NONE: Self = Self { filters: 0, newest: None };

    fn add(&mut self, other: Self) {
        self.filters |= other.filters;
        self.newest = self.newest.max(other.newest);
    }
}

/// The bit of a filter. The last one is that of all others: where one of these keeps spans, each may.
fn bit_of(filter: usize) -> u32 {
    1 << filter.min(u32::BITS as usize - 1)
}

/// Whether other parts hold spans of the trace too.
fn is_elsewhere(scope: &Scope, unit: &Unit, trace: &[u8; 16]) -> bool {
    let Some(id) = clew_common::ids::TraceId::new(*trace) else { return false };
    let blocks = scope.blocks.iter().enumerate().filter(|(at, _)| Some(*at) != unit.block);
    let mut memory = scope.memory.iter().filter(|(_, parts)| *parts != unit.parts);
    blocks.into_iter().any(|(_, (block, _))| block.may_hold(&id))
        || memory.any(|(memory, _)| !memory.find(&id).is_empty())
}

fn hits_of_block(
    scope: &Scope,
    block: usize,
    part: usize,
    kept: &[Kept],
    range: Range,
) -> Result<Vec<([u8; 16], Hit)>, BlockError> {
    let (block, parts) = &scope.blocks[block];
    let traces = traces_of(&scope.cache, block)?;
    let opened = &scope.parts[part].part;
    let Some(starts) = opened.column(&scope.cache, core::START_TIME)? else { return Ok(Vec::new()) };
    let Some(starts) = starts.as_primitive_opt::<TimestampNanosecondType>() else { return Ok(Vec::new()) };
    let before: usize = scope.parts[parts.start..part].iter().map(|opened| opened.part.rows).sum();
    let (first, end) = (traces.at(before as u32, 0), traces.at((before + opened.rows.max(1) - 1) as u32, 0) + 1);
    let mut hits = vec![Hit::NONE; end - first];
    for (filter, kept) in kept.iter().enumerate() {
        let bit = bit_of(filter);
        let mut place = first;
        let mut ends = traces.rows(place).end;
        for row in kept.mask.rows(opened.rows) {
            let at = (before + row) as u32;
            if at >= ends {
                place = traces.at(at, place);
                ends = traces.rows(place).end;
            }
            let hit = &mut hits[place - first];
            hit.filters |= bit;
            let start = starts.value(row);
            if Some(start) > hit.newest && range.has(start) {
                hit.newest = Some(start);
            }
        }
    }
    let hit = |(at, hit): (usize, Hit)| (hit.filters != 0).then(|| (traces.id(first + at), hit));
    Ok(hits.into_iter().enumerate().filter_map(hit).collect())
}

fn hits_of_batch(scope: &Scope, part: usize, kept: &[Kept], range: Range) -> Result<Vec<([u8; 16], Hit)>, BlockError> {
    let opened = &scope.parts[part].part;
    let (Some(ids), Some(starts)) =
        (opened.column(&scope.cache, core::TRACE_ID)?, opened.column(&scope.cache, core::START_TIME)?)
    else {
        return Ok(Vec::new());
    };
    let (Some(ids), Some(starts)) =
        (ids.as_fixed_size_binary_opt(), starts.as_primitive_opt::<TimestampNanosecondType>())
    else {
        return Ok(Vec::new());
    };
    let ids = ids.value_data().as_chunks::<16>().0;
    let mut hits: Vec<([u8; 16], Hit)> = Vec::new();
    for (filter, kept) in kept.iter().enumerate() {
        let filters = bit_of(filter);
        for row in kept.mask.rows(opened.rows) {
            let start = starts.value(row);
            let newest = range.has(start).then_some(start);
            match hits.last_mut() {
                Some((trace, hit)) if *trace == ids[row] => hit.add(Hit { filters, newest }),
                _ => hits.push((ids[row], Hit { filters, newest })),
            }
        }
    }
    Ok(hits)
}
