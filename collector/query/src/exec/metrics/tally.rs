//! Counts spans by group and step.

use arrow_array::{Array, cast::AsArray, types::TimestampNanosecondType};
use clew_storage::schema::core;

use super::{
    super::{Budget, Stopped, field::Source, mask::Mask, parallel, scope::Scope},
    Exemplar, MetricsOptions,
    counted::Counted,
    exemplars::{Choice, Taken},
    groups::{Groups, of_part},
    histogram::Histogram,
    sorted,
};
use crate::traceql::{
    ast::{Field, FieldAt, Intrinsic, MetricsFunction, Series},
    series::{NAME, TimeSeries},
    steps::Steps,
    value::Value,
};

/// What was tallied.
pub struct Tallied {
    pub series: Vec<TimeSeries>,
    pub exemplars: Vec<Exemplar>,
}

/// Memory for what is tallied, each thread's, and for the series of it.
const MAX_BYTES: usize = 512 << 20;

/// What is known of the spans of a group at a step.
trait Cell: Default + Clone + Send {
    /// Counts a number; one of each span when no numbers are asked for.
    fn add(&mut self, number: f64);
    fn merge(&mut self, other: &Self);
    /// Whether nothing was counted.
    fn is_empty(&self) -> bool;
    /// Ends the counting.
    fn finish(&mut self) {}
    /// Bytes of memory beside the cell itself.
    fn bytes(&self) -> usize {
        0
    }
}

impl Cell for u64 {
    #[inline]
    fn add(&mut self, _: f64) {
        *self += 1;
    }

    fn merge(&mut self, other: &Self) {
        *self += other;
    }

    fn is_empty(&self) -> bool {
        *self == 0
    }
}

/// How many numbers there were, and what they come to.
#[derive(Clone, Copy, Default)]
struct Summary {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Cell for Summary {
    #[inline]
    fn add(&mut self, number: f64) {
        self.merge(&Self { count: 1, sum: number, min: number, max: number });
    }

    #[inline]
    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Cell for Histogram {
    #[inline]
    fn add(&mut self, number: f64) {
        Self::add(self, number);
    }

    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }

    fn finish(&mut self) {
        self.settle();
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

/// How many numbers fell into each power of two, the lowest first; before it those up to 1.
#[derive(Clone, Default)]
struct Powers(Vec<u64>);

impl Cell for Powers {
    fn add(&mut self, number: f64) {
        let power = number.max(1.0).log2().ceil() as usize;
        if self.0.len() <= power {
            self.0.resize(power + 1, 0);
        }
        self.0[power] += 1;
    }

    fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&self) -> usize {
        8 * self.0.capacity()
    }
}

/// Counts the spans of a series. Blocking.
///
/// # Errors
/// When the budget is spent, or there are too many series.
pub fn tally(
    scope: &Scope,
    counted: &Counted,
    series: &Series,
    options: MetricsOptions,
    budget: &Budget,
) -> Result<Tallied, Stopped> {
    let run = Tally { scope, counted, by: &series.by, options, budget };
    let steps = options.steps;
    match &series.function {
        MetricsFunction::Rate => run.series::<u64>(None, |group, cells| {
            let rate = |count: &u64| Some(*count as f64 / steps.seconds());
            vec![named("rate", group, cells.iter().map(rate).collect())]
        }),
        MetricsFunction::CountOverTime => run.series::<u64>(None, |group, cells| {
            vec![named("count_over_time", group, cells.iter().map(|count| Some(*count as f64)).collect())]
        }),
        MetricsFunction::MinOverTime(field) => run.summary(field, "min_over_time", |summary| summary.min),
        MetricsFunction::MaxOverTime(field) => run.summary(field, "max_over_time", |summary| summary.max),
        MetricsFunction::SumOverTime(field) => run.summary(field, "sum_over_time", |summary| summary.sum),
        MetricsFunction::AvgOverTime(field) => {
            run.summary(field, "avg_over_time", |summary| summary.sum / summary.count as f64)
        }
        MetricsFunction::QuantileOverTime(field, quantiles) => run.series::<Histogram>(Some(field), |group, cells| {
            let unit = unit(&field.field);
            let series = |quantile: &f64| {
                let values = cells.iter().map(|cell| cell.quantile(*quantile).map(|number| number / unit));
                labelled("p", *quantile, group, values.collect())
            };
            quantiles.iter().map(series).collect()
        }),
        MetricsFunction::HistogramOverTime(field) => run.series::<Powers>(Some(field), |group, cells| {
            let unit = unit(&field.field);
            let powers = cells.iter().map(|cell| cell.0.len()).max().unwrap_or(0);
            let count = |cell: &Powers, power: usize| cell.0.get(power).copied().unwrap_or(0);
            let used = (0..powers).filter(|power| cells.iter().any(|cell| count(cell, *power) > 0));
            let series = |power: usize| {
                let values = cells.iter().map(|cell| Some(count(cell, power) as f64));
                labelled("__bucket", (power as f64).exp2() / unit, group, values.collect())
            };
            used.map(series).collect()
        }),
        // It is counted by itself.
        MetricsFunction::Compare(_) => Ok(Tallied { series: Vec::new(), exemplars: Vec::new() }),
    }
}

fn named(name: &str, group: &[(String, Value)], values: Vec<Option<f64>>) -> TimeSeries {
    let name = if group.is_empty() { vec![(NAME.to_owned(), Value::String(name.to_owned()))] } else { Vec::new() };
    TimeSeries { labels: [&name, group].concat(), values }
}

fn labelled(label: &str, value: f64, group: &[(String, Value)], values: Vec<Option<f64>>) -> TimeSeries {
    TimeSeries { labels: [&[(label.to_owned(), Value::Float(value))], group].concat(), values }
}

/// By how much the numbers of a field are divided in an answer: nanoseconds become seconds.
pub fn unit(field: &Field) -> f64 {
    match field {
        Field::Intrinsic(Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart) => 1e9,
        _ => 1.0,
    }
}

struct Tally<'a> {
    scope: &'a Scope,
    counted: &'a Counted,
    by: &'a [FieldAt],
    options: MetricsOptions,
    budget: &'a Budget,
}

/// What one thread has.
struct State<C> {
    groups: Groups,
    /// For each group its steps.
    cells: Vec<Vec<C>>,
    bytes: usize,
    taken: Vec<Taken>,
}

impl Tally<'_> {
    fn summary(&self, field: &FieldAt, name: &str, of: impl Fn(&Summary) -> f64) -> Result<Tallied, Stopped> {
        let unit = unit(&field.field);
        self.series::<Summary>(Some(field), |group, cells| {
            let value = |cell: &Summary| (cell.count > 0).then(|| of(cell) / unit);
            vec![named(name, group, cells.iter().map(value).collect())]
        })
    }

