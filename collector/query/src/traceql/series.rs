//! Time series, and what is computed from them. They are few and small beside the spans that they count, so every evaluator
//! uses these functions as they are.

use std::cmp::Ordering;

use super::{
    ast::{ArithmeticOp, SeriesStage},
    value::{Value, compare},
};

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSeries {
    /// In the order of `by`; the function's own ones first.
    pub labels: Vec<(String, Value)>,
    /// One for each step. Durations are in seconds.
    pub values: Vec<Option<f64>>,
}

/// What a series is called by that nothing splits: the function's name.
pub const NAME: &str = "__name__";

/// `topk`, `bottomk` and comparisons, of series in the order in which ties are to be broken. Series of which nothing is left are dropped.
#[must_use]
pub fn then(mut series: Vec<TimeSeries>, stage: &SeriesStage) -> Vec<TimeSeries> {
    match stage {
        SeriesStage::Filter { op, than } => {
            let than = match Value::from(than) {
                Value::Duration(ns) => Value::Float(ns as f64 / 1e9),
                number => number,
            };
            for value in series.iter_mut().flat_map(|series| &mut series.values) {
                *value = value.filter(|value| compare(*op, &Value::Float(*value), &than));
            }
        }
        SeriesStage::TopK(count) => strongest(&mut series, *count, |left, right| right.total_cmp(&left)),
        SeriesStage::BottomK(count) => strongest(&mut series, *count, |left, right| left.total_cmp(&right)),
    }
    series.retain(|series| series.values.iter().any(Option::is_some));
    series
}

/// Keeps at each step the `count` values that come first in this order; of equals those of earlier series.
fn strongest(series: &mut [TimeSeries], count: u32, order: impl Fn(f64, f64) -> Ordering) {
    let steps = series.first().map_or(0, |series| series.values.len());
    for step in 0..steps {
        let mut values: Vec<_> =
            series.iter().enumerate().filter_map(|(index, series)| Some((index, series.values[step]?))).collect();
        values.sort_by(|(_, left), (_, right)| order(*left, *right));
        for (index, _) in values.into_iter().skip(usize::try_from(count).unwrap_or(usize::MAX)) {
            series[index].values[step] = None;
        }
    }
}

/// What stands on one side of an operator.
#[derive(Debug, Clone)]
pub enum Operand {
    Series(Vec<TimeSeries>),
    Number(f64),
}

/// `left op right`, step by step. Series go with those that have the same labels, names aside; a single series without labels
/// goes with each of the other side. What has no partner is dropped, and what has no value counts as 0 beside one that has.
#[must_use]
pub fn combine(op: ArithmeticOp, left: Operand, right: Operand) -> Vec<TimeSeries> {
    match (left, right) {
        (Operand::Number(_), Operand::Number(_)) => vec![],
        (Operand::Series(series), Operand::Number(number)) => each(series, |value| computed(op, value, number)),
        (Operand::Number(number), Operand::Series(series)) => each(series, |value| computed(op, number, value)),
        (Operand::Series(left), Operand::Series(right)) => {
            let (left, right) = (unnamed(left), unnamed(right));
            if let [only] = &*right
                && only.labels.is_empty()
            {
                return left.iter().map(|series| joined(op, series, only, &series.labels)).collect();
            }
            if let [only] = &*left
                && only.labels.is_empty()
            {
                return right.iter().map(|series| joined(op, only, series, &series.labels)).collect();
            }
            let partner = |of: &TimeSeries| right.iter().find(|series| series.labels == of.labels);
            left.iter().filter_map(|series| Some(joined(op, series, partner(series)?, &series.labels))).collect()
        }
    }
}

fn unnamed(mut series: Vec<TimeSeries>) -> Vec<TimeSeries> {
    series.iter_mut().for_each(|series| series.labels.retain(|(name, _)| name != NAME));
    series
}

fn each(series: Vec<TimeSeries>, compute: impl Fn(f64) -> Option<f64>) -> Vec<TimeSeries> {
    let mut series = unnamed(series);
    for value in series.iter_mut().flat_map(|series| &mut series.values) {
        *value = value.and_then(&compute);
    }
    series
}

fn joined(op: ArithmeticOp, left: &TimeSeries, right: &TimeSeries, labels: &[(String, Value)]) -> TimeSeries {
    let values = left.values.iter().zip(&right.values).map(|(left, right)| match (left, right) {
        (None, None) => None,
        _ => computed(op, left.unwrap_or(0.0), right.unwrap_or(0.0)),
    });
    TimeSeries { labels: labels.to_vec(), values: values.collect() }
}

/// Nothing when divided by 0.
fn computed(op: ArithmeticOp, left: f64, right: f64) -> Option<f64> {
    match op {
        ArithmeticOp::Add => Some(left + right),
        ArithmeticOp::Sub => Some(left - right),
        ArithmeticOp::Mul => Some(left * right),
        ArithmeticOp::Div => (right != 0.0).then(|| left / right),
        ArithmeticOp::Mod | ArithmeticOp::Pow => None,
    }
}
