//! Spans that stand for those that were counted.

use std::cmp::Reverse;

use arrow_array::{cast::AsArray, types::TimestampNanosecondType};
use clew_storage::{block::BlockError, schema::core};

use super::{
    super::{Stopped, mask::Mask, scope::Scope},
    Exemplar, MetricsOptions,
    groups::{Groups, of_part},
    tally::{Numbers, StepOf, unit},
};
use crate::traceql::ast::{Field, FieldAt, Intrinsic};

/// How many of a part's spans were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub part: usize,
    pub spans: usize,
}

/// What exemplars are taken of, and what they say.
pub struct Choice<'a> {
    pub scope: &'a Scope,
    /// For each part, which of its spans may count.
    pub masks: &'a [Option<Mask>],
    pub by: &'a [FieldAt],
    /// Of what they say the number; of none, their duration.
    pub field: Option<&'a Field>,
    pub options: MetricsOptions,
}

impl Choice<'_> {
    /// Takes some spans of parts of which so many were counted, evenly, in order of time. Blocking.
    pub fn exemplars(&self, taken: Vec<Taken>) -> Result<Vec<Exemplar>, Stopped> {
        let most = self.options.exemplars;
        let parts = self.parts(taken);
        let all: usize = parts.iter().map(|taken| taken.spans).sum();
        let step = all.div_ceil(most.max(1)).max(1);
        let mut exemplars = Vec::new();
        let mut before = 0;
        for Taken { part, spans } in parts {
            let skip = (step - before % step) % step;
            before += spans;
            if let Err(error) = self.of_part(part, skip, step, &mut exemplars)? {
                self.scope.failed(&error);
            }
        }
        exemplars.truncate(most);
        exemplars.sort_by_key(|exemplar: &Exemplar| (exemplar.time_ns, exemplar.span_id, exemplar.trace_id));
        Ok(exemplars)
    }

    /// The parts that are looked at: ids are long, and the parts of a block have spans of the same times. So it is few of each
    /// block, those where the most were counted, as long as they have enough spans.
    fn parts(&self, mut taken: Vec<Taken>) -> Vec<Taken> {
        taken.sort_by_key(|taken| (Reverse(taken.spans), taken.part));
        let mut used = vec![0; self.scope.blocks.len()];
        let round_of = |taken: Taken| {
            let block = self.scope.blocks.iter().position(|(_, parts)| parts.contains(&taken.part));
            // What is in memory is in order of its coming.
            let Some(block) = block else { return (0, taken) };
            used[block] += 1;
            (used[block] - 1, taken)
        };
        let mut rounds: Vec<(usize, Taken)> = taken.into_iter().map(round_of).collect();
        rounds.sort_by_key(|(round, taken)| (*round, taken.part));
        let mut spans = 0;
        let chosen = rounds.chunk_by(|a, b| a.0 == b.0).take_while(|round| {
            let more = spans < self.options.exemplars;
            spans += round.iter().map(|(_, taken)| taken.spans).sum::<usize>();
            more
        });
        chosen.flatten().map(|(_, taken)| *taken).collect()
    }

    /// Each `step`th span of a part, after `skip`.
    fn of_part(
        &self,
        part: usize,
        skip: usize,
        step: usize,
        exemplars: &mut Vec<Exemplar>,
    ) -> Result<Result<(), BlockError>, Stopped> {
        let Some(mask) = &self.masks[part] else { return Ok(Ok(())) };
        let opened = &self.scope.parts[part].part;
        let column = |at: usize| opened.column(&self.scope.cache, at);
        let columns = || Ok((column(core::START_TIME)?, column(core::TRACE_ID)?, column(core::SPAN_ID)?));
        let (starts, traces, spans) = match columns() {
            Ok((Some(starts), Some(traces), Some(spans))) => (starts, traces, spans),
            Ok(_) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let (Some(starts), Some(traces), Some(spans)) = (
            starts.as_primitive_opt::<TimestampNanosecondType>(),
            traces.as_fixed_size_binary_opt(),
            spans.as_fixed_size_binary_opt(),
        ) else {
            return Ok(Ok(()));
        };
        let mut groups = Groups::default();
        let of_row = of_part(self.scope, part as u32, self.by, mask, &mut groups)?;
        let field = self.field.cloned().unwrap_or(Field::Intrinsic(Intrinsic::Duration));
        let numbers = Numbers::of(self.scope, &field, part as u32, mask);
        let of_time = StepOf::new(self.options.steps);
        let counted = mask.rows(opened.rows).filter(|row| of_time.step(starts.value(*row) as u64).is_some());
        for row in counted.skip(skip).step_by(step) {
            let mut first = None;
            numbers.each(row, |number| first = first.or(Some(number)));
            let Some(number) = first else { continue };
            let values = &groups.labels[of_row[row] as usize];
            exemplars.push(Exemplar {
                labels: self.by.iter().map(ToString::to_string).zip(values.iter().cloned()).collect(),
                time_ns: starts.value(row) as u64,
                value: number / unit(&field),
                trace_id: traces.value(row).try_into().unwrap_or_default(),
                span_id: spans.value(row).try_into().unwrap_or_default(),
            });
        }
        Ok(Ok(()))
    }
}
