//! In what some spans differ from others.

use std::cmp::Reverse;

use clew_storage::Snapshot;

use super::{
    budget::{Budget, Stopped},
    cache::Cache,
    coded::Key,
    mask::{Mask, each_field},
    metrics::{
        compare::{self, Counts, any},
        counted::{Counted, counted},
    },
    scope::Scope,
    search::Range,
    tags::within,
};
use crate::{
    analysis::over::{self, CERTAIN, LIKELY, Over, Totals},
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
    /// Spans by which the values are chosen that are then counted exactly, about: so many of the selection, so many others.
    pub sample: Totals,
}

impl ExplainOptions {
    /// Enough to see a value that three more in a hundred spans of the selection have than others.
    pub const SAMPLE: Totals = Totals { selection: 1 << 12, baseline: 1 << 17 };
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
/// Of each field the 4096 values count that most spans of the selection have.
///
/// Where there are many spans, a sample of the row groups (whose traces are there by chance) chooses the values: those that
/// may be among the best, twice as many as are asked for. Their counts are of all spans. Blocking.
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
    let named = named(selection, baseline);
    let totals = totals(&scope, &all, &kept);
    let counts = match sample(&scope, &all, &kept, totals, options.sample) {
        None => compare::totals(&scope, &all, &kept, selection, MAX_VALUES, budget)?,
        Some((all_of, kept_of)) => {
            let counts = compare::totals(&scope, &all_of, &kept_of, selection, MAX_VALUES, budget)?;
            let (values, limit) = (options.values.saturating_mul(2), options.limit.saturating_mul(2));
            let totals = self::totals(&scope, &all_of, &kept_of);
            let mut likely = compare::Values::new();
            for Over { counted: over::Counted { value: (field, value), .. }, .. } in
                best(counts, &named, totals, LIKELY, values, limit)
            {
                likely.entry(field).or_default().insert(Key(value));
            }
            compare::totals_of(&scope, &all, selection, &likely, budget)?
        }
    };
    let over = best(counts, &named, totals, CERTAIN, options.values, options.limit);
    let missing = scope.missing.into_inner();
    Ok(Explained { over, totals, missing, inspected_spans })
}

/// The values that are over-represented, best first: so many of a field, so many in all.
fn best(
    counts: Counts,
    named: &[Field],
    totals: Totals,
    errors: f64,
    values: usize,
    limit: usize,
) -> Vec<Over<(Field, Value)>> {
    let mut found = Vec::new();
    for (field, counts) in counts.into_iter().filter(|(field, _)| !named.contains(field)) {
        let counted = counts.into_iter().filter(|(key, _)| *key != any()).map(|(Key(value), counts)| {
            let Totals { selection, baseline } = sides(&counts);
            over::Counted { value, selection, baseline }
        });
        let mut best = over::over(counted, totals, errors);
        if best.len() > values {
            best.sort_by_cached_key(order);
            best.truncate(values);
        }
        let of_field = |Over { counted, score }: Over<Value>| {
            let over::Counted { value, selection, baseline } = counted;
            Over { counted: over::Counted { value: (field.clone(), value), selection, baseline }, score }
        };
        found.extend(best.into_iter().map(of_field));
    }
    found.sort_by_cached_key(order);
    found.truncate(limit);
    found
}

/// How many spans there are on each side.
fn totals(scope: &Scope, all: &Counted, kept: &Counted) -> Totals {
    let rows = |counted: &Counted| (0..scope.parts.len()).map(|part| rows(scope, counted, part)).sum::<u64>();
    let selection = rows(kept);
    Totals { selection, baseline: rows(all).saturating_sub(selection) }
}

/// How many rows of a part count.
fn rows(scope: &Scope, counted: &Counted, part: usize) -> u64 {
    match &counted.masks[part] {
        None | Some(Mask::None) => 0,
        Some(Mask::All) => scope.parts[part].part.rows as u64,
        Some(Mask::Some(bits)) => bits.count_set_bits() as u64,
    }
}

/// The spans of some parts, from all over; None when about all would be needed.
fn sample(scope: &Scope, all: &Counted, kept: &Counted, totals: Totals, enough: Totals) -> Option<(Counted, Counted)> {
    let mut order: Vec<usize> = (0..scope.parts.len()).collect();
    // Multiples of the golden ratio are spread evenly.
    order.sort_by_key(|part| (*part as u32).wrapping_mul(0x9e37_79b9));
    let mut of = Totals::default();
    let mut parts = vec![false; order.len()];
    for part in order {
        if of.selection >= enough.selection && of.baseline >= enough.baseline {
            break;
        }
        let selection = rows(scope, kept, part);
        of.selection += selection;
        of.baseline += rows(scope, all, part).saturating_sub(selection);
        parts[part] = true;
    }
    if 2 * (of.selection + of.baseline) > totals.selection + totals.baseline {
        return None;
    }
    let only = |counted: &Counted| {
        let masks = counted.masks.iter().zip(&parts).map(|(mask, is_of)| mask.clone().filter(|_| *is_of));
        Counted { masks: masks.collect(), inspected_spans: counted.inspected_spans }
    };
    Some((only(all), only(kept)))
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
