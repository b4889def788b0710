//! In what some spans differ from others.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Range as Rows,
};

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
    parallel,
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
    /// By which spans the values are chosen that are then counted exactly.
    pub sample: Sample,
}

/// Runs of rows, from all over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How many are for spans of the selection: what is wrong for a while only is seen when it is wrong with more than a part in
    /// so many of them.
    pub selection: usize,
    /// How many are for others.
    pub baseline: usize,
    /// Rows of a run.
    pub rows: usize,
}

impl Sample {
    /// When one span in a hundred is selected, enough to see a value that three more in a hundred of those have than others.
    /// A run is a page or two of each column.
    pub const USUAL: Self = Self { selection: 24, baseline: 8, rows: 1 << 13 };
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
/// Where there are many spans, a sample chooses the values: those that may be among the best, twice as many as are asked for.
/// Their counts are of all spans. Blocking.
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
    let mut scope = Scope::open(snapshot, &cache.within(budget))?;
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
    let counts = match sample(&mut scope, &all, &kept, options.sample, budget)? {
        None => compare::totals(&scope, &all, &kept, MAX_VALUES, budget)?,
        Some((all_of, kept_of)) => {
            let counts = compare::totals(&scope, &all_of, &kept_of, MAX_VALUES, budget)?;
            let (values, limit) = (options.values.saturating_mul(2), options.limit.saturating_mul(2));
            let totals = self::totals(&scope, &all_of, &kept_of);
            let mut likely = compare::Values::new();
            for Over { counted: over::Counted { value: (field, value), .. }, .. } in
                best(counts, &named, totals, LIKELY, values, limit)
            {
                likely.entry(field).or_default().insert(Key(value));
            }
            compare::totals_of(&scope, &all, &kept, &likely, budget)?
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
    let rows = |counted: &Counted| {
        let masks = counted.masks.iter().zip(&scope.parts);
        masks.filter_map(|(mask, opened)| Some(mask.as_ref()?.count(opened.part.rows) as u64)).sum::<u64>()
    };
    let selection = rows(kept);
    Totals { selection, baseline: rows(all).saturating_sub(selection) }
}

/// Some spans of each side, from all over: parts of their own. None when that would be about all there are.
///
/// Each side has runs where it has spans, in proportion to how many, so that neither misses what was so for a while only. Blocks
/// have traces by chance, so a run has too.
fn sample(
    scope: &mut Scope,
    all: &Counted,
    kept: &Counted,
    sample: Sample,
    budget: &Budget,
) -> Result<Option<(Counted, Counted)>, Stopped> {
    let rows = || scope.parts.iter().map(|opened| opened.part.rows);
    if rows().sum::<usize>() < 2 * (sample.selection + sample.baseline) * sample.rows {
        return Ok(None);
    }
    let of = |counted: &Counted, part: usize| counted.masks[part].clone().unwrap_or(Mask::None);
    let side = |part: usize, selected: bool| match selected {
        true => of(kept, part),
        false => of(all, part).except(&of(kept, part)),
    };
    let mut taken: Vec<(usize, Rows<usize>, Mask, bool)> = Vec::new();
    for (selected, count) in [(true, sample.selection), (false, sample.baseline)] {
        let masks: Vec<Mask> = (0..scope.parts.len()).map(|part| side(part, selected)).collect();
        let counts = masks.iter().zip(rows()).map(|(mask, rows)| mask.count(rows)).collect::<Vec<_>>();
        for (part, run) in runs(&counts, &rows().collect::<Vec<_>>(), count, sample.rows) {
            let mask = masks[part].slice(run.clone());
            taken.push((part, run, mask, selected));
        }
    }
    let read = parallel::map(0..taken.len(), |at| {
        budget.check()?;
        let (part, run, ..) = &taken[at];
        Ok::<_, Stopped>(scope.parts[*part].part.rows(run.clone()))
    });
    let none = || Counted { masks: scope.parts.iter().map(|_| None).collect(), inspected_spans: 0 };
    let (mut all_of, mut kept_of) = (none(), none());
    let mut parts = Vec::new();
    for (read, (.., mask, selected)) in read.into_iter().zip(taken) {
        match read? {
            Ok(part) => {
                parts.push(part);
                kept_of.masks.push(selected.then(|| mask.clone()));
                all_of.masks.push(Some(mask));
            }
            Err(error) => scope.failed(&error),
        }
    }
    scope.add(parts);
    Ok(Some((all_of, kept_of)))
}

/// Runs of rows by which so many parts are seen: `counts` are their spans on one side, `rows` all of them.
fn runs(counts: &[usize], rows: &[usize], count: usize, length: usize) -> Vec<(usize, Rows<usize>)> {
    let total: usize = counts.iter().sum();
    let mut taken: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let (mut part, mut before) = (0, 0);
    for draw in 0..if total == 0 { 0 } else { count } {
        // In the middle of each of as many equal shares.
        let place = (2 * draw + 1) * total / (2 * count);
        while place >= before + counts[part] {
            before += counts[part];
            part += 1;
        }
        let of_part = rows[part].div_ceil(length);
        let near = (place - before) * of_part / counts[part];
        let taken = taken.entry(part).or_default();
        // The next one that is not taken yet.
        let free = (near..of_part).chain(0..near).find(|run| !taken.contains(run));
        taken.extend(free);
    }
    let run = |part: usize, run: usize| (part, run * length..((run + 1) * length).min(rows[part]));
    taken.into_iter().flat_map(|(part, taken)| taken.into_iter().map(move |at| run(part, at))).collect()
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
