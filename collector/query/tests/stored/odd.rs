//! Odd spans and long answers.

use clew_query::traceql::{
    ast::{Body, Field, Intrinsic},
    parse,
    reference::{self, Trace},
    value::Value as Of,
};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, Span, TracesData},
};

use super::{
    query,
    store::{self, Batch},
};

fn span(id: u8, start: u64, end: u64) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

#[test]
fn a_time_of_0_does_not_count_for_how_long_a_trace_takes() {
    let cases = [
        (vec![(0, 100), (50, 200)], 150),
        (vec![(0, 0), (50, 200)], 150),
        (vec![(70, 0), (50, 60)], 20),
        (vec![(90, 40)], 50),
        (vec![(0, 0)], 0),
    ];
    for (times, duration) in cases {
        let spans: Vec<ResourceSpans> =
            times.iter().zip(1..).map(|((start, end), id)| store::span(span(id, *start, *end), vec![])).collect();
        let reference = Trace::new(TracesData { resource_spans: spans.clone() });
        assert_eq!(reference.field(0, &Field::Intrinsic(Intrinsic::TraceDuration)), Of::Duration(duration));
        let query = format!("{{ trace:duration = {duration}ns }}");
        let Body::Spans(pipeline) = parse(&query).unwrap().body else { unreachable!() };
        assert_eq!(reference::find(&reference, &pipeline).spansets.len(), 1);
        for blocks in [0, 1] {
            let batches = [Batch { place: 0, spans: spans.clone(), may_duplicate: false }];
            store::ask(&batches, blocks, |snapshot| {
                let found = query::find(snapshot, &query, 1).unwrap().traces;
                assert_eq!(found.len(), 1, "{times:?} in {blocks} blocks");
                assert_eq!(found[0].duration, duration as u64, "{times:?}");
            });
        }
    }
}

#[test]
fn an_answer_that_is_too_long_is_refused() {
    let large = store::attribute("large", Value::StringValue("x".repeat(1 << 20)));
    let mut one = store::span(span(1, 1, 2), vec![large]);
    one.scope_spans[0].spans = (1..=200).map(|id| span(id, 1, 2)).collect();
    let mut other = one.clone();
    other.scope_spans[0].spans.iter_mut().for_each(|span| span.trace_id = vec![2; 16]);
    let batch = |spans: ResourceSpans| Batch { place: 0, spans: vec![spans], may_duplicate: false };
    store::ask(&[batch(one), batch(other)], 0, |snapshot| {
        let found = |spans| query::find(snapshot, "{ } | select(resource.large)", spans);
        assert_eq!(found(100).unwrap().traces.len(), 2);
        let error = found(200).unwrap_err().to_string();
        assert!(error.contains("more than 256 MiB; ask for fewer traces"), "{error}");
    });
}
