use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message;

use super::*;

fn span(byte: u8) -> Span {
    Span { trace_id: vec![byte; 16], span_id: vec![byte; 8], name: "GET /".into(), ..Span::default() }
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }.encode_to_vec()
}

fn reasons(request: &[u8]) -> (u32, Vec<Reason>) {
    let checked = check(request, |_| ()).expect("well framed");
    (checked.spans, checked.bad.into_iter().map(|span| span.reason).collect())
}

#[test]
fn good_spans_are_counted_and_reported_in_order() {
    let mut seen = Vec::new();
    let checked = check(&request(vec![span(1), span(2), span(1)]), |id| seen.push(id[0]));
    assert_eq!(checked, Ok(Checked { spans: 3, bad: vec![] }));
    assert_eq!(seen, [1, 2, 1]);
}

#[test]
fn an_empty_request_is_good() {
    assert_eq!(check(&[], |_| ()), Ok(Checked::default()));
}

#[test]
fn ids_of_the_wrong_size_or_of_zeros_make_one_span_bad() {
    use opentelemetry_proto::tonic::trace::v1::span::Link;
    let cases = [
        (Span { trace_id: vec![1; 15], ..span(1) }, Reason::TraceId),
        (Span { trace_id: vec![1; 17], ..span(1) }, Reason::TraceId),
        (Span { trace_id: vec![], ..span(1) }, Reason::TraceId),
        (Span { trace_id: vec![0; 16], ..span(1) }, Reason::TraceId),
        (Span { span_id: vec![1; 7], ..span(1) }, Reason::SpanId),
        (Span { span_id: vec![], ..span(1) }, Reason::SpanId),
        (Span { span_id: vec![0; 8], ..span(1) }, Reason::SpanId),
        (Span { parent_span_id: vec![1; 9], ..span(1) }, Reason::ParentSpanId),
        (Span { links: vec![Link { trace_id: vec![1; 8], ..Link::default() }], ..span(1) }, Reason::LinkId),
        (Span { links: vec![Link { span_id: vec![1; 16], ..Link::default() }], ..span(1) }, Reason::LinkId),
    ];
    for (bad, reason) in cases {
        assert_eq!(reasons(&request(vec![span(1), bad, span(2)])), (2, vec![reason]), "{reason}");
    }
}

#[test]
fn an_all_zero_parent_and_empty_link_ids_are_kept() {
    use opentelemetry_proto::tonic::trace::v1::span::Link;
    let odd = Span { parent_span_id: vec![0; 8], links: vec![Link::default()], ..span(1) };
    assert_eq!(reasons(&request(vec![odd])), (1, vec![]));
}
