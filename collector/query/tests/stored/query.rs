//! What queries in TraceQL find and measure in small stores.

use std::{slice::from_ref, time::Duration};

use clew_query::{
    exec::{
        Budget, Cache, Measured, MetricsOptions, Range, SearchOptions, Searched, Stopped, TagOptions, dependencies,
        metrics, search, tag_combinations, tag_names, tag_values,
    },
    traceql::{
        ast::{Body, Field, Scope},
        parse,
        steps::Steps,
    },
};
use clew_storage::Snapshot;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::store::{self, Batch};

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

/// What is in memory may have to be opened first: then a query that has no time for it knows nothing yet.
#[test]
fn a_query_whose_time_is_up_before_it_has_seen_what_is_in_memory_has_no_answer() {
    let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() };
    let batch = Batch { place: 0, spans: vec![store::span(span, Vec::new())], may_duplicate: false };
    store::ask(&[batch], 0, |snapshot| {
        let (budget, _client) = Budget::new(Duration::ZERO);
        let cache = Cache::new(1 << 20);
        let Body::Spans(all) = parse("{}").unwrap().body else { panic!("it is a search") };
        let Body::Metrics(rate) = parse("{} | rate()").unwrap().body else { panic!("it measures") };
        let searching = SearchOptions { range: Range::ALL, limit: 10, spans: 10 };
        let measuring = MetricsOptions { steps: Steps::instant(0, 100), exemplars: 0, max_series: 10 };
        let tags = TagOptions { range: Range::ALL, limit: 10 };
        let a = Field::attribute(Scope::Span, "a");
        let stopped = [
            search(snapshot, &cache, &all, searching, &budget).err(),
            metrics(snapshot, &cache, &rate, measuring, &budget).err(),
            tag_names(snapshot, &cache, None, None, tags, &budget).err(),
            tag_values(snapshot, &cache, &a, None, tags, &budget).err(),
            tag_combinations(snapshot, &cache, from_ref(&a), None, tags, &budget).err(),
            dependencies(snapshot, &cache, Range::ALL, &budget).err(),
        ];
        assert_eq!(stopped, [const { Some(Stopped::Time(Duration::ZERO)) }; 6]);
    });
}
