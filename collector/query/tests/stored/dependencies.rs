//! Calls between services are all counted, wherever the spans lie.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use clew_query::exec::{Budget, Cache, Dependency, Range, dependencies};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, Span, Status},
};
use proptest::{collection::vec, prelude::*};

use super::store::{self, Batch, Kept};

/// A span, and where it is stored.
#[derive(Clone, Debug)]
struct Given {
    trace: u8,
    id: u8,
    /// 0 for none.
    parent: u8,
    /// 0 for none.
    service: u8,
    failed: bool,
    start: u64,
    /// Which of the blocks, the one after them for memory.
    place: usize,
    /// Another place that it is in too.
    again: Option<usize>,
}

fn given() -> impl Strategy<Value = Given> {
    let ids = (1..5u8, 1..20u8, 0..20u8, 0..4u8);
    (ids, any::<bool>(), 1..100u64, 0..4usize, prop::option::weighted(0.2, 0..4usize)).prop_map(
        |((trace, id, parent, service), failed, start, place, again)| Given {
            trace,
            id,
            parent,
            service,
            failed,
            start,
            place,
            again,
        },
    )
}

fn made(span: &Given) -> ResourceSpans {
    let service = store::attribute("service.name", Value::StringValue(format!("s{}", span.service)));
    let made = Span {
        trace_id: vec![span.trace; 16],
        span_id: vec![span.id; 8],
        parent_span_id: if span.parent == 0 { vec![] } else { vec![span.parent; 8] },
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.start + 10,
        status: span.failed.then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    };
    store::span(made, if span.service == 0 { vec![] } else { vec![service] })
}

/// What is counted over a store that has the spans in blocks and in memory.
fn counted(spans: &[Given], kept: Kept, range: Range) -> Vec<Dependency> {
    let batch = |span: &Given, place| Batch { place, spans: vec![made(span)], may_duplicate: span.again.is_some() };
    let places = |span: &Given| [Some(span.place), span.again].into_iter().flatten();
    let batches: Vec<Batch> = spans.iter().flat_map(|span| places(span).map(move |place| batch(span, place))).collect();
    store::ask(&batches, kept, |snapshot| {
        let (budget, _client) = Budget::new(Duration::from_secs(60));
        let found = dependencies(snapshot, &Cache::new(1 << 20), range, &budget).unwrap();
        assert_eq!(found.missing, [""; 0]);
        found.dependencies
    })
}

/// What has to be counted.
fn expected(spans: &[Given], range: Range) -> Vec<Dependency> {
    let services: HashMap<(u8, u8), u8> = spans.iter().map(|span| ((span.trace, span.id), span.service)).collect();
    let mut calls: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for span in spans.iter().filter(|span| range.has(span.start as i64)) {
        let parent = services.get(&(span.trace, span.parent)).copied().unwrap_or(0);
        if parent != 0 && span.service != 0 && parent != span.service {
            let of_pair = calls.entry((format!("s{parent}"), format!("s{}", span.service))).or_default();
            *of_pair = (of_pair.0 + 1, of_pair.1 + u64::from(span.failed));
        }
    }
    let dependency = |((parent, child), (calls, errors))| Dependency { parent, child, calls, errors };
    calls.into_iter().map(dependency).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_are_counted_once_wherever_spans_lie(spans in vec(given(), 0..100), start in 0..60i64, all in any::<bool>()) {
        // An id names one span.
        let spans: BTreeMap<(u8, u8), Given> = spans.into_iter().map(|span| ((span.trace, span.id), span)).collect();
        let spans: Vec<Given> = spans.into_values().collect();
        let range = if all { Range::ALL } else { Range { start, end: start + 40 } };
        for kept in [0.into(), 1.into(), 3.into(), Kept::cut(1, 16), Kept::cut(2, 16)] {
            prop_assert_eq!(counted(&spans, kept, range), expected(&spans, range), "{:?}", kept);
        }
    }
}
