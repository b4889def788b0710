//! Searches: pipelines over the spans of one trace.

use std::collections::BTreeSet;

use super::{
    Trace,
    expr::{eval, holds},
    relations::related,
    scalars::passes,
};
use crate::traceql::{
    ast::{Expr, Field, Pipeline, SpansetExpr, SpansetKind, SpansetOp, Stage},
    value::Value,
};

/// Spans that were found together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spanset {
    /// Indices, each once, ascending.
    pub spans: Vec<usize>,
    /// What stages have computed of it: `by(name)`, `count()` and so on, with their values.
    pub attributes: Vec<(String, Value)>,
}

/// What a search finds in one trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// None is empty. There are none when the trace is not found.
    pub spansets: Vec<Spanset>,
    /// What `select` asks to be shown, in the order in which it is first asked for.
    pub selected: Vec<Field>,
}

/// Runs a search over one trace.
#[must_use]
pub fn find(trace: &Trace, pipeline: &Pipeline) -> Found {
    let everything = Spanset { spans: (0..trace.tree.nodes.len()).collect(), attributes: vec![] };
    let mut selected: Vec<Field> = Vec::new();
    for stage in &pipeline.stages {
        if let Stage::Select(fields) = stage {
            for field in fields {
                if !selected.contains(&field.field) {
                    selected.push(field.field.clone());
                }
            }
        }
    }
    Found { spansets: run(trace, vec![everything], pipeline), selected }
}

/// What a pipeline leaves of spansets.
fn run(trace: &Trace, spansets: Vec<Spanset>, pipeline: &Pipeline) -> Vec<Spanset> {
    let mut spansets = spansets;
    for stage in &pipeline.stages {
        spansets = match stage {
            Stage::Spansets(expr) => spansets
                .into_iter()
                .map(|spanset| {
                    let within = spanset.spans.iter().copied().collect();
                    let spans = keep(trace, &within, expr).into_iter().collect();
                    Spanset { spans, ..spanset }
                })
                .collect(),
            Stage::Scalar(filter) => spansets
                .into_iter()
                .filter_map(|mut spanset| passes(trace, &mut spanset, filter).then_some(spanset))
                .collect(),
            Stage::By(expr) => spansets.iter().flat_map(|spanset| groups(trace, spanset, expr)).collect(),
            Stage::Coalesce => {
                let spans: BTreeSet<_> = spansets.iter().flat_map(|spanset| spanset.spans.iter().copied()).collect();
                vec![Spanset { spans: spans.into_iter().collect(), attributes: vec![] }]
            }
            Stage::Select(_) => spansets,
        };
        spansets.retain(|spanset| !spanset.spans.is_empty());
    }
    spansets
}

/// What a pipeline leaves of these spans, as one set.
pub(super) fn left_of(trace: &Trace, spans: &[usize], pipeline: &Pipeline) -> Vec<usize> {
    let spanset = Spanset { spans: spans.to_vec(), attributes: vec![] };
    let left: BTreeSet<_> = run(trace, vec![spanset], pipeline).into_iter().flat_map(|spanset| spanset.spans).collect();
    left.into_iter().collect()
}

/// Which of these spans an expression keeps.
fn keep(trace: &Trace, within: &BTreeSet<usize>, expr: &SpansetExpr) -> BTreeSet<usize> {
    match &expr.kind {
        SpansetKind::Filter(condition) => {
            within.iter().copied().filter(|span| holds(trace, *span, condition.as_ref())).collect()
        }
        SpansetKind::Pipeline(pipeline) => {
            let within: Vec<_> = within.iter().copied().collect();
            left_of(trace, &within, pipeline).into_iter().collect()
        }
        SpansetKind::Binary { op, left, right } => {
            let (left, right) = (keep(trace, within, left), keep(trace, within, right));
            match op {
                SpansetOp::And if left.is_empty() || right.is_empty() => BTreeSet::new(),
                SpansetOp::And | SpansetOp::Or => left.union(&right).copied().collect(),
                SpansetOp::Related(relation, keep) => related(trace, (*relation, *keep), &left, &right),
            }
        }
    }
}

/// One spanset for each value, in the order in which the values occur. Spans without a value are a group too.
fn groups(trace: &Trace, spanset: &Spanset, expr: &Expr) -> Vec<Spanset> {
    let mut groups: Vec<(Value, Spanset)> = Vec::new();
    for span in &spanset.spans {
        let value = eval(trace, *span, expr);
        match groups.iter_mut().find(|(of, _)| same(of, &value)) {
            Some((_, group)) => group.spans.push(*span),
            None => {
                let mut attributes = spanset.attributes.clone();
                attributes.push((format!("by({expr})"), value.clone()));
                groups.push((value, Spanset { spans: vec![*span], attributes }));
            }
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Whether two values make one group. Of the same type only; NaN goes with NaN.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => left == right || (left.is_nan() && right.is_nan()),
        _ => left == right,
    }
}
