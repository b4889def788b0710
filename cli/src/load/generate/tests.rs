//! What is generated, as an OTLP receiver would see it: decoded by prost.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;

use super::*;
use crate::load::{corpus::Reader, digest::each_span_of_request, truth::Truth, write::write};

fn options(seed: u64, spans: u64) -> Options {
    Options { seed, spans, request_spans: 500, services: 40, start_ns: 1_795_392_000_000_000_000, rate: 10_000.0 }
}

fn requests(options: Options) -> Vec<(Vec<u8>, u32)> {
    let mut generator = Generator::new(options);
    std::iter::from_fn(|| generator.next()).map(|request| (request.bytes, request.spans)).collect()
}

fn decoded(options: Options) -> Vec<ExportTraceServiceRequest> {
    requests(options).iter().map(|(bytes, _)| ExportTraceServiceRequest::decode(&**bytes).unwrap()).collect()
}

fn spans(requests: &[ExportTraceServiceRequest]) -> Vec<&Span> {
    let resources = requests.iter().flat_map(|request| &request.resource_spans);
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).collect()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn one_seed_always_makes_the_same_bytes_and_another_makes_others() {
    let first = requests(options(5, 20_000));
    assert_eq!(first, requests(options(5, 20_000)));
    assert_ne!(first, requests(options(6, 20_000)));
    // Pinned: a change of these bytes makes published figures incomparable, so it should be meant.
    let bytes = first.iter().fold(0, |sum, (bytes, _)| xxhash_rust::xxh3::xxh3_64_with_seed(bytes, sum));
    assert_eq!(format!("{bytes:016x}"), "ce41d7c12149a024");
}

#[test]
fn what_is_written_decodes_and_encodes_to_the_same_bytes() {
    for (bytes, count) in requests(options(1, 20_000)) {
        let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(spans(std::slice::from_ref(&request)).len(), count as usize);
        assert_eq!(request.encode_to_vec(), bytes);
    }
}

#[test]
fn the_mean_span_has_about_480_bytes_and_the_count_is_exact() {
    for seed in [1, 2] {
        let requests = requests(options(seed, 200_000));
        let spans: u64 = requests.iter().map(|(_, spans)| u64::from(*spans)).sum();
        assert_eq!(spans, 200_000);
        let bytes: usize = requests.iter().map(|(bytes, _)| bytes.len()).sum();
        let mean = bytes as f64 / spans as f64;
        assert!((470.0..=492.0).contains(&mean), "{mean} bytes a span with seed {seed}");
    }
}

#[test]
fn a_request_has_the_spans_of_one_instance_grouped_by_scope_in_the_order_of_their_ends() {
    let requests = decoded(options(1, 100_000));
    let full = requests.iter().filter(|request| spans(std::slice::from_ref(*request)).len() == 500).count();
    assert!(full > 100, "{full}");
    for request in &requests {
        assert_eq!(request.resource_spans.len(), 1);
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        assert!(resource.attributes.len() >= 13);
        assert!(spans(std::slice::from_ref(request)).len() <= 500);
        for scope in &request.resource_spans[0].scope_spans {
            assert!(scope.spans.is_sorted_by_key(|span| span.end_time_unix_nano));
            assert!(!scope.scope.as_ref().unwrap().version.is_empty());
        }
    }
    let instances = requests.iter().filter_map(|request| {
        let attributes = &request.resource_spans[0].resource.as_ref()?.attributes;
        Some((text(attributes, "service.name")?, text(attributes, "service.instance.id")?))
    });
    let instances: HashSet<_> = instances.collect();
    let services: HashSet<_> = instances.iter().map(|(service, _)| service).collect();
    assert!(services.len() > 30 && instances.len() >= 2 * services.len(), "{} {}", services.len(), instances.len());
}

