//! Runs TraceQL for those who ask: each query has a place, a time and an end when nobody waits for it any more.
//!
//! `places` says who may run, `error` why there is no answer, `filter` reads queries that are not written to their end; `bounds`,
//! `field`, `value`, `parts` and `partial` are what requests and answers of all kinds have in common. `follow` goes on for as long as
//! somebody listens. `sql` runs SQL.
//! The work itself is `clew_query::exec`.

pub mod bounds;
pub mod duration;
mod error;
pub mod field;
mod filter;
mod follow;
pub mod partial;
pub mod parts;
mod places;
mod sql;
pub mod value;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clew_common::{ids::Tenant, log::Work, threads::Threads, world::World};
use clew_query::{
    exec::{
        self, Budget, Cache, Client, Dependencies, ExplainOptions, Explained, Measured, MetricsOptions, Range,
        SearchOptions, Searched, Stopped, TagCombinations, TagOptions, TagScope, TagValues, Tags,
    },
    traceql::{
        self,
        ast::{Body, Expr, Field, Literal, MetricsExpr, Pipeline, Query, SpansetExpr, SpansetKind, Stage},
    },
};
use clew_storage::{Snapshot, Storage};
use tokio::sync::Semaphore;

pub use self::{
    error::QueryError,
    follow::{Followed, Follower},
    places::Places,
    sql::{Rows, SqlQuery, SqlThreads},
};
use crate::metrics::{QueryKind, QueryMetrics};

/// Exemplars of an answer at most.
pub const MAX_EXEMPLARS: usize = 1_000;

/// Threads beside those of queries that have a place: to read queries, and for those who follow.
const SPARE_THREADS: usize = 4;

/// Threads for so many queries at once.
#[must_use]
pub fn threads(work: Work, places: usize, nice: u8) -> Threads {
    Threads::new("query", work, places + SPARE_THREADS, nice)
}

/// Answers queries. Cheap to clone.
#[derive(Clone)]
pub struct Queries {
    /// What is stored.
    pub storage: Storage,
    /// What was read of blocks.
    pub cache: Cache,
    /// Who may run.
    pub places: Places,
    /// How long one may take.
    pub timeout: Duration,
    /// Decoded bytes of blocks that one may read.
    pub max_read_bytes: u64,
    /// What time it is.
    pub world: World,
    /// Threads.
    pub threads: Threads,
    /// Threads for SQL.
    pub sql: SqlThreads,
    /// How many may follow what comes in.
    pub followers: Arc<Semaphore>,
    /// What is counted.
    pub metrics: QueryMetrics,
}

/// An answer, and what was there to look at.
#[derive(Clone, Debug)]
pub struct Asked<T> {
    /// The answer.
    pub answer: T,
    /// Blocks that could be read.
    pub blocks: usize,
}

/// What answers have in common.
pub trait Answer {
    /// Why something may be missing; empty when nothing is.
    fn missing(&self) -> &[String];
    /// How many spans were looked at.
    fn inspected_spans(&self) -> u64;
}

macro_rules! answers {
    ($($answer:ty),*) => {$(
        impl Answer for $answer {
            fn missing(&self) -> &[String] {
                &self.missing
            }

            fn inspected_spans(&self) -> u64 {
                self.inspected_spans
            }
        }
    )*};
}

answers!(Searched, Measured, Tags, TagValues, TagCombinations, Dependencies, Explained);

