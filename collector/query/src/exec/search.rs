//! Finds traces, newest first, and stops when there are enough.

use std::collections::{HashMap, HashSet};

use clew_storage::Snapshot;

use super::{
    budget::{Budget, Room, Stopped},
    cache::Cache,
    candidates::{Candidates, units},
    pipeline::{Filters, Runner, Spanset, selected},
    scope::Scope,
    trace::{Parent, Trace},
};
use crate::traceql::{
    ast::{Field, Intrinsic, Pipeline, Scope as Of, Status},
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
        self.meets(time, time)
    }

    /// Whether one of the times from `first` to `last` is in it. A range that ends with the last of all times has that one too.
    #[inline]
    pub fn meets(&self, first: i64, last: i64) -> bool {
        self.start <= last && (first < self.end || self.end == i64::MAX)
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
    /// How many spans it has, how many of them failed, and of how many the parent is not there.
    pub spans: u32,
    pub errors: u32,
    pub orphans: u32,
    /// Spans and failed spans of each service that has a name.
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
    /// What stages have computed of it.
    pub attributes: Vec<(String, Value)>,
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

/// Finds traces. Blocking.
///
/// # Errors
/// When the budget is spent before anything is known, or the answer would be too long.
pub fn search(
    snapshot: &Snapshot,
    cache: &Cache,
    pipeline: &Pipeline,
    options: SearchOptions,
    budget: &Budget,
) -> Result<Searched, Stopped> {
    let scope = Scope::open(snapshot, &cache.within(budget))?;
    let filters = Filters::of(pipeline);
    let mut runner = Runner { pipeline, filters, kept: scope.parts.iter().map(|_| Vec::new()).collect() };
    let mut show = Show { fields: shown(&runner), options, room: Room::new() };
    let mut units = units(&scope, options.range).into_iter().peekable();
    let mut candidates = Candidates::default();
    let mut seen = HashSet::new();
    let mut found: Vec<Found> = Vec::new();
    let mut inspected_spans = 0;
    while found.len() < options.limit {
        budget.check()?;
        let unread = units.peek().map(|unit| unit.newest);
        // A trace is certain once nothing that was not looked at can be newer.
        if let Some(trace) = candidates.pop(unread) {
            if seen.insert(trace) {
                let trace = Trace::read(&scope, trace);
                found.extend(show.trace(&runner, &trace)?);
                budget.check()?;
            }
            continue;
        }
        let Some(unit) = units.next() else { break };
        inspected_spans += candidates.read(&scope, &mut runner, &unit, options.range, budget)?;
    }
    found.sort_by_key(|found| std::cmp::Reverse((found.newest, found.trace_id)));
    let missing = scope.missing.into_inner();
    Ok(Searched { traces: found, missing, inspected_spans })
}

/// What is shown of spans: what is selected, then what filters name.
fn shown<'q>(runner: &Runner<'q>) -> Vec<&'q Field> {
    let mut fields = selected(runner.pipeline);
    let mut named = Vec::new();
    runner.filters.filters.iter().flatten().for_each(|filter| {
        super::mask::each_field(filter, &mut |field| named.push(field));
    });
    for field in named {
        if !fields.contains(&field) && is_shown(field) {
            fields.push(field);
        }
    }
    fields
}

/// Whether a field that only a filter names is shown: spans are shown with id, name, start and duration anyway.
fn is_shown(field: &Field) -> bool {
    !matches!(field, Field::Intrinsic(Intrinsic::Name | Intrinsic::Duration | Intrinsic::SpanId | Intrinsic::TraceId))
}

fn failed(trace: &Trace<'_>, at: u32) -> bool {
    trace.value(&Field::Intrinsic(Intrinsic::Status), at) == Value::Status(Status::Error)
}

