//! Queries in SQL: planned and run on threads of their own, rows passed on as they are worked out.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use clew_common::{
    ids::Tenant,
    threads::{self, give_way},
};
use clew_query::exec::{Client, Spans, Stopped};
use clew_sql::{Limits, ParamValues, Planned, STACK_BYTES, Session, SqlError};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant as Moment, timeout, timeout_at},
};

use super::{Queries, QueryError};
use crate::metrics::{Counted, QueryKind};

/// Batches that wait for a client. What is not taken is not worked out.
const WAITING: usize = 2;

/// A query.
#[derive(Clone, Debug)]
pub struct SqlQuery {
    /// SQL.
    pub text: String,
    /// What stands for `$1` and so on.
    pub parameters: Option<ParamValues>,
}

/// What a query gives.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns of its answer.
    pub schema: SchemaRef,
    /// Its parameters, in order.
    pub parameters: SchemaRef,
}

/// An answer. The query ends when it is dropped.
#[derive(Debug)]
pub struct Rows {
    /// Its columns.
    pub schema: SchemaRef,
    /// Why rows may be missing; empty when none are.
    pub missing: Vec<String>,
    /// Its rows, some at a time.
    pub batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    _client: Client,
}

/// Threads for SQL: what works on a query there does not hold up those who take spans, and has the stack that it needs. They start with
/// the first query.
#[derive(Clone, Debug)]
pub struct SqlThreads {
    runtime: Arc<OnceLock<threads::Owned>>,
    limits: Limits,
    nice: u8,
}

impl SqlThreads {
    /// Each query gets so much memory for what it keeps. They give way as those of other queries do.
    #[must_use]
    pub fn new(memory_bytes: usize, nice: u8) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { runtime: Arc::default(), limits: Limits { memory_bytes, threads }, nice }
    }

    fn runtime(&self) -> Result<&Runtime, QueryError> {
        let nice = self.nice;
        let start = || {
            let mut builder = Builder::new_multi_thread();
            let builder = builder.worker_threads(self.limits.threads).thread_stack_size(STACK_BYTES);
            let started = builder.thread_name("sql").on_thread_start(move || give_way(nice)).enable_time().build();
            threads::Owned::new(started.ok())
        };
        Ok(self.runtime.get_or_init(start).get()?)
    }
}

impl From<SqlError> for QueryError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Invalid(why) => Self::Invalid(why),
            SqlError::TooMuch(why) => Self::Stopped(Stopped::TooMuch(why)),
            SqlError::Stopped(stopped) => Self::Stopped(stopped),
            SqlError::Failed(why) => Self::Failed(why),
        }
    }
}

/// A query that runs, and what it may take.
struct Open {
    session: Session,
    missing: Vec<String>,
    _place: OwnedSemaphorePermit,
}

