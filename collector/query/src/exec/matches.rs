//! Finds single spans, for those who follow what comes in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use clew_storage::{
    Snapshot,
    block::{Block, BlockError},
    columns::{Resource, write_otlp},
};

use super::{
    budget::{Budget, Stopped},
    cache::Cache,
    field::needs_trace,
    mask::{Mask, Masks, each_field},
    part::Place,
    scope::Scope,
};
use crate::traceql::ast::{Body, Expr, Field, Intrinsic, Query, SpansetExpr, SpansetKind, Stage};

/// A piece of an answer ends once it is so long.
const PIECE_BYTES: usize = 1 << 20;
/// The largest ResourceSpans of more than one span, and how many spans it has at most.
const MESSAGE_BYTES: usize = 512 << 10;
const MESSAGE_ROWS: usize = 256;
/// Rows of a block that are read at once.
const BLOCK_ROWS: usize = 4096;

/// What a span has to be, as far as it knows by itself.
#[derive(Clone, Debug)]
pub struct SpanFilter(Option<Expr>);

impl SpanFilter {
    /// Of a query that is one filter.
    ///
    /// # Errors
    /// Says why the query is none.
    pub fn of(query: Query) -> Result<Self, String> {
        let Body::Spans(pipeline) = query.body else {
            return Err("this query computes time series, and here single spans are found".to_owned());
        };
        let [Stage::Spansets(SpansetExpr { kind: SpansetKind::Filter(filter), .. })] = &pipeline.stages[..] else {
            return Err(
                "spans are looked at one by one as they come: expected one filter in braces, such as { status \
                        = error }; relations between spans and stages after a | work in searches"
                    .to_owned(),
            );
        };
        if let Some(filter) = filter {
            let mut whole = None;
            each_field(filter, &mut |field| {
                if whole.is_none() && is_of_trace(field) {
                    whole = Some(field.to_string());
                }
            });
            if let Some(field) = whole {
                return Err(format!(
                    "{field} is known only once the whole trace is, and here spans are looked at one by one as they come"
                ));
            }
        }
        Ok(Self(filter.clone()))
    }
}

fn is_of_trace(field: &Field) -> bool {
    let root = matches!(field, Field::Intrinsic(Intrinsic::RootName | Intrinsic::RootService));
    root || needs_trace(field)
}

/// The spans of a snapshot that a filter keeps, a piece at a time.
pub struct Matches {
    filter: SpanFilter,
    snapshot: Snapshot,
    /// How many parts are done.
    done: usize,
    scan: Option<Scan>,
    missing: Vec<String>,
}

/// Some of them.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// OTLP TracesData.
    pub otlp: Vec<u8>,
    /// How many spans.
    pub spans: u64,
    /// Whether there are no more.
    pub last: bool,
}

/// A block that is gone through.
struct Scan {
    block: Arc<Block>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, BlockError>> + Send>,
    /// What is kept of the row group that comes next.
    mask: Mask,
    /// How many rows of it were read.
    row: usize,
}

impl Matches {
    /// Nothing is read yet.
    pub fn new(snapshot: Snapshot, filter: SpanFilter) -> Self {
        Self { filter, snapshot, done: 0, scan: None, missing: Vec::new() }
    }

    /// The next piece; it may be empty. It ends after about so much time, however little was found: so whoever goes through a lot, of
    /// which little is kept, comes to its end. Each span that is stored twice comes twice. Blocking.
    ///
    /// # Errors
    /// When the budget is spent.
    pub fn next(&mut self, cache: &Cache, budget: &Budget, within: Duration) -> Result<Matched, Stopped> {
        let scope = Scope::open(&self.snapshot, &cache.within(budget))?;
        let until = Instant::now() + within;
        let mut matched = Matched::default();
        while self.done < scope.parts.len() && matched.otlp.len() < PIECE_BYTES {
            let read = self.read(&scope, &mut matched);
            budget.check()?;
            if let Err(error) = read {
                scope.failed(&error);
                // Rows are counted from a block's start.
                let block = scope.blocks.iter().find(|(_, parts)| parts.contains(&self.done));
                (self.done, self.scan) = (block.map_or(self.done + 1, |(_, parts)| parts.end), None);
            }
            if Instant::now() >= until {
                break;
            }
        }
        matched.last = self.done >= scope.parts.len();
        for why in scope.missing.into_inner() {
            if !self.missing.contains(&why) {
                self.missing.push(why);
            }
        }
        Ok(matched)
    }

    /// Why spans may be missing, as far as was read.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Reads a batch: a part in memory, or some rows of a row group.
    fn read(&mut self, scope: &Scope, matched: &mut Matched) -> Result<(), BlockError> {
        let part = &scope.parts[self.done].part;
        match &part.place {
            Place::Memory { memory, batch } => {
                let mask = self.mask(scope)?;
                let rows: Vec<usize> = mask.rows(part.rows).collect();
                matched.put(batch, &rows, &|id| memory.resource(id));
                self.done += 1;
            }
            Place::Block { block, .. } => {
                let same = |scan: &Scan| Arc::ptr_eq(&scan.block, block);
                let mut scan = match self.scan.take().filter(same) {
                    Some(scan) if scan.row > 0 => scan,
                    Some(scan) => Scan { mask: self.mask(scope)?, ..scan },
                    None => Scan {
                        block: block.clone(),
                        batches: block.batches(BLOCK_ROWS),
                        mask: self.mask(scope)?,
                        row: 0,
                    },
                };
                let Some(batch) = scan.batches.next().transpose()? else {
                    // It has fewer rows than it says.
                    self.done += 1;
                    return Ok(());
                };
                let here = scan.row..scan.row + batch.num_rows();
                let rows: Vec<usize> =
                    here.clone().filter(|row| scan.mask.keeps(*row)).map(|row| row - here.start).collect();
                let resources = block.resources()?;
                matched.put(&batch, &rows, &|id| resources.get(&id).cloned());
                scan.row = here.end;
                if scan.row >= part.rows {
                    scan.row = 0;
                    self.done += 1;
                }
                self.scan = Some(scan);
            }
            // Rows that were read apart are of row groups, which are parts too.
            Place::Rows { .. } => self.done += 1,
        }
        Ok(())
    }

    fn mask(&self, scope: &Scope) -> Result<Mask, BlockError> {
        match &self.filter.0 {
            Some(filter) => Ok(Masks::of(scope, self.done).kept(filter)?.mask),
            None => Ok(Mask::All),
        }
    }
}

impl Matched {
    fn put(&mut self, batch: &RecordBatch, rows: &[usize], resource: &dyn Fn(u64) -> Option<Resource>) {
        rows.chunks(MESSAGE_ROWS).for_each(|rows| self.put_message(batch, rows, resource));
    }

    /// The spans of a resource are one message in OTLP: of fewer rows where that would be too long.
    fn put_message(&mut self, batch: &RecordBatch, rows: &[usize], resource: &dyn Fn(u64) -> Option<Resource>) {
        let before = self.otlp.len();
        // A batch in memory form has the columns, and the rows are its.
        if write_otlp(batch, rows, resource, &mut self.otlp).is_err() {
            return;
        }
        if rows.len() > 1 && self.otlp.len() - before > MESSAGE_BYTES {
            self.otlp.truncate(before);
            let (first, second) = rows.split_at(rows.len() / 2);
            self.put_message(batch, first, resource);
            self.put_message(batch, second, resource);
        } else {
            self.spans += rows.len() as u64;
        }
    }
}