    /// Tallies, and makes series of the cells of each group.
    fn series<C: Cell>(
        &self,
        field: Option<&FieldAt>,
        make: impl Fn(&[(String, Value)], &[C]) -> Vec<TimeSeries>,
    ) -> Result<Tallied, Stopped> {
        let begin = || State::<C> { groups: Groups::default(), cells: Vec::new(), bytes: 0, taken: Vec::new() };
        let states = parallel::fold(0..self.scope.parts.len(), begin, |state, part| self.part(state, part, field))?;
        let mut all = begin();
        for state in states {
            for (labels, cells) in state.groups.labels.into_iter().zip(state.cells) {
                let group = all.groups.number(labels)? as usize;
                match all.cells.get_mut(group) {
                    Some(before) => before.iter_mut().zip(&cells).for_each(|(cell, other)| cell.merge(other)),
                    None => all.cells.push(cells),
                }
            }
            all.taken.extend(state.taken);
        }
        all.cells.iter_mut().flatten().for_each(Cell::finish);
        let mut series: Vec<TimeSeries> = Vec::new();
        let mut bytes = 0;
        // A group may have spans at other times only.
        let groups = all.groups.labels.iter().zip(&all.cells);
        for (values, cells) in groups.filter(|(_, cells)| !cells.iter().all(Cell::is_empty)) {
            let made = make(&self.labels(values), cells).into_iter();
            let made = made.filter(|series| series.values.iter().any(Option::is_some));
            for made in made {
                bytes += size_of_val(&made.values[..]) + labels_bytes(&made.labels);
                within(bytes)?;
                series.push(made);
            }
        }
        let exemplars = match self.options.exemplars {
            0 => Vec::new(),
            _ => {
                let field = field.map(|field| &field.field);
                let (scope, masks) = (self.scope, &self.counted.masks[..]);
                Choice { scope, masks, by: self.by, field, options: self.options }.exemplars(all.taken)?
            }
        };
        Ok(Tallied { series: sorted(series), exemplars })
    }

    fn labels(&self, values: &[Value]) -> Vec<(String, Value)> {
        self.by.iter().map(ToString::to_string).zip(values.iter().cloned()).collect()
    }

