//! Which services call which.
//!
//! In a block a span names its parent by its row, so that two small columns tell the calls. Only spans whose parent is not in
//! their block are looked for by trace and id.

use std::{
    collections::HashMap,
    ops::Range as Rows,
    sync::{Arc, OnceLock},
};

use arrow_array::{
    Array, FixedSizeBinaryArray, Int32Array,
    cast::AsArray,
    types::{Int32Type, TimestampNanosecondType},
};
use clew_common::ids::TraceId;
use clew_storage::{Snapshot, block::BlockError, columns::Resource, schema::core};
use parking_lot::Mutex;

use super::{
    budget::{Budget, Stopped},
    cache::Cache,
    codes::Codes,
    field::{self, cast},
    mask::Mask,
    parallel,
    part::traces_of,
    scope::Scope,
    search::Range,
    traces::TraceRows,
};
use crate::traceql::ast::Status;

/// Calls of one service by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The service whose span is the parent.
    pub parent: String,
    /// The service that was called.
    pub child: String,
    /// How many spans of the child have a parent of the other.
    pub calls: u64,
    /// How many of them have the status error.
    pub errors: u64,
}

/// Which services call which.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    /// In order of the services, each pair once.
    pub dependencies: Vec<Dependency>,
    /// Why calls may be missing; empty when none are.
    pub missing: Vec<String>,
    pub inspected_spans: u64,
}

/// Counts the calls between services, of all spans that start in the range: those whose parent, whenever it started, has
/// another service. Spans without a service or parent call nobody. A span that is stored twice counts once; where spans
/// that differ share the parent's id, one of them is it. Blocking.
///
/// # Errors
/// When the budget is spent.
pub fn dependencies(
    snapshot: &Snapshot,
    cache: &Cache,
    range: Range,
    budget: &Budget,
) -> Result<Dependencies, Stopped> {
    let scope = Scope::open(snapshot, &cache.within(budget))?;
    let mut looked: Vec<(usize, Option<usize>)> = Vec::new();
    for (at, (block, parts)) in scope.blocks.iter().enumerate() {
        if range.meets(block.meta().start_min, block.meta().start_max) {
            looked.extend(parts.clone().map(|part| (part, Some(at))));
        }
    }
    looked.extend(scope.memory.iter().flat_map(|(_, parts)| parts.clone()).map(|part| (part, None)));
    let mut masks: Vec<Option<Mask>> = scope.parts.iter().map(|_| None).collect();
    looked.iter().for_each(|(part, _)| masks[*part] = Some(Mask::All));
    scope.drop_repeats(&mut masks)?;
    let run = Run {
        scope: &scope,
        range,
        budget,
        names: Mutex::default(),
        services: scope.parts.iter().map(|_| OnceLock::new()).collect(),
        memory: OnceLock::new(),
    };
    let states = parallel::fold(0..looked.len(), Calls::new, |calls, at| {
        budget.check()?;
        let (part, block) = looked[at];
        let mask = masks[part].as_ref().unwrap_or(&Mask::None);
        match run.part(part, block, mask, calls) {
            Ok(orphans) => run.settle(&orphans, block, calls),
            Err(error) => {
                scope.failed(&error);
                Ok(())
            }
        }
    })?;
    let mut sum = Calls::new();
    for ((parent, child), (calls, errors)) in states.into_iter().flatten() {
        let before = sum.entry((parent, child)).or_default();
        *before = (before.0 + calls, before.1 + errors);
    }
    let names = &run.names.lock().names;
    let name = |code: u32| names[code as usize - 1].clone();
    let dependency =
        |((parent, child), (calls, errors))| Dependency { parent: name(parent), child: name(child), calls, errors };
    let mut dependencies: Vec<Dependency> = sum.into_iter().map(dependency).collect();
    dependencies.sort();
    let inspected_spans = looked.iter().map(|(part, _)| scope.parts[*part].part.rows as u64).sum();
    let missing = scope.missing.lock().clone();
    Ok(Dependencies { dependencies, missing, inspected_spans })
}

/// The code of no service. Those of names are one more than their places.
const NO_SERVICE: u32 = 0;

/// By parent and child, how many calls there are and how many of them failed.
type Calls = HashMap<(u32, u32), (u64, u64)>;

fn add(calls: &mut Calls, parent: u32, child: u32, failed: bool) {
    if parent != NO_SERVICE && child != NO_SERVICE && parent != child {
        let (all, errors) = calls.entry((parent, child)).or_default();
        *all += 1;
        *errors += u64::from(failed);
    }
}

