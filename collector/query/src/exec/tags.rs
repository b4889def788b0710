//! What attributes are called, and what values fields have.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, ListArray, cast::AsArray};
use arrow_buffer::BooleanBuffer;
use clew_storage::{
    Snapshot,
    block::BlockError,
    schema::{ATTRIBUTE_PREFIX, core},
};
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};
use prost::Message;

use super::{
    Budget, Cache, Range, Stopped,
    cache::Key,
    candidates::units,
    coded::Coded,
    field::{needs_trace, sources},
    mask::Mask,
    metrics::counted::counted,
    parallel,
    part::{Part, Place},
    scope::{Opened, Scope},
};
use crate::traceql::{
    INTRINSICS,
    ast::{Field, Intrinsic, Pipeline, SpansetExpr, SpansetKind, Stage},
    at::At,
    value::Value,
};

/// What is listed.
#[derive(Clone, Copy, Debug)]
pub struct TagOptions {
    /// A span has to start within.
    pub range: Range,
    /// Names of each scope, or values, at most: of more, some.
    pub limit: usize,
}

/// Where attributes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagScope {
    Span,
    Resource,
    Event,
    Link,
    Instrumentation,
    /// What every span has.
    Intrinsic,
}

impl TagScope {
    const OF_ATTRIBUTES: [Self; 5] = [Self::Span, Self::Resource, Self::Event, Self::Link, Self::Instrumentation];
}

/// What attributes are called.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    /// In order.
    pub scopes: Vec<(TagScope, Vec<String>)>,
    /// Why names may be missing; empty when none are.
    pub missing: Vec<String>,
    pub inspected_spans: u64,
}

/// What values a field has.
#[derive(Clone, Debug, Default)]
pub struct TagValues {
    /// Each once; of arrays their elements.
    pub values: Vec<Value>,
    /// Why values may be missing; empty when none are.
    pub missing: Vec<String>,
    pub inspected_spans: u64,
}

/// Lists what the attributes of some spans are called. Without a filter these are the spans of all blocks that have some in the
/// range, and those in memory that are in it. Blocking.
///
/// # Errors
/// When the budget is spent.
pub fn tag_names(
    snapshot: &Snapshot,
    cache: &Cache,
    of: Option<TagScope>,
    filter: Option<&Pipeline>,
    options: TagOptions,
    budget: &Budget,
) -> Result<Tags, Stopped> {
    let mut scopes = Vec::new();
    if of.is_none_or(|of| of == TagScope::Intrinsic) {
        let names = INTRINSICS.iter().flat_map(|intrinsic| [intrinsic.name(), intrinsic.scoped_name()]);
        let names: BTreeSet<&str> = names.collect();
        let names = names.into_iter().take(options.limit).map(str::to_owned);
        scopes.push((TagScope::Intrinsic, names.collect()));
    }
    let of: Vec<TagScope> =
        TagScope::OF_ATTRIBUTES.into_iter().filter(|scope| of.is_none_or(|of| of == *scope)).collect();
    if of.is_empty() {
        return Ok(Tags { scopes, ..Tags::default() });
    }
    let scope = Scope::open(snapshot, cache);
    let some = match filter {
        Some(_) => some_spans(&scope, filter, options.range, budget)?,
        None => all_spans(&scope, options.range),
    };
    let found = parallel::map(0..some.parts.len(), |at| {
        budget.check()?;
        let (part, mask) = &some.parts[at];
        let part = &scope.parts[*part].part;
        Ok::<_, Stopped>(of.iter().map(|of| names_kept(part, cache, *of, mask)).collect::<Vec<_>>())
    });
    let mut all: Vec<BTreeSet<String>> = of.iter().map(|_| BTreeSet::new()).collect();
    for found in found {
        for (all, found) in all.iter_mut().zip(found?) {
            match found {
                Ok(found) => all.extend(found.iter().cloned()),
                Err(error) => scope.failed(&error),
            }
        }
    }
    let limited = all.into_iter().map(|names| names.into_iter().take(options.limit).collect());
    scopes.extend(of.into_iter().zip(limited));
    scopes.sort();
    Ok(Tags { scopes, missing: scope.missing.into_inner(), inspected_spans: some.spans })
}

/// Lists the values that a field has in some spans. Blocking.
///
/// # Errors
/// When the budget is spent.
pub fn tag_values(
    snapshot: &Snapshot,
    cache: &Cache,
    field: &Field,
    filter: Option<&Pipeline>,
    options: TagOptions,
    budget: &Budget,
) -> Result<TagValues, Stopped> {
    let scope = Scope::open(snapshot, cache);
    let some = some_spans(&scope, filter, options.range, budget)?;
    let found = parallel::map(0..some.parts.len(), |at| {
        budget.check()?;
        let (part, mask) = &some.parts[at];
        Ok::<_, Stopped>(values_kept(&scope, *part, field, mask, options.limit))
    });
    let mut all = Distinct { limit: options.limit, ..Distinct::default() };
    for found in found {
        match found? {
            Ok(values) => values.iter().for_each(|value| all.add(value.clone())),
            Err(error) => scope.failed(&error),
        }
    }
    Ok(TagValues { values: all.values, missing: scope.missing.into_inner(), inspected_spans: some.spans })
}

