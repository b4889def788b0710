//! What queries in TraceQL find and measure in small stores.

use std::time::Duration;

use clew_query::{
    exec::{Budget, Cache, Measured, MetricsOptions, Range, SearchOptions, Searched, Stopped, metrics, search},
    traceql::{ast::Body, parse, steps::Steps},
};
use clew_storage::Snapshot;

/// What a query finds, with so many spans of each set.
pub fn find(snapshot: &Snapshot, query: &str, spans: usize) -> Result<Searched, Stopped> {
    let Body::Spans(pipeline) = parse(query).unwrap().body else { panic!("{query} is no search") };
    let (budget, _client) = Budget::new(Duration::from_secs(120));
    let options = SearchOptions { range: Range::ALL, limit: 1000, spans };
    search(snapshot, &Cache::new(64 << 20), &pipeline, options, &budget)
}

/// What a query measures from the first nanosecond to the hundredth.
pub fn measure(snapshot: &Snapshot, query: &str) -> Result<Measured, Stopped> {
    let Body::Metrics(expr) = parse(query).unwrap().body else { panic!("{query} measures nothing") };
    let (budget, _client) = Budget::new(Duration::from_secs(120));
    let options = MetricsOptions { steps: Steps::instant(0, 100), exemplars: 0, max_series: 1000 };
    metrics(snapshot, &Cache::new(64 << 20), &expr, options, &budget)
}