struct Run<'a> {
    scope: &'a Scope,
    range: Range,
    budget: &'a Budget,
    names: Mutex<Names>,
    /// Of each part.
    services: Vec<OnceLock<Services>>,
    memory: OnceLock<InMemory>,
}

/// The services of spans in memory, by trace and id.
type InMemory = HashMap<([u8; 16], [u8; 8]), u32>;

#[derive(Default)]
struct Names {
    codes: HashMap<String, u32>,
    names: Vec<String>,
}

/// The service of each row of a part.
struct Services {
    rows: Arc<Codes>,
    of_resource: Vec<u32>,
}

impl Services {
    fn of(&self, row: usize) -> u32 {
        self.rows.codes.get(row).map_or(NO_SERVICE, |code| self.of_resource[*code as usize])
    }
}

/// A span whose parent is not in its block.
struct Orphan {
    trace: [u8; 16],
    parent: [u8; 8],
    child: u32,
    failed: bool,
}

impl Run<'_> {
    /// Counts the calls of a part; those whose parent is elsewhere are returned, in order of their traces if it is a block's.
    fn part(
        &self,
        part: usize,
        block: Option<usize>,
        mask: &Mask,
        calls: &mut Calls,
    ) -> Result<Vec<Orphan>, BlockError> {
        let opened = &self.scope.parts[part].part;
        let column = |at: usize| opened.column(&self.scope.cache, at);
        let services = self.services(part)?;
        let starts = match block.map(|block| self.scope.blocks[block].0.meta()) {
            Some(meta) if self.range.has(meta.start_min) && self.range.has(meta.start_max) => None,
            _ => column(core::START_TIME)?,
        };
        let starts = starts.as_ref().and_then(|starts| starts.as_primitive_opt::<TimestampNanosecondType>());
        let status = column(core::STATUS_CODE)?;
        let status = status.as_ref().and_then(|status| status.as_primitive_opt::<Int32Type>());
        let parent_rows: Option<Int32Array> = column(core::PARENT_ROW)?.and_then(|rows| cast(&rows));
        let parent_ids: Option<FixedSizeBinaryArray> = column(core::PARENT_SPAN_ID)?.and_then(|ids| cast(&ids));
        let traces = block.map(|block| Traces::of(self.scope, block, part)).transpose()?;
        let ids = if block.is_none() { column(core::TRACE_ID)? } else { None };
        let ids = ids.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
        let mut orphans = Vec::new();
        let mut place = 0;
        for row in mask.rows(opened.rows) {
            if starts.is_some_and(|starts| !self.range.has(starts.value(row))) {
                continue;
            }
            let failed = field::status(status, row) == Status::Error;
            let child = services.of(row);
            let parent_row = parent_rows.as_ref().filter(|rows| rows.is_valid(row)).map(|rows| rows.value(row));
            if let (Some(parent), Some(traces)) = (parent_row.and_then(|row| u32::try_from(row).ok()), &traces) {
                place = traces.rows.at(traces.before + row as u32, place);
                let of_trace = traces.rows.rows(place);
                if let Some(parent) = of_trace.start.checked_add(parent).filter(|parent| *parent < of_trace.end) {
                    add(calls, self.service_at(part, traces, parent)?, child, failed);
                }
            } else if let Some(ids_of) = parent_ids.as_ref().filter(|ids| ids.is_valid(row)) {
                let trace = match &traces {
                    Some(traces) => {
                        place = traces.rows.at(traces.before + row as u32, place);
                        Some(traces.rows.id(place))
                    }
                    None => ids.and_then(|ids| ids.value(row).try_into().ok()),
                };
                if let (Some(trace), Ok(parent)) = (trace, ids_of.value(row).try_into()) {
                    orphans.push(Orphan { trace, parent, child, failed });
                }
            }
        }
        Ok(orphans)
    }

    /// The service of a row of a block, counted through all its row groups. Mostly it is in the part that is looked at.
    fn service_at(&self, part: usize, traces: &Traces, row: u32) -> Result<u32, BlockError> {
        let here = row.checked_sub(traces.before).map(|row| row as usize);
        match here.filter(|row| *row < self.scope.parts[part].part.rows) {
            Some(row) => Ok(self.services(part)?.of(row)),
            None => match self.scope.place_of(traces.parts.clone(), row) {
                Some((part, row)) => Ok(self.services(part as usize)?.of(row as usize)),
                None => Ok(NO_SERVICE),
            },
        }
    }

    fn services(&self, part: usize) -> Result<&Services, BlockError> {
        if let Some(services) = self.services[part].get() {
            return Ok(services);
        }
        let (rows, resources) = self.scope.parts[part].part.resources(&self.scope.cache)?;
        let mut names = self.names.lock();
        let service = |resource: &Option<Resource>| {
            let name = resource.as_ref().and_then(|resource| resource.service_name()).filter(|name| !name.is_empty());
            name.map_or(NO_SERVICE, |name| names.code(name))
        };
        let of_resource = resources.iter().map(service).collect();
        Ok(self.services[part].get_or_init(|| Services { rows, of_resource }))
    }

    /// Counts calls of spans whose parents are not in their block.
    fn settle(&self, orphans: &[Orphan], block: Option<usize>, calls: &mut Calls) -> Result<(), Stopped> {
        if orphans.is_empty() {
            return Ok(());
        }
        let memory = self.memory.get_or_init(|| self.read_memory());
        for of_trace in orphans.chunk_by(|a, b| a.trace == b.trace) {
            self.budget.check()?;
            let mut elsewhere: Option<HashMap<[u8; 8], u32>> = None;
            for orphan in of_trace {
                let parent = match memory.get(&(orphan.trace, orphan.parent)) {
                    Some(service) => Some(service),
                    None => elsewhere.get_or_insert_with(|| self.stored(orphan.trace, block)).get(&orphan.parent),
                };
                add(calls, parent.copied().unwrap_or(NO_SERVICE), orphan.child, orphan.failed);
            }
        }
        Ok(())
    }

    fn read_memory(&self) -> InMemory {
        let mut services = InMemory::new();
        for part in self.scope.memory.iter().flat_map(|(_, parts)| parts.clone()) {
            // What is in memory can be read.
            let opened = &self.scope.parts[part].part;
            let (Ok(Some(ids)), Some(links), Ok(of_rows)) =
                (opened.column(&self.scope.cache, core::TRACE_ID), self.scope.links(part as u32), self.services(part))
            else {
                continue;
            };
            let Some(ids) = ids.as_fixed_size_binary_opt() else { continue };
            for (row, trace) in ids.value_data().as_chunks::<16>().0.iter().enumerate() {
                services.entry((*trace, links.id(row as u32))).or_insert_with(|| of_rows.of(row));
            }
        }
        services
    }

    /// The services of a trace's spans in other blocks, by id.
    fn stored(&self, trace: [u8; 16], except: Option<usize>) -> HashMap<[u8; 8], u32> {
        let mut services = HashMap::new();
        let Some(id) = TraceId::new(trace) else { return services };
        for (at, (block, parts)) in self.scope.blocks.iter().enumerate() {
            if Some(at) == except || !block.may_hold(&id) {
                continue;
            }
            let mut read = || -> Result<(), BlockError> {
                let traces = traces_of(&self.scope.cache, block)?;
                let Some(rows) = traces.find(&trace).map(|place| traces.rows(place)) else { return Ok(()) };
                for (part, row) in rows.filter_map(|row| self.scope.place_of(parts.clone(), row)) {
                    if let Some(links) = self.scope.links(part) {
                        let service = self.services(part as usize)?.of(row as usize);
                        services.entry(links.id(row)).or_insert(service);
                    }
                }
                Ok(())
            };
            if let Err(error) = read() {
                self.scope.failed(&error);
            }
        }
        services
    }
}

impl Names {
    fn code(&mut self, name: &str) -> u32 {
        if let Some(code) = self.codes.get(name) {
            return *code;
        }
        self.names.push(name.to_owned());
        let code = self.names.len() as u32;
        self.codes.insert(name.to_owned(), code);
        code
    }
}

/// The traces of a block, and where in it a part is.
struct Traces {
    rows: Arc<TraceRows>,
    parts: Rows<usize>,
    /// Rows of the parts before.
    before: u32,
}

impl Traces {
    fn of(scope: &Scope, block: usize, part: usize) -> Result<Self, BlockError> {
        let (block, parts) = &scope.blocks[block];
        let before: usize = scope.parts[parts.start..part].iter().map(|opened| opened.part.rows).sum();
        Ok(Self { rows: traces_of(&scope.cache, block)?, parts: parts.clone(), before: before as u32 })
    }
}