/// Spans: parts, and which of their rows.
struct Spans {
    parts: Vec<(usize, Mask)>,
    spans: u64,
}

/// All spans of the blocks that may have some in a range, and those in memory that are in it.
fn all_spans(scope: &Scope, range: Range) -> Spans {
    let parts = units(scope, range).into_iter().flat_map(|unit| unit.parts);
    let mask = |part: usize| match scope.parts[part].part.place {
        Place::Block { .. } => Some(Mask::All),
        Place::Memory { .. } => within(scope, part, Mask::All, range),
    };
    let parts: Vec<_> = parts.filter_map(|part| Some((part, mask(part)?))).collect();
    let spans = parts.iter().map(|(part, _)| scope.parts[*part].part.rows as u64).sum();
    Spans { parts, spans }
}

fn some_spans(scope: &Scope, filter: Option<&Pipeline>, range: Range, budget: &Budget) -> Result<Spans, Stopped> {
    let all = SpansetExpr { kind: SpansetKind::Filter(None), at: At::new(0, 0) };
    let all = Pipeline { stages: vec![Stage::Spansets(all)] };
    let counted = counted(scope, filter.unwrap_or(&all), range, budget)?;
    let masks = counted.masks.into_iter().enumerate().filter_map(|(part, mask)| Some((part, mask?)));
    let parts = masks.filter_map(|(part, mask)| Some((part, within(scope, part, mask, range)?)));
    Ok(Spans { parts: parts.collect(), spans: counted.inspected_spans })
}

/// The rows of a mask that start within a range; None when there are none.
pub fn within(scope: &Scope, part: usize, mask: Mask, range: Range) -> Option<Mask> {
    let Opened { part: Part { rows, place, .. }, .. } = &scope.parts[part];
    let rows = *rows;
    let whole = match place {
        Place::Block { block, .. } => range.has(block.meta().start_min) && range.has(block.meta().start_max),
        Place::Memory { .. } => range == Range::ALL,
    };
    if !whole {
        let starts = &scope.links(part as u32)?.starts;
        let kept = BooleanBuffer::collect_bool(rows, |row| mask.keeps(row) && range.has(starts.value(row)));
        return (kept.count_set_bits() > 0).then(|| Mask::of(kept));
    }
    let some = mask.rows(rows).next().is_some();
    some.then_some(mask)
}

/// What a whole row group has does not change, and is small.
fn names_kept(part: &Part, cache: &Cache, of: TagScope, mask: &Mask) -> Result<Arc<HashSet<String>>, BlockError> {
    match (&part.place, mask) {
        (Place::Block { block, group }, Mask::All) => {
            cache.names(Key::Names(block.meta().id, *group as u32, of), || names(part, cache, of, mask))
        }
        _ => names(part, cache, of, mask).map(Arc::new),
    }
}

fn names(part: &Part, cache: &Cache, of: TagScope, mask: &Mask) -> Result<HashSet<String>, BlockError> {
    let mut names = HashSet::new();
    match of {
        TagScope::Span => {
            for (at, column) in part.schema.fields().iter().enumerate().skip(core::COUNT) {
                let Some(name) = column.name().strip_prefix(ATTRIBUTE_PREFIX) else { continue };
                let is_used = || {
                    let array = part.column(cache, at)?;
                    Ok(array.is_some_and(|array| mask.rows(part.rows).any(|row| array.is_valid(row))))
                };
                if part.has_values(at)? && (matches!(mask, Mask::All) || is_used()?) {
                    names.insert(name.to_owned());
                }
            }
            of_lists(part.column(cache, core::ATTRIBUTES)?, mask, None, &mut names);
        }
        TagScope::Resource => {
            let (codes, resources) = part.resources(cache)?;
            let used: HashSet<u32> = mask.rows(part.rows).map(|row| codes.codes[row]).collect();
            let used = used.into_iter().filter_map(|code| resources[code as usize].as_ref()?.message.clone());
            let resources = used.filter_map(|message| Resource::decode(message).ok());
            names.extend(resources.flat_map(|resource| resource.attributes).map(|pair| pair.key));
        }
        TagScope::Event => of_lists(part.column(cache, core::EVENTS)?, mask, Some(2), &mut names),
        TagScope::Link => of_lists(part.column(cache, core::LINKS)?, mask, Some(3), &mut names),
        TagScope::Instrumentation => {
            let column = part.column(cache, core::SCOPE_FIELDS)?;
            let Some(fields) = column.as_ref().and_then(|column| column.as_binary_opt::<i32>()) else {
                return Ok(names);
            };
            let rows = mask.rows(part.rows).filter(|row| fields.is_valid(*row));
            let messages: HashSet<&[u8]> = rows.map(|row| fields.value(row)).collect();
            let scopes = messages.into_iter().filter_map(|message| InstrumentationScope::decode(message).ok());
            names.extend(scopes.flat_map(|scope| scope.attributes).map(|pair| pair.key));
        }
        TagScope::Intrinsic => {}
    }
    Ok(names)
}

