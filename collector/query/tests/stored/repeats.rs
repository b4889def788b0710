//! Spans that are stored twice count once; those that only look alike are two.

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, any_value::Value},
    trace::v1::{ResourceSpans, Span, Status, span::Event},
};

use super::{
    query,
    store::{self, Batch, Kept},
};

fn span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        parent_span_id: vec![2; 8],
        name: "same".to_owned(),
        start_time_unix_nano: 10,
        end_time_unix_nano: 20,
        attributes: vec![store::attribute("a", Value::IntValue(1)), store::attribute("b", Value::BoolValue(true))],
        ..Span::default()
    }
}

fn stored(span: Span) -> ResourceSpans {
    store::span(span, vec![store::attribute("service.name", Value::StringValue("shop".to_owned()))])
}

/// How many spans a search and a count find in each of some stores with these, in blocks that may have spans twice and in memory.
fn counted(spans: &[ResourceSpans]) -> Vec<(u32, f64)> {
    let mut counts = Vec::new();
    for kept in [0.into(), 1.into(), 2.into(), Kept::cut(1, 16), Kept::cut(2, 16)] {
        let batch = |(place, span): (usize, &ResourceSpans)| {
            // Others make attributes common enough for columns in some places, and not in others.
            let other = |id: u8| {
                let attributes = span_attributes(id as usize % 2 == place % 2);
                let trace_id = vec![id; 16];
                stored(Span { trace_id, span_id: vec![9; 8], name: "other".to_owned(), attributes, ..self::span() })
            };
            let spans = std::iter::once(span.clone()).chain((10..40).map(other)).collect();
            Batch { place, spans, may_duplicate: true }
        };
        let batches: Vec<Batch> = spans.iter().enumerate().map(|(place, span)| batch((place, span))).collect();
        counts.push(store::ask(&batches, kept, |snapshot| {
            let found = query::find(snapshot, "{ name = \"same\" }", 10).unwrap();
            assert_eq!(found.missing, [""; 0]);
            let matched = found.traces.iter().flat_map(|trace| &trace.sets).map(|set| set.matched).sum();
            let measured = query::measure(snapshot, "{ name = \"same\" } | count_over_time()").unwrap();
            (matched, measured.series[0].values[0].unwrap())
        }));
    }
    counts
}

fn span_attributes(common: bool) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let key = if common { "a" } else { "c" };
    vec![store::attribute(key, Value::IntValue(1))]
}

#[test]
fn a_span_that_is_stored_twice_counts_once() {
    let mut turned = span();
    turned.attributes.reverse();
    assert_eq!(counted(&[stored(span()), stored(turned), stored(span())]), [(1, 1.0); 5]);
}

#[test]
fn spans_that_differ_in_anything_all_count() {
    let change = |change: fn(&mut Span)| {
        let mut span = span();
        change(&mut span);
        stored(span)
    };
    let mut of_scope = stored(span());
    of_scope.scope_spans[0].scope = Some(InstrumentationScope { name: "http".to_owned(), ..Default::default() });
    let others = [
        change(|span| span.attributes[0] = store::attribute("a", Value::IntValue(2))),
        change(|span| span.attributes[0] = store::attribute("a", Value::StringValue("1".to_owned()))),
        change(|span| span.attributes.truncate(1)),
        change(|span| span.status = Some(Status { code: 2, ..Status::default() })),
        change(|span| span.kind = 2),
        change(|span| span.trace_state = "a=b".to_owned()),
        change(|span| span.parent_span_id = vec![3; 8]),
        change(|span| span.events.push(Event { name: "retry".to_owned(), ..Event::default() })),
        store::span(span(), vec![store::attribute("service.name", Value::StringValue("other".to_owned()))]),
        of_scope,
    ];
    for other in others {
        assert_eq!(counted(&[stored(span()), other.clone(), stored(span())]), [(2, 2.0); 5], "{other:?}");
    }
}
