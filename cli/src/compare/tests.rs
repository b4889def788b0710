//! `clew compare` by pictures in `tests/data/compare.txt`, and against a collector in this process. To rewrite what is
//! expected there: UPDATE_EXPECT=1 cargo test.

use clap::Parser;
use clew_proto::v1::GetTraceResponse;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::*;
use crate::{
    fake_collector::FakeCollector,
    trace::waterfall::tests::{check_pictures, tree},
};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(collector: &FakeCollector, options: &str) -> Args {
    let line = format!("compare --collector {} {options}", collector.url);
    Line::try_parse_from(line.split_ascii_whitespace()).unwrap().args
}

/// What `clew compare` would print.
fn output(args: &Args) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trees = runtime.block_on(args.fetch())?;
    let mut out = Vec::new();
    args.show(&mut out, &trees, Style { width: 80, colour: false })?;
    Ok(String::from_utf8(out)?)
}

/// Knows traces 1 and 2, each of one span that takes so many microseconds.
fn collector() -> FakeCollector {
    let collector = FakeCollector::start();
    for id in [1u8, 2] {
        let span = Span {
            span_id: vec![id; 8],
            name: "work".to_owned(),
            start_time_unix_nano: 1_000,
            end_time_unix_nano: 1_000 + 1_000 * u64::from(id),
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let spans = prost::Message::encode_to_vec(&ResourceSpans { scope_spans, ..ResourceSpans::default() });
        let answer = GetTraceResponse { resource_spans: vec![spans.into()], ..GetTraceResponse::default() };
        collector.say(&u128::from(id).to_be_bytes(), vec![Ok(vec![answer])]);
    }
    collector
}

#[test]
fn pictures_are_as_expected() {
    check_pictures("compare.txt", |_, given, width| {
        let (first, second) = given.split_once("versus\n").unwrap();
        let (trees, ids) = ([tree(first), tree(second)], ["a", "b"].map(|id| id.repeat(32)));
        let mut out = Vec::new();
        let places = compare(&trees[0], &trees[1]);
        picture::draw(&mut out, &trees, &ids, &places, Style { width, colour: false }).unwrap();
        String::from_utf8(out).unwrap()
    });
}

#[test]
fn json_has_every_place_with_both_sides_and_names_those_that_differ() {
    let json: Value = serde_json::from_str(&output(&args(&collector(), "1 2 --json")).unwrap()).unwrap();
    let side = |time: u64| json!({ "spans": 1, "errors": 0, "durationNs": time, "selfNs": time });
    let place = json!({
        "service": "", "name": "work", "kind": 0, "depth": 0, "a": side(1_000), "b": side(2_000), "attributes": []
    });
    assert_eq!(json["places"], json!([place]));
    assert_eq!(json["ranked"], json!([0]));
    assert_eq!(json["b"]["traceId"], "00000000000000000000000000000002");
}

#[test]
fn of_two_traces_the_one_that_is_not_known_is_named() {
    let collector = collector();
    for (ids, named) in [("9 1", "trace A, 00000000000000000000000000000009"), ("1 9", "trace B, 0000")] {
        let error = format!("{:#}", output(&args(&collector, ids)).unwrap_err());
        assert!(error.contains(named) && error.contains("knows no span"), "{error}");
    }
}
