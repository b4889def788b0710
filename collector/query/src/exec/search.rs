//! Finds traces, newest first, and stops when there are enough.

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    ops::Range as Rows,
};

use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
use clew_storage::{Snapshot, block::BlockError, schema::core};

use super::{
    budget::{Budget, Stopped},
    cache::Cache,
    mask::{Kept, Mask, Masks},
    parallel,
    part::traces_of,
    pipeline::{Filters, Runner, Spanset, possible, selected},
    scope::Scope,
    trace::Trace,
};
use crate::traceql::{
    ast::{Field, Intrinsic, Pipeline, Scope as Of},
    value::Value,
};

/// From when until when, nanoseconds since 1970; the end is excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: i64,
    pub end: i64,
}

impl Range {
    /// All times.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// Whether a time is in it.
    #[inline]
    pub fn has(&self, time: i64) -> bool {
        self.start <= time && time < self.end
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions {
    /// A span that was found has to start within.
    pub range: Range,
    /// Traces at most.
    pub limit: usize,
    /// Spans of a spanset at most.
    pub spans: usize,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    /// Newest first.
    pub traces: Vec<Found>,
    /// Why traces may be missing; empty when none are.
    pub missing: Vec<String>,
    /// How many spans were looked at.
    pub inspected_spans: u64,
}

/// A trace that was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub trace_id: [u8; 16],
    /// None: the trace has no root yet.
    pub root_service: Option<String>,
    pub root_name: Option<String>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
    /// Spans and failed spans of each service.
    pub services: Vec<(String, u32, u32)>,
    pub sets: Vec<FoundSet>,
    /// When the newest span that was found starts.
    pub newest: i64,
}

/// A spanset of a trace that was found.
#[derive(Clone, Debug)]
pub struct FoundSet {
    /// How many spans it has, of which some are shown.
    pub matched: u32,
    pub spans: Vec<FoundSpan>,
    /// What it was grouped by.
    pub groups: Vec<(String, Value)>,
}

/// A span that was found.
#[derive(Clone, Debug)]
pub struct FoundSpan {
    pub id: [u8; 8],
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
    /// What was asked for: names as in TraceQL, and values that are not nil.
    pub attributes: Vec<(String, Value)>,
}

/// A trace that may be found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// No span that is found of it starts later.
    newest: i64,
    trace: [u8; 16],
}

/// Parts that are looked at together.
struct Unit {
    /// No span in it starts later.
    newest: i64,
    parts: Rows<usize>,
    /// Of which block.
    block: Option<usize>,
}

/// Finds traces. Blocking.
///
/// # Errors
/// When the budget is spent before anything is known.
pub fn search(
    snapshot: &Snapshot,
    cache: &Cache,
    pipeline: &Pipeline,
    options: SearchOptions,
    budget: &Budget,
) -> Result<Searched, Stopped> {
    let scope = Scope::open(snapshot, cache);
    let filters = Filters::of(pipeline);
    let mut runner = Runner { pipeline, filters, kept: scope.parts.iter().map(|_| Vec::new()).collect() };
    let mut units = units(&scope, options.range).into_iter().peekable();
    let mut candidates: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut seen = HashSet::new();
    let mut found: Vec<Found> = Vec::new();
    let mut inspected_spans = 0;
    while found.len() < options.limit {
        budget.check()?;
        let unread = units.peek().map(|unit| unit.newest);
        // A trace is certain once nothing that was not looked at can be newer.
        if let Some(candidate) = candidates.pop_if_newest(unread) {
            if seen.insert(candidate.trace) {
                let trace = Trace::read(&scope, candidate.trace);
                found.extend(look(&runner, &trace, pipeline, options));
            }
            continue;
        }
        let Some(unit) = units.next() else { break };
        inspected_spans += read(&scope, &mut runner, &unit, options.range, budget, &mut candidates)?;
    }
    found.sort_by_key(|found| std::cmp::Reverse((found.newest, found.trace_id)));
    let missing = scope.missing.into_inner();
    Ok(Searched { traces: found, missing, inspected_spans })
}

trait PopIfNewest {
    fn pop_if_newest(&mut self, unread: Option<i64>) -> Option<Candidate>;
}

impl PopIfNewest for BinaryHeap<Candidate> {
    fn pop_if_newest(&mut self, unread: Option<i64>) -> Option<Candidate> {
        let newest = self.peek()?.newest;
        unread.is_none_or(|unread| newest >= unread).then(|| self.pop())?
    }
}

