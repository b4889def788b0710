//! Names and values of attributes are listed, wherever spans lie.

use std::{collections::BTreeSet, time::Duration};

use clew_query::{
    exec::{Budget, Cache, Range, TagOptions, TagScope, tag_combinations, tag_names, tag_values},
    traceql::{
        ast::{Body, Field, Pipeline, Scope},
        parse, value,
    },
};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, Span, Status},
};
use proptest::{collection::vec, prelude::*};

use super::store::{self, Batch, Kept};

/// `a`, which many have; `b`, which some have; the service; whether it failed; start; place.
type Given = (u8, Option<u8>, u8, bool, u64, usize);

fn made((at, (a, b, service, failed, start, _)): (usize, &Given)) -> ResourceSpans {
    let int = |key: &str, value: u8| store::attribute(key, Value::IntValue(value.into()));
    let made = Span {
        trace_id: vec![1 + at as u8 % 30; 16],
        span_id: (at as u64 + 1).to_be_bytes().to_vec(),
        start_time_unix_nano: *start,
        end_time_unix_nano: *start,
        status: failed.then(|| Status { code: 2, ..Status::default() }),
        attributes: [int("a", *a)].into_iter().chain(b.map(|b| int(&format!("b{b}"), b))).collect(),
        ..Span::default()
    };
    store::span(made, vec![int("service", *service)])
}

fn failed() -> Pipeline {
    let Body::Spans(pipeline) = parse("{ status = error }").unwrap().body else { unreachable!() };
    pipeline
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_spans_have_is_listed(
        spans in vec((0..9u8, prop::option::weighted(0.1, 0..9u8), 0..9u8, any::<bool>(), 1..100u64, 0..4usize), 0..100),
        start in 0..60i64,
        all in any::<bool>(),
        narrowed in any::<bool>(),
    ) {
        let range = if all { Range::ALL } else { Range { start, end: start + 40 } };
        let filter = narrowed.then(failed);
        let options = TagOptions { range, limit: 1000 };
        let asked = |span: &&Given| range.has(span.4 as i64) && (!narrowed || span.3);
        let asked: Vec<&Given> = spans.iter().filter(asked).collect();
        let names: BTreeSet<String> =
            asked.iter().flat_map(|span| [Some("a".to_owned()), span.1.map(|b| format!("b{b}"))]).flatten().collect();
        let ints = |of: fn(&Given) -> Option<u8>| -> BTreeSet<i64> {
            asked.iter().filter_map(|span| of(span)).map(i64::from).collect()
        };
        let fields = [
            (Field::attribute(Scope::Span, "a"), ints(|span| Some(span.0))),
            (Field::attribute(Scope::Any, "b3"), ints(|span| span.1.filter(|b| *b == 3))),
            (Field::attribute(Scope::Resource, "service"), ints(|span| Some(span.2))),
        ];
        let batch = |place| {
            let here = spans.iter().enumerate().filter(|(_, span)| span.5 == place);
            Batch { place, spans: here.map(made).collect(), may_duplicate: false }
        };
        let batches: Vec<Batch> = (0..4).map(batch).filter(|batch| !batch.spans.is_empty()).collect();
        for kept in [0.into(), 1.into(), 3.into(), Kept::cut(1, 16), Kept::cut(2, 16)] {
            store::ask(&batches, kept, |snapshot| {
                let (budget, _client) = Budget::new(Duration::from_secs(60));
                let cache = Cache::new(1 << 20);
                let int = |value: &value::Value| match value {
                    value::Value::Int(int) => *int,
                    other => panic!("{other:?}"),
                };
                // The second time from the cache.
                for _ in 0..2 {
                    for (field, expected) in &fields {
                        let found = tag_values(snapshot, &cache, field, filter.as_ref(), options, &budget).unwrap();
                        assert_eq!(found.missing, [""; 0]);
                        let values: BTreeSet<i64> = found.values.iter().map(int).collect();
                        assert_eq!((found.values.len(), &values), (expected.len(), expected), "{field} in {kept:?}");
                    }
                    let together = [fields[2].0.clone(), fields[0].0.clone()];
                    let found = tag_combinations(snapshot, &cache, &together, filter.as_ref(), options, &budget).unwrap();
                    let expected: BTreeSet<[i64; 2]> =
                        asked.iter().map(|span| [i64::from(span.2), i64::from(span.0)]).collect();
                    let pairs: BTreeSet<[i64; 2]> = found.values.iter().map(|pair| [int(&pair[0]), int(&pair[1])]).collect();
                    assert_eq!((found.values.len(), &pairs), (expected.len(), &expected), "{kept:?}");
                    let of = Some(TagScope::Span);
                    let found = tag_names(snapshot, &cache, of, filter.as_ref(), options, &budget).unwrap();
                    let found: BTreeSet<String> = found.scopes.into_iter().flat_map(|(_, names)| names).collect();
                    if all || narrowed {
                        assert_eq!(found, names, "{kept:?}");
                    } else {
                        // Those of others in the same block may be there too.
                        assert!(found.is_superset(&names), "{found:?} and {names:?} in {kept:?}");
                    }
                }
            });
        }
    }
}
