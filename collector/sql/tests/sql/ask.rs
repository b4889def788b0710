//! Asks a store.

use std::{sync::Arc, time::Duration};

use clew_query::exec::{Budget, Cache, Spans};
use clew_sql::{Limits, STACK_BYTES, Session, SqlError};
use clew_storage::Snapshot;
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures_util::TryStreamExt;

pub const LIMITS: Limits = Limits { memory_bytes: 64 << 20, threads: 2 };

pub fn session(snapshot: &Snapshot, limits: Limits) -> Session {
    let (budget, client) = Budget::new(Duration::from_secs(60));
    std::mem::forget(client);
    let spans = Spans::open(snapshot, &Cache::new(1 << 20), &budget).unwrap();
    Session::open(Arc::new(spans), budget, limits).unwrap()
}

/// Runs a query on a thread of its own, as the collector does.
pub fn ask(snapshot: &Snapshot, query: &str, limits: Limits) -> Result<String, SqlError> {
    let session = session(snapshot, limits);
    let query = query.to_owned();
    let work = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rows = session.plan(&query, None).await?.run().await?;
            let schema = rows.schema();
            let batches: Vec<_> = rows.try_collect().await?;
            if batches.is_empty() {
                return Ok(format!("no rows of {} columns", schema.fields().len()));
            }
            Ok(pretty_format_batches(&batches).unwrap().to_string())
        })
    });
    work.unwrap().join().unwrap()
}