/// Newest first, those with spans in the range only.
fn units(scope: &Scope<'_>, range: Range) -> Vec<Unit> {
    let mut units: Vec<Unit> = scope
        .blocks
        .iter()
        .enumerate()
        .filter(|(_, (block, _))| block.meta().start_max >= range.start && block.meta().start_min < range.end)
        .map(|(at, (block, parts))| Unit { newest: block.meta().start_max, parts: parts.clone(), block: Some(at) })
        .collect();
    let memory = scope.memory.iter().filter(|(_, parts)| !parts.is_empty());
    units.extend(memory.map(|(_, parts)| Unit { newest: i64::MAX, parts: parts.clone(), block: None }));
    units.sort_by_key(|unit| std::cmp::Reverse(unit.newest));
    units
}

/// Which filters keep spans of a trace, and when the newest of those starts.
#[derive(Clone, Copy)]
struct Hit {
    filters: u32,
    newest: i64,
}

impl Hit {
    const NONE: Self = Self { filters: 0, newest: i64::MIN };

    fn add(&mut self, other: Self) {
        self.filters |= other.filters;
        self.newest = self.newest.max(other.newest);
    }
}

/// A filter past these is taken to keep spans of every trace.
const MAX_FILTERS: usize = 32;

/// Finds the candidates of a unit; says how many spans it has.
fn read(
    scope: &Scope<'_>,
    runner: &mut Runner<'_>,
    unit: &Unit,
    range: Range,
    budget: &Budget,
    candidates: &mut BinaryHeap<Candidate>,
) -> Result<u64, Stopped> {
    let filters = &runner.filters.filters;
    let read = parallel::map(unit.parts.clone(), |part| {
        budget.check()?;
        let opened = &scope.parts[part];
        let masks = Masks { part: &opened.part, cache: scope.cache };
        let kept = filters.iter().map(|filter| match filter {
            Some(filter) => masks.kept(filter),
            None => Ok(Kept { mask: Mask::All, exact: true }),
        });
        let result = kept.collect::<Result<Vec<_>, _>>().and_then(|kept| {
            let hits = match unit.block {
                Some(block) => hits_of_block(scope, block, part, &kept, range)?,
                None => hits_of_batch(scope, part, &kept, range)?,
            };
            Ok((kept, hits))
        });
        Ok::<_, Stopped>(result)
    });
    let mut spans = 0;
    let mut hits: HashMap<[u8; 16], Hit> = HashMap::new();
    let mut last: Option<([u8; 16], Hit)> = None;
    let mut settle = |(trace, hit): ([u8; 16], Hit)| {
        if hit.newest == i64::MIN {
            return;
        }
        let mut at = 0;
        let mut keeps = std::iter::from_fn(|| {
            at += 1;
            Some(at > MAX_FILTERS || hit.filters & (1 << (at - 1)) != 0)
        });
        // What is missing here may be elsewhere.
        if possible(runner.pipeline, &mut keeps) || is_elsewhere(scope, unit, &trace) {
            candidates.push(Candidate { newest: hit.newest, trace });
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

/// Whether other parts hold spans of the trace too.
fn is_elsewhere(scope: &Scope<'_>, unit: &Unit, trace: &[u8; 16]) -> bool {
    let Some(id) = clew_common::ids::TraceId::new(*trace) else { return false };
    let blocks = scope.blocks.iter().enumerate().filter(|(at, _)| Some(*at) != unit.block);
    let mut memory = scope.memory.iter().filter(|(_, parts)| *parts != unit.parts);
    blocks.into_iter().any(|(_, (block, _))| block.may_hold(&id))
        || memory.any(|(memory, _)| !memory.find(&id).is_empty())
}

fn hits_of_block(
    scope: &Scope<'_>,
    block: usize,
    part: usize,
    kept: &[Kept],
    range: Range,
) -> Result<Vec<([u8; 16], Hit)>, BlockError> {
    let (block, parts) = &scope.blocks[block];
    let traces = traces_of(scope.cache, block)?;
    let opened = &scope.parts[part].part;
    let Some(starts) = opened.column(scope.cache, core::START_TIME)? else { return Ok(Vec::new()) };
    let Some(starts) = starts.as_primitive_opt::<TimestampNanosecondType>() else { return Ok(Vec::new()) };
    let before: usize = scope.parts[parts.start..part].iter().map(|opened| opened.part.rows).sum();
    let (first, end) = (traces.at(before as u32, 0), traces.at((before + opened.rows.max(1) - 1) as u32, 0) + 1);
    let mut hits = vec![Hit::NONE; end - first];
    for (filter, kept) in kept.iter().enumerate() {
        let bit = if filter < MAX_FILTERS { 1 << filter } else { 0 };
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
            if start > hit.newest && range.has(start) {
                hit.newest = start;
            }
        }
    }
    let hit = |(at, hit): (usize, Hit)| (hit.filters != 0).then(|| (traces.id(first + at), hit));
    Ok(hits.into_iter().enumerate().filter_map(hit).collect())
}

fn hits_of_batch(
    scope: &Scope<'_>,
    part: usize,
    kept: &[Kept],
    range: Range,
) -> Result<Vec<([u8; 16], Hit)>, BlockError> {
    let opened = &scope.parts[part].part;
    let (Some(ids), Some(starts)) =
        (opened.column(scope.cache, core::TRACE_ID)?, opened.column(scope.cache, core::START_TIME)?)
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
        let filters = if filter < MAX_FILTERS { 1 << filter } else { 0 };
        for row in kept.mask.rows(opened.rows) {
            let start = starts.value(row);
            let newest = if range.has(start) { start } else { i64::MIN };
            match hits.last_mut() {
                Some((trace, hit)) if *trace == ids[row] => hit.add(Hit { filters, newest }),
                _ => hits.push((ids[row], Hit { filters, newest })),
            }
        }
    }
    Ok(hits)
}

/// What a search shows of a trace; None when it does not match.
fn look(runner: &Runner<'_>, trace: &Trace<'_>, pipeline: &Pipeline, options: SearchOptions) -> Option<Found> {
    let sets = runner.run(trace);
    let found = sets.iter().flat_map(|set| &set.spans).map(|at| trace.spans[*at as usize].start);
    let newest = found.filter(|start| options.range.has(*start)).max()?;
    let mut fields = selected(pipeline);
    let mut named = Vec::new();
    runner.filters.filters.iter().flatten().for_each(|filter| {
        super::mask::each_field(filter, &mut |field| named.push(field));
    });
    for field in named {
        if !fields.contains(&field) && is_shown(field) {
            fields.push(field);
        }
    }
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    Some(Found {
        trace_id: trace.id,
        root_service: text(trace.of_root(&Field::attribute(Of::Resource, "service.name"))),
        root_name: text(trace.of_root(&Field::Intrinsic(Intrinsic::Name))),
        start: trace.start(),
        duration: trace.duration(),
        services: services(trace),
        sets: sets.into_iter().map(|set| show(trace, set, &fields, options.spans)).collect(),
        newest,
    })
}

/// Whether a field that only a filter names is shown: spans are shown with id, name, start and duration anyway.
fn is_shown(field: &Field) -> bool {
    !matches!(field, Field::Intrinsic(Intrinsic::Name | Intrinsic::Duration | Intrinsic::SpanId | Intrinsic::TraceId))
}

fn services(trace: &Trace<'_>) -> Vec<(String, u32, u32)> {
    let mut services: Vec<(String, u32, u32)> = Vec::new();
    for at in 0..trace.spans.len() as u32 {
        let Value::String(service) = trace.value(&Field::attribute(Of::Resource, "service.name"), at) else { continue };
        let status = trace.value(&Field::Intrinsic(Intrinsic::Status), at);
        let failed = u32::from(status == Value::Status(crate::traceql::ast::Status::Error));
        match services.iter_mut().find(|(name, ..)| *name == service) {
            Some((_, spans, errors)) => {
                *spans += 1;
                *errors += failed;
            }
            None => services.push((service, 1, failed)),
        }
    }
    services
}

fn show(trace: &Trace<'_>, set: Spanset, fields: &[&Field], most: usize) -> FoundSet {
    let span = |at: &u32| {
        let span = &trace.spans[*at as usize];
        let attribute = |field: &&Field| {
            let value = trace.value(field, *at);
            (!value.is_nil()).then(|| (field.to_string(), value))
        };
        FoundSpan {
            id: span.id,
            name: match trace.value(&Field::Intrinsic(Intrinsic::Name), *at) {
                Value::String(name) => name,
                _ => String::new(),
            },
            start: span.start as u64,
            duration: u64::try_from(span.duration).unwrap_or(0),
            attributes: fields.iter().filter_map(attribute).collect(),
        }
    };
    FoundSet {
        matched: set.spans.len() as u32,
        spans: set.spans.iter().take(most).map(span).collect(),
        groups: set.groups,
    }
}
