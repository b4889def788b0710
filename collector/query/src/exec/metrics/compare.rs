//! `compare`: in what selected spans differ from the others.
//!
//! Spans are counted twice: first how many have each value, in all; then, of the values that are shown, how many at each
//! step. So what is kept of values that only one span has is small.

mod rows;
mod values;

use std::{cmp::Reverse, collections::BTreeMap};

use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
use clew_storage::{
    block::BlockError,
    schema::{self, core},
};
use hashbrown::{HashMap, HashSet};
use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource};
use prost::Message;

use self::{
    rows::Rows,
    values::{Tally, add},
};
use super::{
    super::{
        Budget, Stopped,
        coded::{Coded, Key},
        field::{Listed, by_shape, listed_entries, sparse, typed},
        mask::{Mask, Masks, evaluate},
        names::may_list,
        parallel,
        part::Part,
        scope::Scope,
        trace::Trace,
    },
    MetricsOptions,
    counted::Counted,
    sorted,
};
use crate::traceql::{
    ast::{Comparison, Expr, Field, Intrinsic, Scope as Of},
    series::TimeSeries,
    steps::Steps,
    value::Value,
};

/// Points of an answer at most.
const MAX_POINTS: usize = 1 << 23;

/// How many values of an attribute are shown when the query does not say.
const DEFAULT_TOP_N: u32 = 10;

/// What is compared besides the attributes of span and resource.
const COMPARED: [Intrinsic; 6] = [
    Intrinsic::Name,
    Intrinsic::Kind,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootService,
];

const GROUPS: [&str; 2] = ["baseline", "selection"];

/// For each field, for each of its values, how many spans: those of the baseline at each step, then those of the selection.
pub type Counts = HashMap<Field, HashMap<Key, Vec<u32>>>;

/// Which values of which fields are counted.
pub type Values = BTreeMap<Field, HashSet<Key>>;

/// A series for each field, group and value: how many spans have it. With them, for each field and group, how many have any
/// value, and an error for each field of which values are left out. Blocking.
pub fn compare(
    scope: &Scope,
    counted: &Counted,
    comparison: &Comparison,
    options: MetricsOptions,
    budget: &Budget,
) -> Result<Vec<TimeSeries>, Stopped> {
    let run = Compare { scope, counted, selected: Selected::By(comparison), steps: Some(options.steps), budget };
    let totals = run.count(None)?;
    let top_n = usize::try_from(comparison.top_n.unwrap_or(DEFAULT_TOP_N)).unwrap_or(usize::MAX);
    let mut shown = Values::new();
    let mut cut: HashSet<Field> = HashSet::new();
    for (field, values) in &totals {
        for group in 0..2 {
            if values.iter().filter(|(key, counts)| **key != any() && counts[group] > 0).count() > top_n {
                cut.insert(field.clone());
            }
            let most = most_frequent(values, |counts| counts[group], top_n);
            shown.entry(field.clone()).or_default().extend(most.into_iter().cloned());
        }
    }
    let points = 2 * options.steps.count() * shown.values().map(HashSet::len).sum::<usize>();
    if points > MAX_POINTS {
        return Err(Stopped::TooMuch(format!(
            "the answer would have up to {points} points, {MAX_POINTS} are the most; ask for longer steps, or for fewer values \
             with a second argument such as compare({{ status = error }}, 3)"
        )));
    }
    let counts = run.count(Some(&shown))?;
    let series = counts.iter().flat_map(|(field, values)| run.series(field, values, cut.contains(field), top_n));
    Ok(sorted(series.collect()))
}

/// How many of the counted spans have each value: those that are not selected, then those that are, which are among them. Values
/// count that two selected spans or more have, of each field so many at most; the spans of all values are under [`any`].
/// Blocking.
pub fn totals(
    scope: &Scope,
    counted: &Counted,
    selected: &Counted,
    most: usize,
    budget: &Budget,
) -> Result<Counts, Stopped> {
    let of_selected = Compare { scope, counted: selected, selected: Selected::Are(selected), steps: None, budget };
    let mut shown = Values::new();
    for (field, mut values) in of_selected.count(None)? {
        values.retain(|key, counts| *key == any() || counts[1] > 1);
        let most = most_frequent(&values, |counts| counts[1], most);
        if !most.is_empty() {
            shown.insert(field, most.into_iter().cloned().collect());
        }
    }
    totals_of(scope, counted, selected, &shown, budget)
}

