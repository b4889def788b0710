//! What is executed over a store finds what the reference finds over whole traces, wherever the spans lie.

use std::time::Duration;

use clew_query::{
    exec::{Budget, Cache, Found, Matches, MetricsOptions, Range, SearchOptions, SpanFilter, metrics, search},
    traceql::{
        ast::{Body, Pipeline},
        parse,
        reference::{self, Trace},
        series::TimeSeries,
        steps::Steps,
        value::Value,
    },
};
use clew_storage::Snapshot;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, TracesData};
use proptest::prelude::*;
use prost::Message;

use super::{
    cases,
    opened::{Kept, TestStore},
    traces,
    words::query,
};

/// A store with the traces of `traces/`.
struct Stored {
    snapshot: Snapshot,
    cache: Cache,
    traces: Vec<Trace>,
    _store: TestStore,
}

/// Each span by itself.
fn spans(trace: &Trace) -> Vec<ResourceSpans> {
    let alone = |node: &clew_query::tree::Node| {
        let spans = ScopeSpans {
            scope: Some(trace.tree.scopes[node.scope].clone()),
            spans: vec![node.span.clone()],
            ..ScopeSpans::default()
        };
        ResourceSpans {
            resource: Some(trace.tree.resources[node.resource].clone()),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        }
    };
    trace.tree.nodes.iter().map(alone).collect()
}

/// The same trace with another id.
fn copy(trace: &Trace, number: u8) -> Trace {
    let mut copied = spans(trace);
    copied.iter_mut().for_each(|alone| alone.scope_spans[0].spans[0].trace_id[0] = number);
    Trace::new(TracesData { resource_spans: copied })
}

impl Stored {
    /// Spans are dealt to the blocks and the memory. Where blocks are cut small there are some of each trace, so that each block has
    /// several row groups.
    fn new(kept: impl Into<Kept>) -> Self {
        let Kept { blocks, layout } = kept.into();
        let mut traces: Vec<Trace> = traces::all().into_iter().map(|(_, trace)| trace).collect();
        if layout.group_rows < 100 {
            let copies: Vec<Trace> =
                (1..4).flat_map(|number| traces.iter().map(move |trace| copy(trace, number))).collect();
            traces.extend(copies);
        }
        let spans: Vec<ResourceSpans> = traces.iter().flat_map(spans).collect();
        let mut store = TestStore::open(layout);
        for part in 0..=blocks {
            for (_, span) in spans.iter().enumerate().filter(|(at, _)| (at * 7 + at / 5) % (blocks + 1) == part) {
                store.append(vec![span.clone()], false);
            }
            if part < blocks {
                store.flush();
            }
        }
        let snapshot = store.snapshot();
        assert_eq!(snapshot.blocks().len(), blocks);
        let groups = snapshot.blocks().iter().map(|block| block.groups().unwrap().len());
        assert!(groups.into_iter().all(|groups| (groups > 1) == (layout.group_rows < 100)));
        Self { snapshot, cache: Cache::new(1 << 20), traces, _store: store }
    }

    fn search(&self, pipeline: &Pipeline) -> Vec<Found> {
        let options = SearchOptions { range: Range::ALL, limit: 1000, spans: usize::MAX };
        let (budget, _client) = Budget::new(Duration::from_secs(60));
        let found = search(&self.snapshot, &self.cache, pipeline, options, &budget).unwrap();
        assert_eq!(found.missing, [""; 0]);
        assert!(found.traces.is_sorted_by(|a, b| a.newest >= b.newest));
        found.traces
    }

    /// What a search finds, each spanset as the ids of its spans with what was computed.
    fn found(&self, pipeline: &Pipeline) -> Vec<String> {
        let line = |found: &Found| {
            let set = |set: &clew_query::exec::FoundSet| {
                let mut ids: Vec<String> = set.spans.iter().map(|span| hex::encode(span.id)).collect();
                ids.sort();
                format!("{} {:?}", ids.join(" "), set.attributes)
            };
            let mut sets: Vec<_> = found.sets.iter().map(set).collect();
            sets.sort();
            format!("{}: {}", hex::encode(found.trace_id), sets.join(" | "))
        };
        let mut lines: Vec<_> = self.search(pipeline).iter().map(line).collect();
        lines.sort();
        lines
    }