/// The keys of lists of attributes; of those that are the column `inside` of what the lists hold, when that is said.
fn of_lists(array: Option<ArrayRef>, mask: &Mask, inside: Option<usize>, names: &mut HashSet<String>) {
    let Some(lists) = array.as_ref().and_then(|array| array.as_list_opt::<i32>()) else { return };
    let attributes = match inside {
        None => Some(lists),
        Some(column) => lists.values().as_struct_opt().and_then(|entries| entries.column(column).as_list_opt()),
    };
    let keys = |lists: &ListArray| Some(lists.values().as_struct_opt()?.column(0).as_string_opt::<i32>()?.clone());
    let Some((attributes, keys)) = attributes.and_then(|lists| Some((lists, keys(lists)?))) else { return };
    let (entries, pairs) = (lists.value_offsets(), attributes.value_offsets());
    for row in mask.rows(lists.len()) {
        let (start, end) = (entries[row] as usize, entries[row + 1] as usize);
        let pairs = if inside.is_none() { start..end } else { pairs[start] as usize..pairs[end] as usize };
        for key in pairs.map(|pair| keys.value(pair)) {
            if !names.contains(key) {
                names.insert(key.to_owned());
            }
        }
    }
}

/// Values of a row group that are kept: if there are more, none are.
const MOST_KEPT: usize = 4096;

/// The values of a whole row group do not change, and are mostly few.
fn values_kept(
    scope: &Scope,
    part: usize,
    field: &Field,
    mask: &Mask,
    limit: usize,
) -> Result<Arc<Vec<Value>>, BlockError> {
    let of_part = &scope.parts[part].part;
    // A root may be in another part.
    let of_root = [Field::Intrinsic(Intrinsic::RootName), Field::Intrinsic(Intrinsic::RootService)];
    if let (Place::Block { block, group }, Mask::All) = (&of_part.place, mask)
        && !needs_trace(field)
        && !of_root.contains(field)
    {
        let key = Key::Values(block.meta().id, *group as u32, field.clone());
        let read = || {
            let coded = Coded::of(&sources(of_part, &scope.cache, field)?, of_part.rows);
            Ok(values(coded, mask, MOST_KEPT))
        };
        let kept = scope.cache.values(key, read)?;
        if kept.len() < MOST_KEPT {
            return Ok(kept);
        }
    }
    Ok(Arc::new(values(scope.coded(field, part as u32, mask), mask, limit)))
}

fn values(coded: Coded, mask: &Mask, limit: usize) -> Vec<Value> {
    let mut used = vec![false; coded.values.len()];
    mask.rows(coded.codes.len()).for_each(|row| used[coded.codes[row] as usize] = true);
    let mut distinct = Distinct { limit, ..Distinct::default() };
    for (value, _) in coded.values.into_iter().zip(used).filter(|(_, used)| *used) {
        match value {
            Value::Array(elements) => elements.into_iter().for_each(|element| distinct.add(element)),
            Value::Nil | Value::Opaque => {}
            one => distinct.add(one),
        }
    }
    distinct.values
}

/// Different values, as many as there may be.
#[derive(Default)]
struct Distinct {
    limit: usize,
    values: Vec<Value>,
    seen: HashSet<Same>,
}

/// Values that are the same have the same.
#[derive(PartialEq, Eq, Hash)]
enum Same {
    Text(String),
    Bits(u8, u64),
}

impl Distinct {
    fn add(&mut self, value: Value) {
        if self.values.len() >= self.limit {
            return;
        }
        let same = match &value {
            Value::String(text) => Same::Text(text.clone()),
            Value::Bool(yes) => Same::Bits(0, u64::from(*yes)),
            Value::Int(number) => Same::Bits(1, *number as u64),
            Value::Float(number) => Same::Bits(2, number.to_bits()),
            Value::Duration(ns) => Same::Bits(3, *ns as u64),
            Value::Status(status) => Same::Bits(4, *status as u64),
            Value::Kind(kind) => Same::Bits(5, *kind as u64),
            Value::Nil | Value::Array(_) | Value::Opaque => return,
        };
        if self.seen.insert(same) {
            self.values.push(value);
        }
    }
}
