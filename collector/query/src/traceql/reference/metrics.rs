//! Metrics queries: spans of all traces counted into time series.

use super::{
    Trace, compare,
    spansets::{find, same},
};
use crate::traceql::{
    ast::{FieldAt, MetricsExpr, MetricsFunction, MetricsKind, Series},
    series::{NAME, Operand, TimeSeries, combine, then},
    steps::Steps,
    value::Value,
};

/// Runs a metrics query over traces.
#[must_use]
pub fn measure(traces: &[Trace], metrics: &MetricsExpr, steps: Steps) -> Vec<TimeSeries> {
    match operand(traces, metrics, steps) {
        Operand::Series(series) => series,
        Operand::Number(_) => vec![],
    }
}

fn operand(traces: &[Trace], metrics: &MetricsExpr, steps: Steps) -> Operand {
    Operand::Series(match &metrics.kind {
        MetricsKind::Number(literal) => return Operand::Number(plain(&Value::from(literal)).unwrap_or(0.0)),
        MetricsKind::Series(series) => measured(traces, series, steps),
        MetricsKind::Arithmetic { op, left, right } => {
            combine(*op, operand(traces, left, steps), operand(traces, right, steps))
        }
        MetricsKind::Then { input, stage } => then(measure(traces, input, steps), stage),
    })
}

/// A number as series have it: durations in seconds.
fn plain(value: &Value) -> Option<f64> {
    match value {
        Value::Duration(ns) => Some(*ns as f64 / 1e9),
        value => value.as_number(),
    }
}

/// The spans that a series counts: trace, span, step.
pub(super) type Counted<'a> = Vec<(&'a Trace, usize, usize)>;

fn measured(traces: &[Trace], series: &Series, steps: Steps) -> Vec<TimeSeries> {
    let mut counted: Counted<'_> = Vec::new();
    for trace in traces {
        for spanset in find(trace, &series.pipeline).spansets {
            let step = |span: &usize| steps.of(trace.tree.nodes[*span].span.start_time_unix_nano);
            counted.extend(spanset.spans.iter().filter_map(|span| Some((trace, *span, step(span)?))));
        }
    }
    if let MetricsFunction::Compare(comparison) = &series.function {
        return compare::compare(&counted, comparison, steps);
    }
    let mut groups: Vec<(Vec<Value>, Counted<'_>)> = Vec::new();
    for one @ (trace, span, _) in counted {
        let values: Vec<_> = series.by.iter().map(|field| trace.field(span, &field.field)).collect();
        let alike = |(of, _): &&mut (Vec<Value>, _)| of.iter().zip(&values).all(|(left, right)| same(left, right));
        match groups.iter_mut().find(alike) {
            Some((_, spans)) => spans.push(one),
            None => groups.push((values, vec![one])),
        }
    }
    let names = series.by.iter().map(ToString::to_string);
    let mut all = Vec::new();
    for (values, spans) in groups {
        let labels: Vec<_> = names.clone().zip(values).collect();
        all.extend(function(&series.function, &labels, &spans, steps));
    }
    all.retain(|series| series.values.iter().any(Option::is_some));
    sorted(all)
}

/// In the order of their labels, so that answers are the same each time.
pub(super) fn sorted(mut series: Vec<TimeSeries>) -> Vec<TimeSeries> {
    series.sort_by_cached_key(|series| format!("{:?}", series.labels));
    series
}

fn function(
    function: &MetricsFunction,
    labels: &[(String, Value)],
    spans: &Counted<'_>,
    steps: Steps,
) -> Vec<TimeSeries> {
    let named = |name: &str, values| {
        let name = if labels.is_empty() { vec![(NAME.to_owned(), Value::String(name.to_owned()))] } else { vec![] };
        vec![TimeSeries { labels: [&name, labels].concat(), values }]
    };
    let labelled = |label: &str, value: f64, values| {
        let label = [(label.to_owned(), Value::Float(value))];
        TimeSeries { labels: [&label, labels].concat(), values }
    };
    let counts = || {
        let mut counts = vec![0.0; steps.count()];
        spans.iter().for_each(|(_, _, step)| counts[*step] += 1.0);
        counts
    };
    let all = |counts: Vec<f64>| counts.into_iter().map(Some).collect();
    let each = |field, compute: &dyn Fn(&[f64]) -> f64| {
        let values = numbers(field, spans, steps);
        values.iter().map(|values| (!values.is_empty()).then(|| compute(values))).collect()
    };
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    match function {
        MetricsFunction::Rate => {
            named("rate", all(counts().into_iter().map(|count| count / steps.seconds()).collect()))
        }
        MetricsFunction::CountOverTime => named("count_over_time", all(counts())),
        MetricsFunction::MinOverTime(field) => {
            named("min_over_time", each(field, &|values| values.iter().copied().fold(f64::INFINITY, f64::min)))
        }
        MetricsFunction::MaxOverTime(field) => {
            named("max_over_time", each(field, &|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)))
        }
        MetricsFunction::SumOverTime(field) => named("sum_over_time", each(field, &sum)),
        MetricsFunction::AvgOverTime(field) => {
            named("avg_over_time", each(field, &|values| sum(values) / values.len() as f64))
        }
        MetricsFunction::QuantileOverTime(field, quantiles) => quantiles
            .iter()
            .map(|quantile| labelled("p", *quantile, each(field, &|values| quantile_of(values, *quantile))))
            .collect(),
        MetricsFunction::HistogramOverTime(field) => {
            let values = numbers_with_bucket(field, spans);
            let mut buckets: Vec<f64> = values.iter().map(|(_, bucket)| *bucket).collect();
            buckets.sort_by(f64::total_cmp);
            buckets.dedup();
            let counted = |bucket: f64| {
                let mut counts = vec![0.0; steps.count()];
                values.iter().filter(|(_, of)| *of == bucket).for_each(|(step, _)| counts[*step] += 1.0);
                labelled("__bucket", bucket, all(counts))
            };
            buckets.into_iter().map(counted).collect()
        }
        MetricsFunction::Compare(_) => vec![],
    }
}

/// The numbers of a field at each step. An array counts with each of its numbers.
fn numbers(field: &FieldAt, spans: &Counted<'_>, steps: Steps) -> Vec<Vec<f64>> {
    let mut numbers = vec![Vec::new(); steps.count()];
    for (trace, span, step) in spans {
        numbers[*step].extend(trace.field(*span, &field.field).elements().iter().filter_map(plain));
    }
    numbers
}

/// For each number of a field its step and its bucket: the lowest power of two that is not below it, at least 1. Durations
/// are put into buckets by their nanoseconds, and the bucket is told in seconds.
fn numbers_with_bucket(field: &FieldAt, spans: &Counted<'_>) -> Vec<(usize, f64)> {
    let mut buckets = Vec::new();
    for (trace, span, step) in spans {
        for value in trace.field(*span, &field.field).elements() {
            let Some(number) = value.as_number() else { continue };
            let bucket = number.max(1.0).log2().ceil().exp2();
            let unit = if matches!(value, Value::Duration(_)) { 1e9 } else { 1.0 };
            buckets.push((*step, bucket / unit));
        }
    }
    buckets
}

/// A quantile of numbers, between two of them in proportion.
fn quantile_of(values: &[f64], quantile: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = quantile * (values.len() - 1) as f64;
    let (below, above) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    below + (above - below) * rank.fract()
}