    fn expected(&self, pipeline: &Pipeline) -> Vec<String> {
        let line = |trace: &Trace| {
            let set = |set: &reference::Spanset| {
                let mut ids: Vec<String> =
                    set.spans.iter().map(|span| hex::encode(&trace.tree.nodes[*span].span.span_id)).collect();
                ids.sort();
                format!("{} {:?}", ids.join(" "), set.attributes)
            };
            let mut sets: Vec<_> = reference::find(trace, pipeline).spansets.iter().map(set).collect();
            sets.sort();
            let id = hex::encode(&trace.tree.nodes[0].span.trace_id);
            (!sets.is_empty()).then(|| format!("{id}: {}", sets.join(" | ")))
        };
        let mut lines: Vec<_> = self.traces.iter().filter_map(line).collect();
        lines.sort();
        lines
    }

    /// Nothing when both say the same.
    fn difference(&self, query: &str, steps: Steps) -> Option<String> {
        match parse(query).unwrap().body {
            Body::Spans(pipeline) => {
                let (found, expected) = (self.found(&pipeline), self.expected(&pipeline));
                (found != expected).then(|| format!("{query}\n  found    {found:#?}\n  expected {expected:#?}"))
            }
            Body::Metrics(expr) => {
                let options = MetricsOptions { steps, exemplars: 3, max_series: 10_000 };
                let (budget, _client) = Budget::new(Duration::from_secs(60));
                let found = metrics(&self.snapshot, &self.cache, &expr, options, &budget).unwrap().series;
                let expected = reference::measure(&self.traces, &expr, steps);
                (!alike(&found, &expected)).then(|| {
                    let only = |these: &[TimeSeries], others: &[TimeSeries]| {
                        let lonely = |one: &&TimeSeries| {
                            !others.iter().any(|other| alike(std::slice::from_ref(*one), std::slice::from_ref(other)))
                        };
                        these.iter().filter(lonely).map(|series| format!("\n    {series:?}")).collect::<String>()
                    };
                    format!("{query}\n  found{}\n  expected{}", only(&found, &expected), only(&expected, &found))
                })
            }
        }
    }
}

/// Quantiles are within half a percent, and what is computed from them; sums are not added in the same order.
fn alike(found: &[TimeSeries], expected: &[TimeSeries]) -> bool {
    let close = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 0.01 * a.abs().max(b.abs()) || a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    };
    let same = |(a, b): (&TimeSeries, &TimeSeries)| a.labels == b.labels && a.values.iter().zip(&b.values).all(close);
    found.len() == expected.len() && found.iter().zip(expected).all(same)
}

fn steps() -> Steps {
    let at = |seconds| (traces::BEGIN_S + seconds) * 1_000_000_000;
    Steps::aligned(at(5), at(45), 20_000_000_000)
}

