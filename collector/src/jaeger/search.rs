//! A search, whichever of Jaeger's APIs it came by, and the traces that it finds.

use clew_common::ids::{Tenant, TraceId};
use clew_query::exec::{Range, SearchOptions, Searched};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::{Jaeger, condition::Wanted, refused::Refused};
use crate::lookup::{self, LookupError};

/// Traces that an answer has when nothing is said, and at most.
pub const DEFAULT_TRACES: u64 = 100;
pub const MAX_TRACES: u64 = 1_500;
/// Tags that may be asked for.
const MAX_TAGS: usize = 64;
/// Traces that are read at once.
const AT_ONCE: usize = 8;
/// OTLP that becomes one answer over HTTP.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// The range when nothing is said: two days.
const DEFAULT_RANGE_NS: i64 = 2 * 86_400 * 1_000_000_000;

/// What is looked for, where and how much of it.
#[derive(Clone, Debug)]
pub struct Search {
    wanted: Wanted,
    range: Range,
    limit: usize,
}

/// Traces that a search found, or that were asked for, in order.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    pub ids: Vec<TraceId>,
    /// Why some may be missing; empty when none are.
    pub missing: Vec<String>,
}

/// What was made of a trace.
pub struct Made<T> {
    pub id: TraceId,
    /// None: no span of it was found.
    pub answer: Option<T>,
    /// What its spans take as OTLP.
    pub bytes: usize,
    /// Why spans may be missing; empty when none are.
    pub missing: Vec<String>,
}

/// What was made of several traces, in order. Those that are not known are left out.
#[derive(Debug)]
pub struct Read<T> {
    pub answers: Vec<T>,
    /// Those of which nothing is known.
    pub unknown: Vec<TraceId>,
    /// Why some of them, or spans of them, may be missing; empty when none are.
    pub missing: Vec<String>,
}

/// Makes an answer of a trace that has spans. It takes a processor for as long as there are spans.
pub type Make<T> = fn(TraceId, lookup::Trace) -> Result<T, Refused>;

impl Search {
    /// Checks what is looked for. `limit` 0 is what is usual.
    ///
    /// # Errors
    /// When it makes no sense or is too much.
    pub fn new(wanted: Wanted, range: Range, limit: i64) -> Result<Self, Refused> {
        if range.end < range.start {
            return Err(Refused::invalid("the end of the time range is before the start"));
        }
        if let (Some(min), Some(max)) = (wanted.min_ns, wanted.max_ns)
            && max < min
        {
            return Err(Refused::invalid("the longest duration (maxDuration) is under the shortest (minDuration)"));
        }
        if wanted.tags.len() > MAX_TAGS {
            let tags = wanted.tags.len();
            return Err(Refused::invalid(format!("{tags} tags are asked for; expected {MAX_TAGS} at most")));
        }
        if wanted.tags.iter().any(|(key, _)| key.is_empty()) {
            return Err(Refused::invalid("a tag that is asked for has no key"));
        }
        let limit = match u64::try_from(limit) {
            Ok(0) => DEFAULT_TRACES,
            Ok(limit @ 1..=MAX_TRACES) => limit,
            _ => {
                return Err(Refused::invalid(format!(
                    "the limit (search depth) is {limit}; expected {MAX_TRACES} traces at most"
                )));
            }
        };
        Ok(Self { wanted, range, limit: limit as usize })
    }
}

impl<T> Made<T> {
    /// Whether there is such a trace, or may be.
    fn is_known(&self) -> bool {
        self.answer.is_some() || !self.missing.is_empty()
    }
}

impl Jaeger {
    /// From when until when, nanoseconds since 1970. Not said: until now, and for `length_ns`, or two days, before the end.
    pub fn range(&self, start: Option<i64>, end: Option<i64>, length_ns: Option<i64>) -> Range {
        let end = end.unwrap_or_else(|| i64::try_from(self.queries.now_ns()).unwrap_or(i64::MAX));
        Range { start: start.unwrap_or_else(|| end.saturating_sub(length_ns.unwrap_or(DEFAULT_RANGE_NS))), end }
    }

    /// Finds traces, newest first.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn search(&self, tenant: &Tenant, search: Search) -> Result<Searched, Refused> {
        let options = SearchOptions { range: search.range, limit: search.limit, spans: 1 };
        Ok(self.queries.search(tenant, search.wanted.traceql(), options).await?.answer)
    }

    /// The same, of which the ids are wanted.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn find(&self, tenant: &Tenant, search: Search) -> Result<Ids, Refused> {
        let Searched { traces, missing, .. } = self.search(tenant, search).await?;
        Ok(Ids { ids: traces.iter().filter_map(|trace| TraceId::new(trace.trace_id)).collect(), missing })
    }

    /// Reads traces and makes answers of them, in order, a few at a time. Those of which nothing is known are left out.
    pub fn read<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        ids: Vec<TraceId>,
        make: Make<T>,
    ) -> impl Stream<Item = Result<Made<T>, Refused>> + Send + use<T> {
        self.each(tenant, ids, make).try_filter(|made| std::future::ready(made.is_known()))
    }

    fn each<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        ids: Vec<TraceId>,
        make: Make<T>,
    ) -> impl Stream<Item = Result<Made<T>, Refused>> + Send + use<T> {
        let (lookup, tenant) = (self.lookup.clone(), tenant.clone());
        let one = move |id: TraceId| {
            let (lookup, tenant) = (lookup.clone(), tenant.clone());
            async move {
                let trace = lookup.trace(&tenant, id).await?;
                let (bytes, missing) = (trace.spans.len(), trace.partial_reasons.clone());
                let answer = if bytes == 0 {
                    None
                } else {
                    Some(lookup.threads.run(move || make(id, trace)).await.map_err(LookupError::from)??)
                };
                Ok(Made { id, answer, bytes, missing })
            }
        };
        stream::iter(ids).map(one).buffered(AT_ONCE)
    }

    /// The same for an answer that is made in one piece.
    ///
    /// # Errors
    /// When they are too large for that, or there is no answer.
    pub async fn read_all<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        Ids { ids, missing }: Ids,
        make: Make<T>,
    ) -> Result<Read<T>, Refused> {
        let mut traces = std::pin::pin!(self.each(tenant, ids, make));
        let mut read = Read { answers: Vec::new(), unknown: Vec::new(), missing };
        let mut bytes = 0;
        while let Some(mut made) = traces.try_next().await? {
            bytes += made.bytes;
            if bytes > MAX_ANSWER_BYTES {
                return Err(Refused::TooLarge { limit: MAX_ANSWER_BYTES });
            }
            read.unknown.extend((!made.is_known()).then_some(made.id));
            read.missing.append(&mut made.missing);
            read.answers.extend(made.answer);
        }
        Ok(read)
    }
}