impl Queries {
    /// Answers a query.
    ///
    /// # Errors
    /// When there is no answer. One that begins may end with an error.
    pub async fn sql(&self, tenant: &Tenant, query: SqlQuery) -> Result<Rows, QueryError> {
        let counted = self.metrics.begin(QueryKind::Sql);
        let until = Moment::now() + self.timeout;
        let (opening, client) = match self.open(tenant).await {
            Ok(opening) => opening,
            Err(error) => {
                counted.refused();
                return Err(error);
            }
        };
        let (head, begun) = oneshot::channel();
        let (rows, mut batches) = mpsc::channel(WAITING);
        let time = self.timeout;
        let to_client = rows.clone();
        let answer = async move {
            let begin = async {
                let open = opening.await?;
                let planned = open.session.plan(&query.text, query.parameters).await?;
                let schema = planned.schema();
                Ok::<_, QueryError>((planned.run().await?, schema, open))
            };
            let (mut stream, schema, open) = begin.await?;
            let _ = head.send((schema, open.missing.clone()));
            loop {
                let next = tokio::select! {
                    biased;
                    () = rows.closed() => break Err(QueryError::Stopped(Stopped::Cancelled)),
                    next = timeout_at(until, stream.next()) => next,
                };
                match next {
                    Ok(Some(Ok(batch))) => {
                        // Who does not take it holds a place: there is an end to that too.
                        match timeout_at(until, rows.send(Ok(batch))).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) => break Err(QueryError::Stopped(Stopped::Cancelled)),
                            Err(_) => break Err(QueryError::Stopped(Stopped::Time(time))),
                        }
                    }
                    Ok(None) => break Ok(!open.missing.is_empty()),
                    Ok(Some(Err(error))) => break Err(SqlError::from(error).into()),
                    Err(_) => break Err(QueryError::Stopped(Stopped::Time(time))),
                }
            }
        };
        self.sql.runtime()?.spawn(to_its_end(answer, to_client, counted));
        let Ok((schema, missing)) = begun.await else {
            let error = batches.recv().await.and_then(Result::err);
            return Err(error.unwrap_or_else(|| QueryError::Failed(PANICKED.to_owned())));
        };
        Ok(Rows { schema, missing, batches, _client: client })
    }

    /// Says what a query would give.
    ///
    /// # Errors
    /// When it makes no sense.
    pub async fn describe_sql(&self, tenant: &Tenant, text: String) -> Result<Described, QueryError> {
        self.planned(tenant, |session| async move {
            let planned: Planned = session.plan(&text, None).await?;
            Ok(Described { schema: planned.schema(), parameters: planned.parameters()? })
        })
        .await
    }

    /// The tables, and their columns.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn sql_tables(&self, tenant: &Tenant) -> Result<Vec<(String, SchemaRef)>, QueryError> {
        self.planned(tenant, |session| async move { Ok(session.tables().await?) }).await
    }

    async fn planned<T: Send + 'static, F: Future<Output = Result<T, QueryError>> + Send>(
        &self,
        tenant: &Tenant,
        work: impl FnOnce(Session) -> F + Send + 'static,
    ) -> Result<T, QueryError> {
        let (opening, client) = self.open(tenant).await?;
        let task = self.sql.runtime()?.spawn(async move {
            let open = opening.await?;
            work(open.session).await
        });
        let done = task.await.map_err(|_| QueryError::Failed(PANICKED.to_owned()))?;
        drop(client);
        done
    }

    /// Takes a place. What comes opens the tables, and is to be awaited on a thread for SQL.
    async fn open(
        &self,
        tenant: &Tenant,
    ) -> Result<(impl Future<Output = Result<Open, QueryError>> + Send + 'static, Client), QueryError> {
        let place = self.places.take().await?;
        let (budget, client) = self.budget();
        let cache = self.cache.clone();
        let snapshot = self.storage.snapshot(tenant);
        let limits = self.sql.limits;
        let opening = async move {
            let spans = Arc::new(Spans::open(&snapshot, &cache, &budget).map_err(SqlError::from)?);
            let missing = spans.missing.clone();
            let session = Session::open(spans, budget, limits)?;
            Ok(Open { session, missing, _place: place })
        };
        Ok((opening, client))
    }
}

/// What is said of a query that the engine broke off.
const PANICKED: &str = "the query failed within the engine; the collector's log says where";

/// How long a client that takes nothing is waited for, to tell it why its answer ends.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Counts a query once it has ended, and then sees to it that the client is told of an error: without a last word, what came before a
/// panic would be taken for all there is.
async fn to_its_end(
    answer: impl Future<Output = Result<bool, QueryError>>,
    client: mpsc::Sender<Result<RecordBatch, QueryError>>,
    counted: Counted,
) {
    let started = Instant::now();
    let ended = AssertUnwindSafe(answer).catch_unwind().await;
    match ended.unwrap_or_else(|_| Err(QueryError::Failed(PANICKED.to_owned()))) {
        Ok(partial) => counted.answered(started.elapsed(), 0, partial),
        Err(error) => {
            counted.failed(started.elapsed(), error.outcome());
            let _ = timeout(LAST_WORD, client.send(Err(error))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::QueryMetrics;

    #[tokio::test]
    async fn an_answer_that_panics_ends_with_an_error_and_is_counted_first() {
        let metrics = QueryMetrics::default();
        let (rows, mut batches) = mpsc::channel(1);
        let answer = async { panic!("as the engine may") };
        to_its_end(answer, rows, metrics.begin(QueryKind::Sql)).await;
        assert!(matches!(batches.recv().await, Some(Err(QueryError::Failed(_)))));
        let (rows, mut batches) = mpsc::channel(1);
        to_its_end(async { Ok(true) }, rows, metrics.begin(QueryKind::Sql)).await;
        assert!(batches.recv().await.is_none());

        // Nobody takes the last word of this one.
        let (rows, _batches) = mpsc::channel(1);
        let stopped = || Err(QueryError::Stopped(Stopped::Cancelled));
        rows.send(Err(QueryError::Stopped(Stopped::Cancelled))).await.expect("there is room");
        let ending = to_its_end(async move { stopped() }, rows, metrics.begin(QueryKind::Sql));
        assert!(ending.now_or_never().is_none());
        assert_eq!(metrics.count(QueryKind::Sql, "failed"), 1);
        assert_eq!(metrics.count(QueryKind::Sql, "partial"), 1);
        assert_eq!(metrics.count(QueryKind::Sql, "cancelled"), 1);
    }
}