#[test]
fn every_case_is_answered_as_the_reference_does() {
    for kept in [0.into(), 1.into(), 3.into(), Kept::cut(1, 16), Kept::cut(2, 16)] {
        let stored = Stored::new(kept);
        let mut wrong = Vec::new();
        for folder in ["find", "measure"] {
            cases::queries(folder, |query| {
                let query = query.strip_prefix("instant ").unwrap_or(query);
                wrong.extend(stored.difference(query, steps()));
            });
        }
        assert!(wrong.is_empty(), "{kept:?}, {} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn single_spans_are_found_by_every_filter_that_needs_no_more() {
    for kept in [3.into(), Kept::cut(2, 16)] {
        let stored = Stored::new(kept);
        let mut filters = 0;
        cases::queries("find", |text| {
            let Ok(query) = parse(text) else { return };
            let Ok(filter) = SpanFilter::of(query.clone()) else { return };
            let Body::Spans(pipeline) = query.body else { unreachable!() };
            filters += 1;
            let (budget, _client) = Budget::new(Duration::from_secs(60));
            let mut matches = Matches::new(stored.snapshot.clone(), filter);
            let (mut found, mut spans) = (Vec::new(), 0);
            loop {
                let piece = matches.next(&stored.cache, &budget, Duration::from_secs(60)).unwrap();
                let resources = TracesData::decode(&*piece.otlp).unwrap().resource_spans;
                let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
                let of_piece = scopes.flat_map(|scope| scope.spans);
                found.extend(of_piece.map(|span| hex::encode([span.trace_id, span.span_id].concat())));
                spans += piece.spans as usize;
                if piece.last {
                    break;
                }
            }
            assert_eq!((spans, matches.missing()), (found.len(), &[][..]));
            let mut expected = Vec::new();
            for trace in stored.search(&pipeline) {
                let spans = trace.sets.iter().flat_map(|set| &set.spans);
                expected.extend(spans.map(|span| hex::encode([&trace.trace_id[..], &span.id[..]].concat())));
            }
            for ids in [&mut found, &mut expected] {
                ids.sort();
                ids.dedup();
            }
            assert_eq!(found, expected, "{text} in {kept:?}");
        });
        assert!(filters > 100, "{filters}");
    }
}

#[test]
fn a_tail_that_has_no_time_goes_on_piece_by_piece() {
    let stored = Stored::new(3);
    let Body::Spans(pipeline) = parse("{ name = \"card\" }").unwrap().body else { unreachable!() };
    let filter = SpanFilter::of(parse("{ name = \"card\" }").unwrap()).unwrap();
    let (budget, _client) = Budget::new(Duration::from_secs(60));
    let mut matches = Matches::new(stored.snapshot.clone(), filter);
    let mut spans = Vec::new();
    loop {
        let piece = matches.next(&stored.cache, &budget, Duration::ZERO).unwrap();
        spans.push(piece.spans);
        if piece.last {
            break;
        }
    }
    assert!(spans.len() >= 4, "a piece for each block and one for memory: {spans:?}");
    let found: u32 = stored.search(&pipeline).iter().flat_map(|trace| &trace.sets).map(|set| set.matched).sum();
    assert_eq!(spans.iter().sum::<u64>(), u64::from(found));
}

#[test]
fn queries_of_many_filters_are_answered_as_the_reference_does() {
    for kept in [0.into(), 1.into(), 2.into(), Kept::cut(2, 16)] {
        let stored = Stored::new(kept);
        for (op, other) in
            [("||", "{ name = \"nothing\" }"), ("&&", "{ kind = server }"), ("!>>", "{ name = \"nothing\" }")]
        {
            for at in [0, 30, 31, 32, 39] {
                let filter = |number| if number == at { "{ name = \"card\" }" } else { other };
                let query = (0..40).map(filter).collect::<Vec<_>>().join(&format!(" {op} "));
                assert_eq!(stored.difference(&query, steps()), None, "{kept:?}");
            }
        }
    }
}

#[test]
fn the_limit_of_series_holds_for_the_answer() {
    let stored = Stored::new(2);
    let measure = |query: &str, max_series| {
        let Body::Metrics(expr) = parse(query).unwrap().body else { unreachable!() };
        let options = MetricsOptions { steps: steps(), exemplars: 0, max_series };
        let (budget, _client) = Budget::new(Duration::from_secs(60));
        metrics(&stored.snapshot, &stored.cache, &expr, options, &budget)
    };
    let error = measure("{ } | rate() by (name)", 3).unwrap_err().to_string();
    assert!(error.contains("series, more than 3") && error.contains("topk"), "{error}");
    assert_eq!(measure("{ } | count_over_time() by (name) | topk(1)", 3).unwrap().series.len(), 3);

    let all = measure("{ } | compare({ status = error })", 10_000).unwrap();
    assert_eq!(all.missing, [""; 0]);
    let most = all.series.len() / 2;
    let some = measure("{ } | compare({ status = error })", most).unwrap();
    assert!(!some.series.is_empty() && some.series.len() <= most, "{} of {most}", some.series.len());
    assert!(some.missing[0].contains(&format!("more than {most}; left out are those of ")), "{:?}", some.missing);
    let field = |series: &TimeSeries| series.labels[1].0.clone();
    let of_field = |all: &[TimeSeries], one: &str| all.iter().filter(|series| field(series) == one).count();
    assert!(some.series.iter().all(|one| of_field(&some.series, &field(one)) == of_field(&all.series, &field(one))));
}

#[test]
fn newest_first_and_no_more_than_asked_for() {
    let stored = Stored::new(2);
    let Body::Spans(pipeline) = parse("{ }").unwrap().body else { unreachable!() };
    let all = stored.search(&pipeline);
    let (budget, _client) = Budget::new(Duration::from_secs(60));
    let options = SearchOptions { range: Range::ALL, limit: 2, spans: 1 };
    let some = search(&stored.snapshot, &stored.cache, &pipeline, options, &budget).unwrap().traces;
    let ids = |found: &[Found]| found.iter().map(|found| found.trace_id).collect::<Vec<_>>();
    assert_eq!(ids(&some), ids(&all[..2]));
    assert!(some.iter().all(|found| found.sets[0].spans.len() == 1 && found.sets[0].matched > 1));
    let newest = all[0].newest;
    let options = SearchOptions { range: Range { start: newest, end: newest + 1 }, limit: 20, spans: 1 };
    let found = search(&stored.snapshot, &stored.cache, &pipeline, options, &budget).unwrap().traces;
    assert_eq!(ids(&found), [all[0].trace_id]);
    let Some(Value::String(name)) = all.iter().find_map(|found| found.root_name.clone()).map(Value::String) else {
        panic!("no trace has a root")
    };
    assert!(!name.is_empty());
}

#[test]
fn exemplars_are_spans_that_were_counted() {
    for kept in [0.into(), 1.into(), 3.into(), Kept::cut(2, 16)] {
        let stored = Stored::new(kept);
        let (first, last) = steps().counted_ns();
        let spans = stored.traces.iter().flat_map(|trace| &trace.tree.nodes).map(|node| &node.span);
        let counted = spans.filter(|span| (first..=last).contains(&span.start_time_unix_nano));
        let mut all: Vec<_> = counted
            .map(|span| (span.start_time_unix_nano, span.span_id.clone(), span.trace_id.clone(), span.name.clone()))
            .collect();
        all.sort();
        let Body::Metrics(expr) = parse("{ } | rate() by (name)").unwrap().body else { unreachable!() };
        let exemplars = |exemplars: usize| {
            let options = MetricsOptions { steps: steps(), exemplars, max_series: 10_000 };
            let (budget, _client) = Budget::new(Duration::from_secs(60));
            let found = metrics(&stored.snapshot, &stored.cache, &expr, options, &budget).unwrap().exemplars;
            let exemplar = found.into_iter().map(|exemplar| {
                let [(_, Value::String(name))] = &exemplar.labels[..] else { panic!("{:?}", exemplar.labels) };
                (exemplar.time_ns, exemplar.span_id.to_vec(), exemplar.trace_id.to_vec(), name.clone())
            });
            exemplar.collect::<Vec<_>>()
        };
        assert_eq!(exemplars(10_000), all, "{kept:?}");
        for most in [1, 3, 10] {
            let some = exemplars(most);
            assert!(most / 2 < some.len() && some.len() <= most, "{some:?}");
            assert!(some.is_sorted_by(|a, b| a < b) && some.iter().all(|one| all.contains(one)), "{some:?}");
        }
        assert_eq!(exemplars(0), []);
    }
}

#[test]
fn a_query_ends_when_nobody_waits_or_its_time_is_over() {
    let stored = Stored::new(1);
    let Body::Spans(pipeline) = parse("{ }").unwrap().body else { unreachable!() };
    let options = SearchOptions { range: Range::ALL, limit: 20, spans: 3 };
    let (budget, client) = Budget::new(Duration::from_secs(60));
    drop(client);
    assert!(search(&stored.snapshot, &stored.cache, &pipeline, options, &budget).is_err());
    let (budget, _client) = Budget::new(Duration::ZERO);
    let error = search(&stored.snapshot, &stored.cache, &pipeline, options, &budget).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn a_query_ends_when_it_reads_too_much() {
    let stored = Stored::new(3);
    let Body::Metrics(expr) = parse("{ } | count_over_time() by (name, span.a)").unwrap().body else { unreachable!() };
    let options = MetricsOptions { steps: steps(), exemplars: 0, max_series: 10_000 };
    let asked = |cache: &Cache, max_bytes| {
        let (budget, _client) = Budget::new(Duration::from_secs(60));
        let budget = budget.reading(max_bytes);
        metrics(&stored.snapshot, cache, &expr, options, &budget).map(drop)
    };
    let error = asked(&Cache::new(1 << 30), 100).unwrap_err().to_string();
    assert!(error.contains("read more than 0 MiB") && error.contains("shorter time range"), "{error}");
    let cache = Cache::new(1 << 30);
    asked(&cache, 1 << 30).unwrap();
    asked(&cache, 100).expect("what is in memory costs nothing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_queries_are_answered_as_the_reference_does(queries in prop::collection::vec(query(), 16)) {
        thread_local!(static STORED: [Stored; 2] = [Stored::new(2), Stored::new(Kept::cut(2, 16))]);
        // A quantile that is off by half a percent may be on the other side of what it is compared with, and what is computed
        // of two is off by more.
        let functions = |query: &str| query.matches("rate()").count() + query.matches("_over_time(").count();
        let exact = |query: &String| !query.contains("quantile") || !query.contains("> 1") && functions(query) == 1;
        for query in queries.into_iter().filter(exact) {
            let differences = STORED.with(|stored| stored.each_ref().map(|stored| stored.difference(&query, steps())));
            let difference = differences.into_iter().flatten().next();
            prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
        }
    }
}