/// The same of these values. Blocking.
pub fn totals_of(
    scope: &Scope,
    counted: &Counted,
    selected: &Counted,
    shown: &Values,
    budget: &Budget,
) -> Result<Counts, Stopped> {
    Compare { scope, counted, selected: Selected::Are(selected), steps: None, budget }.count(Some(shown))
}

/// The values that most spans have; of those that are equally frequent the lower ones, so that answers are the same each time.
fn most_frequent(values: &HashMap<Key, Vec<u32>>, of: impl Fn(&[u32]) -> u32, top_n: usize) -> Vec<&Key> {
    let mut present: Vec<(&Key, u32)> = values.iter().map(|(key, counts)| (key, of(counts))).collect();
    present.retain(|(key, count)| **key != any() && *count > 0);
    if present.len() > top_n {
        // Texts are made for the most frequent only.
        present.sort_unstable_by_key(|(_, count)| Reverse(*count));
        let least = present.get(top_n.saturating_sub(1)).map_or(0, |(_, count)| *count);
        present.retain(|(_, count)| *count >= least);
    }
    present.sort_by_cached_key(|(key, count)| (Reverse(*count), format!("{:?}", key.0)));
    present.truncate(top_n);
    present.into_iter().map(|(key, _)| key).collect()
}

struct Compare<'a> {
    scope: &'a Scope,
    counted: &'a Counted,
    selected: Selected<'a>,
    /// When the spans that count start; any time counts when not said.
    steps: Option<Steps>,
    budget: &'a Budget,
}

