//! Metrics queries: spans counted into time series.
//!
//! Spans that a filter alone decides on are counted a part at a time (`counted`), grouped by small numbers (`tally`); others
//! trace by trace. Some of them are shown as `exemplars`. `compare` is the function of that name. What is done with series is the language's own
//! ([`crate::traceql::series`]).

pub(super) mod compare;
pub(super) mod counted;
mod exemplars;
pub(super) mod groups;
mod histogram;
mod tally;

use std::collections::BTreeMap;

use clew_storage::Snapshot;

use super::{Budget, Cache, Range, Stopped, scope::Scope};
use crate::traceql::{
    ast::{Literal, MetricsExpr, MetricsFunction, MetricsKind, Series},
    series::{Operand, TimeSeries, combine, then},
    steps::Steps,
    value::Value,
};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub struct MetricsOptions {
    /// When the values are, and what they count.
    pub steps: Steps,
    /// Exemplars at most.
    pub exemplars: usize,
    /// Series of the answer at most.
    pub max_series: usize,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub series: Vec<TimeSeries>,
    /// Spans that were counted, some of them, with the labels of their series' groups.
    pub exemplars: Vec<Exemplar>,
    /// Why spans may be missing; empty when none are.
    pub missing: Vec<String>,
    /// How many spans were looked at.
    pub inspected_spans: u64,
}

/// A span that was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: Vec<(String, Value)>,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// The span's own: of a rate, its duration in seconds.
    pub value: f64,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

/// Counts spans. Blocking.
///
/// # Errors
/// When the budget is spent, or there are too many series.
pub fn metrics(
    snapshot: &Snapshot,
    cache: &Cache,
    expr: &MetricsExpr,
    options: MetricsOptions,
    budget: &Budget,
) -> Result<Measured, Stopped> {
    let scope = Scope::open(snapshot, &cache.within(budget))?;
    let mut run = Run { scope: &scope, options, budget, exemplars: Vec::new(), inspected_spans: 0 };
    let series = match run.operand(expr)? {
        Operand::Series(series) => series,
        Operand::Number(_) => Vec::new(),
    };
    let Run { exemplars, inspected_spans, .. } = run;
    // What was read after it was spent is not all.
    budget.check()?;
    let most = options.max_series;
    if series.len() > most {
        return Err(Stopped::TooMuch(format!(
            "the query makes {} series, more than {most}; group by less, filter more, or choose some with `| topk(10)`",
            series.len()
        )));
    }
    Ok(Measured { series, exemplars, missing: scope.missing.into_inner(), inspected_spans })
}

struct Run<'a> {
    scope: &'a Scope,
    options: MetricsOptions,
    budget: &'a Budget,
    exemplars: Vec<Exemplar>,
    inspected_spans: u64,
}

impl Run<'_> {
    fn operand(&mut self, expr: &MetricsExpr) -> Result<Operand, Stopped> {
        Ok(Operand::Series(match &expr.kind {
            MetricsKind::Number(literal) => return Ok(Operand::Number(plain(literal))),
            MetricsKind::Series(series) => self.series(series)?,
            MetricsKind::Arithmetic { op, left, right } => combine(*op, self.operand(left)?, self.operand(right)?),
            MetricsKind::Then { input, stage } => match self.operand(input)? {
                Operand::Series(series) => then(series, stage),
                number @ Operand::Number(_) => return Ok(number),
            },
        }))
    }

    fn series(&mut self, series: &Series) -> Result<Vec<TimeSeries>, Stopped> {
        let counted = counted::counted(self.scope, &series.pipeline, range(self.options.steps), self.budget)?;
        self.inspected_spans += counted.inspected_spans;
        if let MetricsFunction::Compare(comparison) = &series.function {
            let series = compare::compare(self.scope, &counted, comparison, self.options, self.budget)?;
            return Ok(self.of_some_fields(series));
        }
        let tallied = tally::tally(self.scope, &counted, series, self.options, self.budget)?;
        self.exemplars.extend(tallied.exemplars);
        Ok(tallied.series)
    }
}

impl Run<'_> {
    /// Of the series that `compare` makes, as many as there may be, all or none of each field. Some are better than none here: which
    /// ones there are is not up to who asks.
    fn of_some_fields(&self, mut series: Vec<TimeSeries>) -> Vec<TimeSeries> {
        let (all, most) = (series.len(), self.options.max_series);
        if all <= most {
            return series;
        }
        // The first label says what is counted, the second one has the field and its value.
        let field = |series: &TimeSeries| series.labels.get(1).map_or_else(String::new, |(field, _)| field.clone());
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        series.iter().for_each(|series| *sizes.entry(field(series)).or_default() += 1);
        let mut room = most;
        sizes.retain(|_, size| {
            let fits = *size <= room;
            room -= if fits { *size } else { 0 };
            !fits
        });
        series.retain(|series| !sizes.contains_key(&field(series)));
        let left_out: Vec<&str> = sizes.keys().map(String::as_str).collect();
        self.scope.missing.lock().push(format!(
            "compare makes {all} series, more than {most}; left out are those of {}. Ask for more series, or for fewer values with a \
             second argument",
            left_out.join(", ")
        ));
        series
    }
}

/// The times that steps count.
fn range(steps: Steps) -> Range {
    let (first, last) = steps.counted_ns();
    Range { start: first as i64, end: last.saturating_add(1) as i64 }
}

/// A number as series have it: durations in seconds.
fn plain(literal: &Literal) -> f64 {
    match Value::from(literal) {
        Value::Duration(ns) => ns as f64 / 1e9,
        value => value.as_number().unwrap_or(0.0),
    }
}

/// In the order of their labels, so that answers are the same each time.
fn sorted(mut series: Vec<TimeSeries>) -> Vec<TimeSeries> {
    series.sort_by_cached_key(|series| format!("{:?}", series.labels));
    series
}
