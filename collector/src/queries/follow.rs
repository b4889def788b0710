//! Follows what comes in, for as long as somebody listens.

use std::time::Duration;

use bytes::Bytes;
use clew_common::ids::Tenant;
use clew_query::exec::{Matched, Matches, SpanFilter};
use clew_storage::{Cursor, Tail};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout},
};

use super::{Queries, QueryError, parse};
use crate::metrics::{Counted, QueryKind};

/// Whoever follows hears something that often.
const QUIET: Duration = Duration::from_secs(10);
/// What comes within is looked at together.
const PAUSE: Duration = Duration::from_millis(5);
/// How long what is new is looked at in one go: others need the thread too, and the time of a query is not for all that there is.
const PIECE: Duration = Duration::from_secs(1);
/// When to come back.
const RETRY: Duration = Duration::from_secs(5);

/// Follows the spans that a filter finds.
pub struct Follower {
    queries: Queries,
    filter: SpanFilter,
    tail: Tail,
    /// What is new and was not looked at to its end, and the cursor after it.
    unread: Option<(Matches, Cursor)>,
    not_before: Instant,
    _counted: Counted,
    _place: OwnedSemaphorePermit,
}

/// What is new.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// OTLP TracesData; empty when nothing is.
    pub otlp: Bytes,
    /// Who goes on after it misses nothing. None: more of the same follows.
    pub cursor: Option<Cursor>,
    /// Why spans may be missing.
    pub missing: Vec<String>,
}

impl Queries {
    /// Follows the spans that a filter finds, from now on or from a cursor on.
    ///
    /// # Errors
    /// When the filter or the cursor makes no sense, or too many follow.
    pub fn follow(&self, tenant: &Tenant, query: &str, cursor: &str) -> Result<Follower, QueryError> {
        let counted = self.metrics.begin(QueryKind::Tail);
        let (place, filter, tail) = match self.start(tenant, query, cursor) {
            Ok(started) => started,
            Err(error) => {
                counted.failed(Duration::ZERO, error.outcome());
                return Err(error);
            }
        };
        let not_before = Instant::now();
        Ok(Follower { queries: self.clone(), filter, tail, unread: None, not_before, _counted: counted, _place: place })
    }

    fn start(
        &self,
        tenant: &Tenant,
        query: &str,
        cursor: &str,
    ) -> Result<(OwnedSemaphorePermit, SpanFilter, Tail), QueryError> {
        let place = self.followers.clone().try_acquire_owned();
        let place = place.map_err(|_| QueryError::Refused { retry: RETRY })?;
        let query = if query.trim().is_empty() { "{ }" } else { query };
        let filter = SpanFilter::of(parse(query)?).map_err(QueryError::Invalid)?;
        let after = (!cursor.is_empty()).then(|| cursor.parse()).transpose()?;
        Ok((place, filter, self.storage.tail(tenant, after)?))
    }
}

impl Follower {
    /// Where it is before anything was read.
    pub fn cursor(&self) -> Cursor {
        self.tail.cursor()
    }

    /// Waits for what is new; not longer than ten seconds, after which nothing is.
    ///
    /// # Errors
    /// When it cannot go on. All that came before has been given.
    pub async fn next(&mut self) -> Result<Followed, QueryError> {
        let quiet = Instant::now() + QUIET;
        loop {
            let (mut matches, cursor) = match self.unread.take() {
                Some(unread) => unread,
                None => {
                    sleep_until(self.not_before).await;
                    let left = quiet.saturating_duration_since(Instant::now());
                    let Ok(news) = timeout(left, self.tail.next()).await else {
                        return Ok(Followed { cursor: Some(self.tail.cursor()), ..Followed::default() });
                    };
                    self.not_before = Instant::now() + PAUSE;
                    (Matches::new(news.snapshot, self.filter.clone()), news.cursor)
                }
            };
            let (budget, client) = self.queries.budget();
            let cache = self.queries.cache.clone();
            let within = PIECE.min(self.queries.timeout / 2);
            let looked = self.queries.threads.run(move || {
                let matched = matches.next(&cache, &budget, within);
                (matched, matches)
            });
            let (matched, matches) = looked.await?;
            drop(client);
            let Matched { otlp, spans, last } = matched?;
            let missing = if last { matches.missing().to_vec() } else { Vec::new() };
            if !last {
                self.unread = Some((matches, cursor));
            }
            if spans > 0 || !missing.is_empty() {
                return Ok(Followed { otlp: otlp.into(), cursor: last.then_some(cursor), missing });
            }
            if Instant::now() >= quiet {
                return Ok(Followed { cursor: last.then_some(cursor), ..Followed::default() });
            }
        }
    }
}