impl Queries {
    /// Finds traces.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn search(
        &self,
        tenant: &Tenant,
        query: String,
        options: SearchOptions,
    ) -> Result<Asked<Searched>, QueryError> {
        self.run(
            tenant,
            QueryKind::Search,
            move || spans(&query),
            move |pipeline, (snapshot, cache, budget)| exec::search(snapshot, cache, &pipeline, options, budget),
        )
        .await
    }

    /// Computes time series. The query's hint `exemplars` counts more than the options.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metrics(
        &self,
        tenant: &Tenant,
        query: String,
        options: MetricsOptions,
    ) -> Result<Asked<Measured>, QueryError> {
        let read = move || {
            let query = parse(&query)?;
            let exemplars = exemplars(&query, options.exemplars);
            Ok((series(query)?, MetricsOptions { exemplars, ..options }))
        };
        self.run(tenant, QueryKind::Metrics, read, |(expr, options), (snapshot, cache, budget)| {
            exec::metrics(snapshot, cache, &expr, options, budget)
        })
        .await
    }

    /// Lists what attributes of the spans that a filter finds are called. Of the filter counts what can be read; empty, it finds
    /// all spans.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_names(
        &self,
        tenant: &Tenant,
        scope: Option<TagScope>,
        filter: String,
        options: TagOptions,
    ) -> Result<Asked<Tags>, QueryError> {
        self.run(
            tenant,
            QueryKind::TagNames,
            move || Ok(filter::readable(&filter)),
            move |filter, (snapshot, cache, budget)| {
                exec::tag_names(snapshot, cache, scope, filter.as_ref(), options, budget)
            },
        )
        .await
    }

    /// Lists the values that a field has in the spans that a filter finds. Of the filter counts what can be read; empty, it
    /// finds all spans.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_values(
        &self,
        tenant: &Tenant,
        field: Field,
        filter: String,
        options: TagOptions,
    ) -> Result<Asked<TagValues>, QueryError> {
        self.run(
            tenant,
            QueryKind::TagValues,
            move || Ok(filter::readable(&filter)),
            move |filter, (snapshot, cache, budget)| {
                exec::tag_values(snapshot, cache, &field, filter.as_ref(), options, budget)
            },
        )
        .await
    }

    /// The same of several fields: which values they have together.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn tag_combinations(
        &self,
        tenant: &Tenant,
        fields: Vec<Field>,
        filter: String,
        options: TagOptions,
    ) -> Result<Asked<TagCombinations>, QueryError> {
        self.run(
            tenant,
            QueryKind::TagValues,
            move || Ok(filter::readable(&filter)),
            move |filter, (snapshot, cache, budget)| {
                exec::tag_combinations(snapshot, cache, &fields, filter.as_ref(), options, budget)
            },
        )
        .await
    }

    /// Counts the calls between services of all spans that start in a range.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn dependencies(&self, tenant: &Tenant, range: Range) -> Result<Asked<Dependencies>, QueryError> {
        self.run(
            tenant,
            QueryKind::Dependencies,
            || Ok(()),
            move |(), (snapshot, cache, budget)| exec::dependencies(snapshot, cache, range, budget),
        )
        .await
    }

    /// Says what the spans that a filter finds have more often than those of another one or, when that is empty, than all others.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn explain(
        &self,
        tenant: &Tenant,
        selection: String,
        baseline: String,
        options: ExplainOptions,
    ) -> Result<Asked<Explained>, QueryError> {
        let read = move || {
            let selection = filter_of(&selection)?.ok_or_else(|| {
                QueryError::invalid("all spans are selected: there are no others to compare them with")
            })?;
            let baseline = if baseline.trim().is_empty() { None } else { filter_of(&baseline)? };
            Ok((selection, baseline))
        };
        self.run(tenant, QueryKind::Explain, read, move |(selection, baseline), (snapshot, cache, budget)| {
            let explained = exec::explain(snapshot, cache, &selection, baseline.as_ref(), options, budget)?;
            // What was read after it was spent is not all.
            budget.check().map(|()| explained)
        })
        .await
    }

    /// The end of this millisecond, in nanoseconds since 1970.
    pub fn now_ns(&self) -> u64 {
        (self.world.clock.unix_ms() + 1) * 1_000_000
    }

    /// A range in nanoseconds: 0 as its end is now, 0 as its start an hour before the end.
    pub fn range_or_last_hour(&self, start: u64, end: u64) -> (u64, u64) {
        let end = if end == 0 { self.now_ns() } else { end };
        (if start == 0 { end.saturating_sub(bounds::DEFAULT_RANGE_NS) } else { start }, end)
    }

    /// What a query may take.
    fn budget(&self) -> (Budget, Client) {
        let (budget, client) = Budget::new(self.timeout);
        (budget.reading(self.max_read_bytes), client)
    }

    /// Reads a query and runs it, on a thread for blocking work. It ends early when the returned future is dropped. One that makes no sense
    /// needs no place: it is told so at once, however many run.
    #[tracing::instrument(name = "query", skip_all, fields(kind = ?kind))]
    async fn run<Q: Send + 'static, T: Answer + Send + 'static>(
        &self,
        tenant: &Tenant,
        kind: QueryKind,
        read: impl FnOnce() -> Result<Q, QueryError> + Send + 'static,
        run: impl FnOnce(Q, (&Snapshot, &Cache, &Budget)) -> Result<T, Stopped> + Send + 'static,
    ) -> Result<Asked<T>, QueryError> {
        // When the future is dropped this counts it.
        let counted = self.metrics.begin(kind);
        let started = Instant::now();
        let query = match self.threads.run(read).await.map_err(QueryError::from).flatten() {
            Ok(query) => query,
            Err(error) => {
                counted.failed(started.elapsed(), error.outcome());
                return Err(error);
            }
        };
        let place = match self.places.take().await {
            Ok(place) => place,
            Err(error) => {
                counted.refused();
                return Err(error);
            }
        };
        let started = Instant::now();
        let (budget, client) = self.budget();
        let cache = self.cache.clone();
        let snapshot = self.storage.snapshot(tenant);
        let result = self.threads.run(move || {
            // A cancelled query has its place until it notices.
            let _place = place;
            let blocks = snapshot.blocks().len();
            Ok(run(query, (&snapshot, &cache, &budget)).map(|answer| Asked { answer, blocks })?)
        });
        let result = result.await.map_err(QueryError::from).flatten();
        drop(client);
        match &result {
            Ok(Asked { answer, .. }) => {
                counted.answered(started.elapsed(), answer.inspected_spans(), !answer.missing().is_empty());
            }
            Err(error) => counted.failed(started.elapsed(), error.outcome()),
        }
        result
    }
}

