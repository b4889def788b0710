//! The spans that a metrics query counts.

use super::super::{
    Budget, Range, Stopped,
    candidates::{Candidates, units},
    field::sparse,
    mask::{Kept, Mask, Masks},
    parallel,
    pipeline::{Filters, Runner},
    scope::Scope,
    trace::Trace,
};
use crate::traceql::ast::{Pipeline, SpansetExpr, SpansetKind, Stage};

/// For each part, which of its spans count; None when none do.
pub struct Counted {
    pub masks: Vec<Option<Mask>>,
    pub inspected_spans: u64,
}

/// Finds the spans that a pipeline leaves. Blocking.
pub fn counted(scope: &Scope, pipeline: &Pipeline, range: Range, budget: &Budget) -> Result<Counted, Stopped> {
    if let Some(filter) = single(pipeline) {
        let kept = by_part(scope, filter, range, budget)?;
        if kept.iter().flatten().all(|kept| kept.exact) {
            let rows = kept.iter().enumerate().filter(|(_, kept)| kept.is_some());
            let inspected_spans = rows.map(|(part, _)| scope.parts[part].part.rows as u64).sum();
            let mut masks: Vec<Option<Mask>> = kept.into_iter().map(|kept| kept.map(|kept| kept.mask)).collect();
            scope.drop_repeats(&mut masks)?;
            return Ok(Counted { masks, inspected_spans });
        }
    }
    by_trace(scope, pipeline, range, budget)
}

/// The filter of a pipeline that is nothing else; `Some(None)` keeps all spans.
fn single(pipeline: &Pipeline) -> Option<&SpansetExpr> {
    let mut stages = pipeline.stages.iter().filter(|stage| !matches!(stage, Stage::Select(_)));
    match (stages.next(), stages.next()) {
        (Some(Stage::Spansets(spansets)), None) if matches!(spansets.kind, SpansetKind::Filter(_)) => Some(spansets),
        _ => None,
    }
}

fn by_part(scope: &Scope, filter: &SpansetExpr, range: Range, budget: &Budget) -> Result<Vec<Option<Kept>>, Stopped> {
    let looked: Vec<usize> = units(scope, range).into_iter().flat_map(|unit| unit.parts).collect();
    let read = parallel::map(0..looked.len(), |at| {
        budget.check()?;
        let masks = Masks::of(scope, looked[at]);
        let kept = match &filter.kind {
            SpansetKind::Filter(Some(filter)) => masks.kept(filter),
            _ => Ok(Kept { mask: Mask::All, exact: true }),
        };
        // The mask is all that is needed of what was read: columns that the cache has no room for go.
        scope.forget(looked[at]);
        budget.check().map(|()| kept)
    });
    let mut kept: Vec<Option<Kept>> = scope.parts.iter().map(|_| None).collect();
    for (part, read) in looked.into_iter().zip(read) {
        match read? {
            Ok(read) => kept[part] = Some(read),
            Err(error) => scope.failed(&error),
        }
    }
    Ok(kept)
}

fn by_trace(scope: &Scope, pipeline: &Pipeline, range: Range, budget: &Budget) -> Result<Counted, Stopped> {
    let mut runner =
        Runner { pipeline, filters: Filters::of(pipeline), kept: scope.parts.iter().map(|_| Vec::new()).collect() };
    let mut candidates = Candidates::default();
    let mut inspected_spans = 0;
    for unit in units(scope, range) {
        inspected_spans += candidates.read(scope, &mut runner, &unit, range, budget)?;
    }
    let traces = candidates.traces();
    let runner = &runner;
    const TOGETHER: usize = 256;
    let chunks: Vec<&[[u8; 16]]> = traces.chunks(TOGETHER).collect();
    let found = parallel::map(0..chunks.len(), |at| {
        let mut rows: Vec<(u32, u32)> = Vec::new();
        for id in chunks[at] {
            budget.check()?;
            let trace = Trace::read(scope, *id);
            for set in runner.run(&trace) {
                rows.extend(set.spans.iter().map(|at| {
                    let span = &trace.spans[*at as usize];
                    (span.part, span.row)
                }));
            }
        }
        budget.check().map(|()| rows)
    });
    let mut rows: Vec<Vec<u32>> = scope.parts.iter().map(|_| Vec::new()).collect();
    for found in found {
        found?.into_iter().for_each(|(part, row)| rows[part as usize].push(row));
    }
    let mask = |(part, rows): (usize, Vec<u32>)| {
        (!rows.is_empty()).then(|| Mask::of(sparse(scope.parts[part].part.rows, rows.into_iter())))
    };
    Ok(Counted { masks: rows.into_iter().enumerate().map(mask).collect(), inspected_spans })
}