/// Spans that say a parent which is not among the spans.
fn orphans(trace: &Trace<'_>) -> u32 {
    let missing = trace.spans.iter().filter_map(|span| match span.parent {
        Parent::Missing(id) => Some(id),
        Parent::Root | Parent::At(_) => None,
    });
    let missing: Vec<[u8; 8]> = missing.collect();
    if missing.is_empty() {
        return 0;
    }
    // A span that is an ancestor of its own has a parent all the same.
    let ids: HashSet<[u8; 8]> = trace.spans.iter().map(|span| span.id).collect();
    missing.iter().filter(|id| !ids.contains(*id)).count() as u32
}

fn services(trace: &Trace<'_>) -> Vec<(String, u32, u32)> {
    let of = Field::attribute(Of::Resource, "service.name");
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut services: Vec<(String, u32, u32)> = Vec::new();
    for at in (0..trace.spans.len() as u32).take_while(|_| trace.goes_on()) {
        let Value::String(service) = trace.value(&of, at) else { continue };
        let place = *places.entry(service).or_insert_with_key(|service| {
            services.push((service.clone(), 0, 0));
            services.len() - 1
        });
        let (_, spans, errors) = &mut services[place];
        *spans += 1;
        *errors += u32::from(failed(trace, at));
    }
    services
}

/// Makes the answer.
struct Show<'q> {
    fields: Vec<&'q Field>,
    options: SearchOptions,
    room: Room,
}

impl Show<'_> {
    /// What a search shows of a trace; None when it does not match.
    fn trace(&mut self, runner: &Runner<'_>, trace: &Trace<'_>) -> Result<Option<Found>, Stopped> {
        let sets = runner.run(trace);
        let found = sets.iter().flat_map(|set| &set.spans).map(|at| trace.spans[*at as usize].start);
        let Some(newest) = found.filter(|start| self.options.range.has(*start)).max() else { return Ok(None) };
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let services = services(trace);
        self.room.take(services.iter().map(|service| size_of_val(service) + service.0.len()).sum())?;
        let each = (0..trace.spans.len() as u32).take_while(|_| trace.goes_on());
        Ok(Some(Found {
            trace_id: trace.id,
            root_service: text(trace.of_root(&Field::attribute(Of::Resource, "service.name"))),
            root_name: text(trace.of_root(&Field::Intrinsic(Intrinsic::Name))),
            start: trace.start(),
            duration: trace.duration(),
            spans: trace.spans.len() as u32,
            errors: each.map(|at| u32::from(failed(trace, at))).sum(),
            orphans: orphans(trace),
            services,
            sets: sets.into_iter().map(|set| self.set(trace, set)).collect::<Result<_, _>>()?,
            newest,
        }))
    }

    fn set(&mut self, trace: &Trace<'_>, Spanset { spans, attributes }: Spanset) -> Result<FoundSet, Stopped> {
        self.room.take(size_of::<FoundSet>() + bytes(&attributes))?;
        let shown = spans.iter().take(self.options.spans).take_while(|_| trace.goes_on());
        let shown = shown.map(|at| self.span(trace, *at)).collect::<Result<_, _>>()?;
        Ok(FoundSet { matched: spans.len() as u32, spans: shown, attributes })
    }

    fn span(&mut self, trace: &Trace<'_>, at: u32) -> Result<FoundSpan, Stopped> {
        let span = &trace.spans[at as usize];
        let attribute = |field: &&Field| {
            let value = trace.value(field, at);
            (!value.is_nil()).then(|| (field.to_string(), value))
        };
        let attributes: Vec<_> = self.fields.iter().filter_map(attribute).collect();
        let name = match trace.value(&Field::Intrinsic(Intrinsic::Name), at) {
            Value::String(name) => name,
            _ => String::new(),
        };
        self.room.take(size_of::<FoundSpan>() + name.len() + bytes(&attributes))?;
        let duration = u64::try_from(span.duration).unwrap_or(0);
        Ok(FoundSpan { id: span.id, name, start: span.start as u64, duration, attributes })
    }
}

fn bytes(attributes: &[(String, Value)]) -> usize {
    attributes.iter().map(|(name, value)| size_of::<String>() + name.len() + value.bytes()).sum()
}