fn parse(text: &str) -> Result<Query, QueryError> {
    traceql::parse(text).map_err(|error| QueryError::Invalid(error.to_string()))
}

/// What stands between the braces of a query that is one filter.
fn filter_of(text: &str) -> Result<Option<Expr>, QueryError> {
    match &spans(text)?.stages[..] {
        [Stage::Spansets(SpansetExpr { kind: SpansetKind::Filter(filter), .. })] => Ok(filter.clone()),
        _ => Err(QueryError::invalid("expected one filter in braces, such as { status = error }")),
    }
}

/// A query for spans.
fn spans(text: &str) -> Result<Pipeline, QueryError> {
    match parse(text)?.body {
        Body::Spans(pipeline) => Ok(pipeline),
        Body::Metrics(_) => Err(QueryError::Invalid(
            "this query computes time series, and here traces are searched; ask for it at /api/metrics/query_range"
                .to_owned(),
        )),
    }
}

/// A query for time series.
fn series(query: Query) -> Result<MetricsExpr, QueryError> {
    match query.body {
        Body::Metrics(expr) => Ok(expr),
        Body::Spans(_) => Err(QueryError::Invalid(
            "this query finds traces, and here time series are computed; add a function such as `| rate()`, or ask for \
             it at /api/search"
                .to_owned(),
        )),
    }
}

/// How many exemplars a query wants, where `said` was said besides it.
fn exemplars(query: &Query, said: usize) -> usize {
    match query.hint("exemplars") {
        Some(Literal::Bool(false)) => 0,
        Some(Literal::Int(wanted)) => usize::try_from(*wanted).unwrap_or(0).min(MAX_EXEMPLARS),
        _ => said,
    }
}
