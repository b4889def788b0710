//! What attributes are called, and what values fields have.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
use arrow_buffer::BooleanBuffer;
use clew_storage::{Snapshot, block::BlockError, schema::core};

use super::{
    Budget, Cache, Range, Stopped,
    budget::Room,
    cache::Key,
    candidates::units,
    coded::Coded,
    field::{needs_trace, sources},
    mask::Mask,
    metrics::{
        counted::counted,
        groups::{Groups, of_part},
    },
    names::{TagScope, names_kept},
    parallel,
    part::{Part, Place},
    scope::{Opened, Scope},
};
use crate::traceql::{
    INTRINSICS,
    ast::{Field, FieldAt, Intrinsic, Pipeline, SpansetExpr, SpansetKind, Stage},
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

/// What values fields have together.
#[derive(Clone, Debug, Default)]
pub struct TagCombinations {
    /// Each once, with a value for each field.
    pub values: Vec<Vec<Value>>,
    /// Why some may be missing; empty when none are.
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
    let scope = Scope::open(snapshot, &cache.within(budget))?;
    let some = match filter {
        Some(_) => some_spans(&scope, filter, options.range, budget)?,
        None => all_spans(&scope, options.range),
    };
    let found = parallel::map(0..some.parts.len(), |at| {
        budget.check()?;
        let (part, mask) = &some.parts[at];
        let part = &scope.parts[*part].part;
        Ok::<_, Stopped>(of.iter().map(|of| names_kept(part, &scope.cache, *of, mask)).collect::<Vec<_>>())
    });
    let mut all: Vec<BTreeSet<String>> = of.iter().map(|_| BTreeSet::new()).collect();
    let mut room = Room::new();
    for found in found {
        for (all, found) in all.iter_mut().zip(found?) {
            match found {
                Ok(found) => {
                    for name in found.iter() {
                        if !all.contains(name) {
                            room.take(size_of::<String>() + name.len())?;
                            all.insert(name.clone());
                        }
                    }
                }
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
/// When the budget is spent, or the answer would be too long.
pub fn tag_values(
    snapshot: &Snapshot,
    cache: &Cache,
    field: &Field,
    filter: Option<&Pipeline>,
    options: TagOptions,
    budget: &Budget,
) -> Result<TagValues, Stopped> {
    let scope = Scope::open(snapshot, &cache.within(budget))?;
    let some = some_spans(&scope, filter, options.range, budget)?;
    let found = parallel::map(0..some.parts.len(), |at| {
        budget.check()?;
        let (part, mask) = &some.parts[at];
        let values = values_kept(&scope, *part, field, mask, options.limit);
        scope.forget(*part);
        budget.check().map(|()| values)
    });
    let mut all = Distinct { limit: options.limit, ..Distinct::default() };
    let mut room = Room::new();
    for found in found {
        match found? {
            Ok(values) => {
                for value in values.iter() {
                    if all.add(value.clone()) {
                        room.take(value.bytes())?;
                    }
                }
            }
            Err(error) => scope.failed(&error),
        }
    }
    Ok(TagValues { values: all.values, missing: scope.missing.into_inner(), inspected_spans: some.spans })
}

/// Lists which values fields have together in some spans. Blocking.
///
/// # Errors
/// When the budget is spent, or the answer would be too long.
pub fn tag_combinations(
    snapshot: &Snapshot,
    cache: &Cache,
    fields: &[Field],
    filter: Option<&Pipeline>,
    options: TagOptions,
    budget: &Budget,
) -> Result<TagCombinations, Stopped> {
    let scope = Scope::open(snapshot, &cache.within(budget))?;
    let some = some_spans(&scope, filter, options.range, budget)?;
    let by: Vec<_> = fields.iter().map(|field| FieldAt { field: field.clone(), at: At::new(0, 0) }).collect();
    let found = parallel::map(0..some.parts.len(), |at| {
        budget.check()?;
        let (part, mask) = &some.parts[at];
        let mut groups = Groups::default();
        of_part(&scope, *part as u32, &by, mask, &mut groups)?;
        scope.forget(*part);
        budget.check().map(|()| groups.labels)
    });
    let (mut all, mut room) = (Groups::default(), Room::new());
    for found in found {
        for values in found? {
            if all.labels.len() < options.limit {
                let before = all.bytes;
                all.number(values)?;
                room.take(all.bytes - before)?;
            }
        }
    }
    Ok(TagCombinations { values: all.labels, missing: scope.missing.into_inner(), inspected_spans: some.spans })
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
        Place::Memory { .. } | Place::Rows { .. } => within(scope, part, Mask::All, range),
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
        Place::Memory { .. } | Place::Rows { .. } => range == Range::ALL,
    };
    if !whole {
        let starts = scope.parts[part].part.column(&scope.cache, core::START_TIME);
        let starts = starts.unwrap_or_else(|error| {
            scope.failed(&error);
            None
        })?;
        let starts = starts.as_primitive_opt::<TimestampNanosecondType>()?;
        let kept = BooleanBuffer::collect_bool(rows, |row| mask.keeps(row) && range.has(starts.value(row)));
        return (kept.count_set_bits() > 0).then(|| Mask::of(kept));
    }
    let some = mask.rows(rows).next().is_some();
    some.then_some(mask)
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
            Value::Array(elements) => elements.into_iter().for_each(|element| {
                distinct.add(element);
            }),
            Value::Nil | Value::Opaque => {}
            one => {
                distinct.add(one);
            }
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
    /// Whether it is a new one, and there is room for it.
    fn add(&mut self, value: Value) -> bool {
        if self.values.len() >= self.limit {
            return false;
        }
        let same = match &value {
            Value::String(text) => Same::Text(text.clone()),
            Value::Bool(yes) => Same::Bits(0, u64::from(*yes)),
            Value::Int(number) => Same::Bits(1, *number as u64),
            Value::Float(number) => Same::Bits(2, number.to_bits()),
            Value::Duration(ns) => Same::Bits(3, *ns as u64),
            Value::Status(status) => Same::Bits(4, *status as u64),
            Value::Kind(kind) => Same::Bits(5, *kind as u64),
            Value::Nil | Value::Array(_) | Value::Opaque => return false,
        };
        let new = self.seen.insert(same);
        if new {
            self.values.push(value);
        }
        new
    }
}