    fn part<C: Cell>(&self, state: &mut State<C>, part: usize, field: Option<&FieldAt>) -> Result<(), Stopped> {
        let Some(mask) = &self.counted.masks[part] else { return Ok(()) };
        if matches!(mask, Mask::None) {
            return Ok(());
        }
        self.budget.check()?;
        let opened = &self.scope.parts[part].part;
        let starts = match opened.column(&self.scope.cache, core::START_TIME) {
            Ok(starts) => starts,
            Err(error) => {
                self.scope.failed(&error);
                return Ok(());
            }
        };
        let Some(starts) = starts.as_ref().and_then(|starts| starts.as_primitive_opt::<TimestampNanosecondType>())
        else {
            return Ok(());
        };
        let starts = starts.values();
        let labels_before = state.groups.bytes;
        let groups = of_part(self.scope, part as u32, self.by, mask, &mut state.groups)?;
        state.spend(state.groups.bytes - labels_before)?;
        let steps = self.options.steps;
        let more = (state.groups.labels.len() - state.cells.len()) * steps.count();
        state.spend(more * size_of::<C>())?;
        state.cells.resize_with(state.groups.labels.len(), || vec![C::default(); steps.count()]);
        let of_time = StepOf::new(steps);
        let before = state.cell_bytes(field.is_some());
        let mut spans = 0;
        match field {
            None => each(mask, opened.rows, |row| {
                if let Some(step) = of_time.step(starts[row] as u64) {
                    spans += 1;
                    state.cells[groups[row] as usize][step].add(1.0);
                }
            }),
            Some(field) => {
                let numbers = Numbers::of(self.scope, &field.field, part as u32, mask);
                each(mask, opened.rows, |row| {
                    if let Some(step) = of_time.step(starts[row] as u64) {
                        spans += 1;
                        let cell = &mut state.cells[groups[row] as usize][step];
                        numbers.each(row, |number| cell.add(number));
                    }
                });
            }
        }
        state.spend(state.cell_bytes(field.is_some()).saturating_sub(before))?;
        state.taken.push(Taken { part, spans });
        self.scope.forget(part);
        Ok(())
    }
}

impl<C: Cell> State<C> {
    fn spend(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.bytes += bytes;
        within(self.bytes)
    }

    fn cell_bytes(&self, grows: bool) -> usize {
        if grows { self.cells.iter().flatten().map(Cell::bytes).sum() } else { 0 }
    }
}

fn within(bytes: usize) -> Result<(), Stopped> {
    if bytes > MAX_BYTES {
        let why = format!("the query needs more than {MAX_BYTES} bytes; group by less, or take longer steps");
        return Err(Stopped::TooMuch(why));
    }
    Ok(())
}

fn labels_bytes(labels: &[(String, Value)]) -> usize {
    labels.iter().map(|(name, value)| size_of::<String>() + name.len() + value.bytes()).sum()
}

/// Visits the rows of a mask.
#[inline]
fn each(mask: &Mask, rows: usize, mut visit: impl FnMut(usize)) {
    match mask {
        Mask::None => {}
        Mask::All => (0..rows).for_each(visit),
        Mask::Some(bits) => bits.set_indices().for_each(&mut visit),
    }
}

/// Finds steps without a division where there is but one.
pub struct StepOf {
    first: u64,
    last: u64,
    step: u64,
}

impl StepOf {
    pub fn new(steps: Steps) -> Self {
        let (first, last) = steps.counted_ns();
        Self { first, last, step: steps.step_ns() }
    }

    #[inline]
    pub fn step(&self, time: u64) -> Option<usize> {
        if time < self.first || time > self.last {
            return None;
        }
        let since = time - self.first;
        Some(if self.last - self.first < self.step { 0 } else { (since / self.step) as usize })
    }
}

/// The numbers of a field.
pub enum Numbers {
    /// One of each row that has one.
    Whole(arrow_array::Int64Array),
    /// The place of a row's numbers.
    Coded(Vec<u32>, Vec<Vec<f64>>),
}

impl Numbers {
    pub fn of(scope: &Scope, field: &Field, part: u32, mask: &Mask) -> Self {
        let trace = super::super::field::needs_trace(field);
        if !trace && let [Source::Duration(numbers) | Source::Int(numbers)] = &scope.sources(field, part)[..] {
            return Self::Whole(numbers.clone());
        }
        let coded = scope.coded(field, part, mask);
        let numbers = |value: &Value| value.elements().iter().filter_map(Value::as_number).collect();
        Self::Coded(coded.codes, coded.values.iter().map(numbers).collect())
    }

    #[inline]
    pub fn each(&self, row: usize, mut visit: impl FnMut(f64)) {
        match self {
            Self::Whole(numbers) => {
                if numbers.is_valid(row) {
                    visit(numbers.value(row) as f64);
                }
            }
            Self::Coded(codes, numbers) => numbers[codes[row] as usize].iter().copied().for_each(visit),
        }
    }
}
