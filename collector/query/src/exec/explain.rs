//! In what some spans differ from others.

use std::cmp::Reverse;

use clew_storage::Snapshot;

use super::{
    budget::{Budget, Stopped},
    cache::Cache,
    coded::Key,
    mask::each_field,
    metrics::{
        compare::{self, any},
        counted::{Counted, counted},
    },
    scope::Scope,
    search::Range,
    tags::within,
};
use crate::{
    analysis::over::{self, Over, Totals},
    traceql::{
        ast::{Expr, ExprKind, Field, Intrinsic, LogicOp, Pipeline, Scope as Of, SpansetExpr, SpansetKind, Stage},
        at::At,
        value::Value,
    },
};

/// Values of a field that are looked at: those that most spans in question have.
const MAX_VALUES: usize = 1 << 12;

/// What is explained.
#[derive(Clone, Copy, Debug)]
pub struct ExplainOptions {
    /// A span has to start within.
    pub range: Range,
    /// Values of a field at most.
    pub values: usize,
    /// Values of all fields at most.
    pub limit: usize,
}

/// In what spans differ from others.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// What the spans in question have more often for certain, best first.
    pub over: Vec<Over<(Field, Value)>>,
    pub totals: Totals,
    /// Why spans may be missing; empty when none are.
    pub missing: Vec<String>,
    pub inspected_spans: u64,
}

/// Ranks the values that spans which `selection` keeps have more often than others: those that `baseline` keeps, or all
/// others. A span that both keep is one of the selection. All attributes of spans and resources count, with name, kind,
/// status, and name and service of the root; but not the fields that the filters name, since those differ by definition.
/// Of each field the 4096 values count that most spans of the selection have. Blocking.
///
/// # Errors
/// When the budget is spent.
pub fn explain(
    snapshot: &Snapshot,
    cache: &Cache,
    selection: &Expr,
    baseline: Option<&Expr>,
    options: ExplainOptions,
    budget: &Budget,
) -> Result<Explained, Stopped> {
    let scope = Scope::open(snapshot, cache);
    let either = baseline.map(|baseline| {
        let operands = vec![selection.clone(), baseline.clone()];
        Expr { kind: ExprKind::Logic { op: LogicOp::Or, operands }, at: At::default() }
    });
    let spans = |filter: Option<Expr>| {
        let spanset = SpansetExpr { kind: SpansetKind::Filter(filter), at: At::default() };
        let pipeline = Pipeline { stages: vec![Stage::Spansets(spanset)] };
        let Counted { masks, inspected_spans } = counted(&scope, &pipeline, options.range, budget)?;
        let masks = masks.into_iter().enumerate();
        let masks = masks.map(|(part, mask)| within(&scope, part, mask?, options.range)).collect();
        Ok::<_, Stopped>(Counted { masks, inspected_spans })
    };
    let (all, kept) = (spans(either)?, spans(Some(selection.clone()))?);
    let inspected_spans = all.inspected_spans;
    let counts = compare::totals(&scope, &all, &kept, selection, MAX_VALUES, budget)?;
    let rows = |counted: &Counted| -> u64 {
        let of_parts = counted.masks.iter().zip(&scope.parts);
        of_parts.filter_map(|(mask, opened)| Some(mask.as_ref()?.rows(opened.part.rows).count() as u64)).sum()
    };
    let selected = rows(&kept);
    let totals = Totals { selection: selected, baseline: rows(&all).saturating_sub(selected) };
    let named = named(selection, baseline);
    let mut found = Vec::new();
    for (field, values) in counts.into_iter().filter(|(field, _)| !named.contains(field)) {
        let counted = values.into_iter().filter(|(key, _)| *key != any()).map(|(Key(value), counts)| {
            let Totals { selection, baseline } = sides(&counts);
            over::Counted { value, selection, baseline }
        });
        let mut best = over::over(counted, totals);
        if best.len() > options.values {
            best.sort_by_cached_key(order);
            best.truncate(options.values);
        }
        let of_field = |Over { counted, score }: Over<Value>| {
            let over::Counted { value, selection, baseline } = counted;
            Over { counted: over::Counted { value: (field.clone(), value), selection, baseline }, score }
        };
        found.extend(best.into_iter().map(of_field));
    }
    found.sort_by_cached_key(order);
    found.truncate(options.limit);
    let missing = scope.missing.into_inner();
    Ok(Explained { over: found, totals, missing, inspected_spans })
}

/// The best first; of the same score by what they are, so that answers are the same each time.
fn order<T: std::fmt::Debug>(over: &Over<T>) -> (Reverse<u64>, String) {
    // Positive floats are in the order of their bits.
    (Reverse(over.score.to_bits()), format!("{:?}", over.counted.value))
}

/// Counts are those of the baseline and of the selection.
fn sides(counts: &[u32]) -> Totals {
    let at = |side: usize| counts.get(side).copied().unwrap_or(0).into();
    Totals { baseline: at(0), selection: at(1) }
}

/// The fields that differ by definition.
fn named(selection: &Expr, baseline: Option<&Expr>) -> Vec<Field> {
    let mut named = Vec::new();
    for filter in [Some(selection), baseline].into_iter().flatten() {
        each_field(filter, &mut |field| {
            named.push(field.clone());
            match field {
                // A message comes with an error.
                Field::Intrinsic(Intrinsic::Status) => named.push(Field::Intrinsic(Intrinsic::StatusMessage)),
                // What has no scope may be either.
                Field::Attribute(attribute) => {
                    let scopes = [Of::Span, Of::Resource];
                    let unscoped = attribute.scope == Of::Any;
                    let both = scopes.into_iter().filter(|_| unscoped);
                    named.extend(both.map(|scope| Field::attribute(scope, &attribute.key)));
                }
                Field::Intrinsic(_) => {}
            }
        });
    }
    named
}
