//! Traces that are larger than any should be: answers take as long as the spans are many, not as their square.

use clew_query::exec::Searched;
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};

use super::{
    query,
    store::{self, Batch},
};

const SPANS: u64 = 200_000;

/// One trace, in which each span has a service of its own and is the child of the one before, without a root.
fn giant() -> Vec<Batch> {
    let span = |number: u64| {
        let span = Span {
            trace_id: vec![1; 16],
            span_id: (number + 1).to_be_bytes().to_vec(),
            parent_span_id: if number == 0 { vec![0xff; 8] } else { number.to_be_bytes().to_vec() },
            name: format!("n{}", number % 10),
            start_time_unix_nano: 1_000 + number,
            end_time_unix_nano: 2_000 + number,
            ..Span::default()
        };
        store::span(span, vec![store::attribute("service.name", Value::StringValue(format!("service-{number}")))])
    };
    let numbers: Vec<u64> = (0..SPANS).collect();
    let batch =
        |numbers: &[u64]| Batch { place: 0, spans: numbers.iter().copied().map(span).collect(), may_duplicate: false };
    numbers.chunks(10_000).map(batch).collect()
}

#[test]
fn a_giant_trace_is_answered_in_time_wherever_it_lies() {
    let batches = giant();
    for blocks in [0, 1] {
        store::ask(&batches, blocks, |snapshot| {
            let found = |query: &str| {
                let Searched { mut traces, missing, .. } = query::find(snapshot, query, 3).unwrap();
                assert_eq!((traces.len(), missing), (1, vec![]), "{query}");
                traces.remove(0)
            };
            let trace = found("{ } | by(span:id) | count() = 1 | { rootName = nil } | coalesce() | count() > 199999");
            assert_eq!((u64::from(trace.spans), trace.services.len() as u64), (SPANS, SPANS));
            assert_eq!((trace.sets.len(), u64::from(trace.sets[0].matched)), (1, SPANS));
            let trace =
                found("{ trace:duration = 200999ns && name =~ \"(n1|x{1,300}|y{1,300})\" } >> { parent.a = nil }");
            assert_eq!(u64::from(trace.sets[0].matched), SPANS - 2);
        });
    }
}

#[test]
fn a_regular_expression_is_compiled_once_for_all_spans() {
    let spans = |place| Batch { place, spans: giant().remove(0).spans, may_duplicate: false };
    store::ask(&[spans(0), spans(1)], 1, |snapshot| {
        for query in [
            "{ (name =~ \"n[13]|(a|b|c){1,300}\") = true }",
            "{ nestedSetLeft > 0 && (name =~ \"n[13]|(a|b|c){1,300}\") = true }",
            "{ } | by(name =~ \"n[13]|(a|b|c){1,300}\") | count() = 2000",
        ] {
            let found = query::find(snapshot, query, 1).unwrap().traces;
            assert_eq!(found[0].sets[0].matched, 2000, "{query}");
        }
    });
}