/// Which spans are selected.
enum Selected<'a> {
    /// Those that this says.
    By(&'a Comparison),
    /// These.
    Are(&'a Counted),
}

/// Counts at most in which rows are put together.
const MAX_COUNTED: usize = 1 << 20;

/// Rows counted by a number that each of them has: what they have by it is looked at once for each number. None when there are so
/// many numbers that it would not pay.
fn counted_by(numbers: &[u32], rows: &Rows, places: usize) -> Option<Rows> {
    let count = numbers.iter().max().map_or(0, |most| *most as usize + 1);
    let pays = count < numbers.len() && count * places <= MAX_COUNTED;
    pays.then(|| Rows::Counted(rows.count(numbers.len(), count, places, |row| Some(numbers[row]))))
}

/// A key under which the spans that have any value are counted.
pub fn any() -> Key {
    Key(Value::Nil)
}

impl Compare<'_> {
    fn step_count(&self) -> usize {
        self.steps.map_or(1, |steps| steps.count())
    }

    fn series(&self, field: &Field, values: &HashMap<Key, Vec<u32>>, cut: bool, top_n: usize) -> Vec<TimeSeries> {
        let steps = self.step_count();
        let label = |meta: &str, name: &str, value: &Value, values| TimeSeries {
            labels: vec![(meta.to_owned(), Value::String(name.to_owned())), (field.to_string(), value.clone())],
            values,
        };
        let of = |key: &Key, group: usize| {
            let counts = values.get(key).map(|counts| &counts[group * steps..][..steps]);
            counts.map_or_else(Vec::new, |counts| counts.iter().map(|count| Some(f64::from(*count))).collect())
        };
        let mut series = Vec::new();
        for (group, name) in GROUPS.into_iter().enumerate() {
            let total = |counts: &[u32]| counts[group * steps..][..steps].iter().sum();
            let present = most_frequent(values, total, top_n);
            if values.get(&any()).is_none_or(|counts| total(counts) == 0) {
                continue;
            }
            series.push(label("__meta_type", &format!("{name}_total"), &Value::Nil, of(&any(), group)));
            series.extend(present.into_iter().map(|key| label("__meta_type", name, &key.0, of(key, group))));
        }
        if cut {
            series.push(label("__meta_error", "__too_many_values__", &Value::Nil, vec![None; steps]));
        }
        series
    }

    /// Counts for each value the spans that have it, in all; or of `shown` those at each step. Under [`any`] those that have
    /// any value.
    fn count(&self, shown: Option<&Values>) -> Result<Counts, Stopped> {
        let steps = if shown.is_some() { self.step_count() } else { 1 };
        let begin = || Tally { shown, steps, counts: Counts::new() };
        let states = parallel::fold(0..self.counted.masks.len(), begin, |tally, part| {
            let Some(mask) = &self.counted.masks[part] else { return Ok(()) };
            self.budget.check()?;
            self.part(part as u32, mask, tally).unwrap_or_else(|error| self.scope.failed(&error));
            Ok::<_, Stopped>(())
        })?;
        let mut states = states.into_iter().map(|tally| tally.counts);
        let mut all = states.next().unwrap_or_default();
        for (field, values) in states.flatten() {
            let of_field = all.entry(field).or_default();
            values.into_iter().for_each(|(key, counts)| add(of_field, key, &counts));
        }
        Ok(all)
    }

    /// Counts the values of the spans of a part.
    fn part(&self, part: u32, mask: &Mask, tally: &mut Tally<'_>) -> Result<(), BlockError> {
        let opened = &self.scope.parts[part as usize].part;
        let cache = &self.scope.cache;
        let rows = match (self.steps, &self.selected, mask) {
            (None, Selected::Are(selected), Mask::All) => {
                let selected = selected.masks[part as usize].clone().unwrap_or(Mask::None);
                Rows::All { selected: selected.rows(opened.rows).map(|row| row as u32).collect() }
            }
            _ => Rows::Some(self.places(part, mask, tally.steps)?),
        };
        let shapes = opened.shapes(cache)?.and_then(|shapes| counted_by(shapes.values(), &rows, 2 * tally.steps));
        let by_shape = |field: &Field| match &shapes {
            Some(shapes) => Ok::<_, BlockError>(by_shape(opened, field)?.map(|(source, all)| (source, all, shapes))),
            None => Ok(None),
        };
        for intrinsic in COMPARED {
            let field = Field::Intrinsic(intrinsic);
            if !tally.wants(&field) {
                continue;
            }
            match by_shape(&field)? {
                Some((source, all, shapes)) => tally.source(&field, &source, all, shapes),
                None => tally.column(&field, &self.scope.coded(&field, part, mask).into(), &rows),
            }
        }
        for (key, _, column) in schema::attributes(&opened.schema) {
            let field = Field::attribute(Of::Span, key);
            if !tally.wants(&field) {
                continue;
            }
            if let Some((source, all, shapes)) = by_shape(&field)? {
                tally.source(&field, &source, all, shapes);
            } else if let Some(source) = opened.column(cache, column)?.as_ref().and_then(typed) {
                tally.source(&field, &source, opened.rows, &rows);
            }
        }
        self.resources(opened, &rows, tally)?;
        self.listed(opened, &rows, tally)?;
        tally.forget();
        Ok(())
    }

    /// The rows that count, each with the place of its group and step.
    fn places(&self, part: u32, mask: &Mask, steps: usize) -> Result<Vec<(u32, u32)>, BlockError> {
        let opened = &self.scope.parts[part as usize].part;
        let Some(starts) = opened.column(&self.scope.cache, core::START_TIME)? else { return Ok(Vec::new()) };
        let Some(starts) = starts.as_primitive_opt::<TimestampNanosecondType>() else { return Ok(Vec::new()) };
        let selected = self.selected(part, mask, starts.values())?;
        let place = |row: usize| {
            let step = self.steps.map_or(Some(0), |of| of.of(starts.value(row) as u64))?;
            let step = if steps == 1 { 0 } else { step };
            Some((row as u32, (usize::from(selected.keeps(row)) * steps + step) as u32))
        };
        Ok(mask.rows(opened.rows).filter_map(place).collect())
    }

    /// Counts the attributes of spans that have no column of their own.
    fn listed(&self, part: &Part, rows: &Rows, tally: &mut Tally<'_>) -> Result<(), BlockError> {
        let mut keys = tally.keys(Of::Span);
        if let Some(keys) = &mut keys {
            // Most have columns of their own.
            let asked = keys.iter().map(|key| Ok((*key, may_list(part, &self.scope.cache, key)?)));
            let asked = asked.collect::<Result<Vec<_>, BlockError>>()?;
            *keys = asked.into_iter().filter_map(|(key, listed)| listed.then_some(key)).collect();
            if keys.is_empty() {
                return Ok(());
            }
        }
        let wanted = |key: &str| keys.as_ref().is_none_or(|keys| keys.contains(key));
        for Listed { row, key, value } in listed_entries(part.column(&self.scope.cache, core::ATTRIBUTES)?, wanted) {
            if let Some(place) = rows.place(row) {
                let mut counts = vec![0; 2 * tally.steps];
                counts[place] = 1;
                tally.add(&Field::attribute(Of::Span, key), &value, &counts);
            }
        }
        Ok(())
    }

    /// Counts the values of the resources of rows.
    fn resources(&self, part: &Part, rows: &Rows, tally: &mut Tally<'_>) -> Result<(), BlockError> {
        let wanted = tally.keys(Of::Resource);
        if wanted.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(());
        }
        let (codes, resources) = part.resources(&self.scope.cache)?;
        let resources: Vec<Vec<KeyValue>> = resources
            .into_iter()
            .map(|resource| resource.and_then(|resource| Resource::decode(resource.message?).ok()))
            .map(|resource| resource.map(|resource| resource.attributes).unwrap_or_default())
            .collect();
        let mut keys: Vec<&str> = resources.iter().flatten().map(|pair| &*pair.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| wanted.as_ref().is_none_or(|wanted| wanted.contains(key)));
        let counted = counted_by(&codes.codes, rows, 2 * tally.steps);
        for key in keys {
            let value = |pairs: &Vec<KeyValue>| {
                let pair = pairs.iter().find(|pair| pair.key == key);
                pair.and_then(|pair| pair.value.as_ref()).map_or(Value::Nil, Value::from)
            };
            let codes = if counted.is_some() { (0..resources.len() as u32).collect() } else { codes.codes.clone() };
            let coded = Coded { codes, values: resources.iter().map(value).collect() };
            tally.column(&Field::attribute(Of::Resource, key), &coded.into(), counted.as_ref().unwrap_or(rows));
        }
        Ok(())
    }

    /// The rows that are selected.
    fn selected(&self, part: u32, mask: &Mask, starts: &[i64]) -> Result<Mask, BlockError> {
        let comparison = match self.selected {
            Selected::By(comparison) => comparison,
            Selected::Are(selected) => return Ok(selected.masks[part as usize].clone().unwrap_or(Mask::None)),
        };
        let rows = self.scope.parts[part as usize].part.rows;
        let selected = match &comparison.selection {
            None => Mask::All,
            Some(filter) => self.kept(part, mask, filter)?,
        };
        Ok(match comparison.window_ns {
            None => selected,
            Some((from, until)) => {
                let within = selected.rows(rows).filter(|row| (from..until).contains(&starts[*row]));
                Mask::of(sparse(rows, within.map(|row| row as u32)))
            }
        })
    }

    fn kept(&self, part: u32, mask: &Mask, filter: &Expr) -> Result<Mask, BlockError> {
        let opened = &self.scope.parts[part as usize].part;
        let kept = Masks::of(self.scope, part as usize).kept(filter)?;
        if kept.exact {
            return Ok(kept.mask);
        }
        let mut rows = Vec::new();
        for id in self.scope.traces_of(part, mask) {
            let trace = Trace::read(self.scope, id);
            let here = trace.spans.iter().enumerate().filter(|(_, span)| span.part == part);
            let holds = |at: &usize| evaluate(filter, &|field| trace.value(field, *at as u32)).is_true();
            rows.extend(here.filter(|(at, _)| holds(at)).map(|(_, span)| span.row));
        }
        Ok(Mask::of(sparse(opened.rows, rows.into_iter())))
    }
}