#[test]
fn spans_nest_in_their_parents_and_calls_have_two_sides() {
    let requests = decoded(options(3, 50_000));
    let spans = spans(&requests);
    let by_id: HashMap<_, _> = spans.iter().map(|span| ((&span.trace_id, &span.span_id), *span)).collect();
    assert_eq!(by_id.len(), spans.len(), "ids are unique");
    let (mut roots, mut pairs) = (0, 0);
    for span in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        if span.parent_span_id.is_empty() {
            roots += 1;
            continue;
        }
        let parent = by_id[&(&span.trace_id, &span.parent_span_id)];
        assert!(parent.start_time_unix_nano <= span.start_time_unix_nano);
        match span.kind() {
            SpanKind::Consumer => assert_eq!(parent.kind(), SpanKind::Producer),
            kind => {
                assert!(span.end_time_unix_nano <= parent.end_time_unix_nano);
                assert_eq!(kind == SpanKind::Server, parent.kind() == SpanKind::Client);
                pairs += u32::from(kind == SpanKind::Server);
            }
        }
    }
    assert!(roots > 1_000 && pairs > 5_000, "{roots} roots, {pairs} pairs");
}

#[test]
fn one_span_in_a_hundred_is_an_error_with_a_stack_trace() {
    let requests = decoded(options(1, 200_000));
    let spans = spans(&requests);
    let errors: Vec<_> = spans.iter().filter(|span| span.status.is_some()).collect();
    let share = errors.len() as f64 / spans.len() as f64;
    assert!((0.007..0.013).contains(&share), "{share}");
    for span in errors {
        assert!(span.status.as_ref().unwrap().code == 2 && !span.status.as_ref().unwrap().message.is_empty());
        let exception = span.events.iter().find(|event| event.name == "exception").unwrap();
        let stack = text(&exception.attributes, "exception.stacktrace").unwrap();
        assert!(stack.lines().count() > 5, "{stack}");
        assert!(text(&exception.attributes, "exception.type").is_some());
    }
}

#[test]
fn traces_have_a_heavy_tail_and_spread_over_requests() {
    let requests = requests(options(1, 400_000));
    let mut traces: HashMap<[u8; 16], (usize, HashSet<usize>)> = HashMap::new();
    for (index, (bytes, _)) in requests.iter().enumerate() {
        each_span_of_request(bytes, |span| {
            let trace = traces.entry(span.trace_id).or_default();
            trace.0 += 1;
            trace.1.insert(index);
        })
        .unwrap();
    }
    let mut sizes: Vec<_> = traces.values().map(|trace| trace.0).collect();
    let mut spread: Vec<_> = traces.values().map(|trace| trace.1.len()).collect();
    sizes.sort_unstable();
    spread.sort_unstable();
    let median = sizes[sizes.len() / 2];
    assert!((8..=12).contains(&median), "median {median}");
    assert!(sizes[sizes.len() - 1] > 1_000, "largest {}", sizes[sizes.len() - 1]);
    assert!(spread[spread.len() / 2] >= 3, "median spread {}", spread[spread.len() / 2]);
}

#[test]
fn the_truth_is_what_the_corpus_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus");
    let header = write(&path, options(9, 30_000), |_| {}).unwrap();
    let truth = Truth::read(&crate::load::truth::path_of(&path)).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.header, header);
    assert_eq!((header.spans, header.traces), (30_000, truth.traces.len() as u64));
    assert_eq!((truth.spans.len(), truth.requests), (30_000, header.requests));

    // By prost, which shares no code with the digest's walk: spans by trace, and the request that carries each.
    let mut found: HashMap<Vec<u8>, Vec<(Vec<u8>, u32)>> = HashMap::new();
    let (mut index, mut bytes) = (0, Vec::new());
    while reader.next(&mut bytes).unwrap().is_some() {
        let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        for span in spans(std::slice::from_ref(&request)) {
            found.entry(span.trace_id.clone()).or_default().push((span.span_id.clone(), index));
        }
        index += 1;
        bytes.clear();
    }
    assert_eq!(found.len(), truth.traces.len());
    for trace in &truth.traces {
        let mut spans = found.remove(trace.trace_id.as_slice()).unwrap();
        let mut expected: Vec<_> =
            truth.spans[trace.spans.clone()].iter().map(|span| (span.span_id.to_vec(), span.request)).collect();
        spans.sort_unstable();
        expected.sort_unstable();
        assert_eq!(spans, expected);
        let sum = truth.spans[trace.spans.clone()].iter().fold(0u64, |sum, span| sum.wrapping_add(span.digest));
        assert_eq!(sum, trace.digest);
    }
}
