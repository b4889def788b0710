//! Spans that are wrong or odd within requests that can be read.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, any_value::Value},
    trace::v1::{Span, span::Link},
};
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::support::{Door, Pair, SOON, grpc, grpc::Call, http, spans};

const PROTOBUF: [(&str, &str); 1] = [("content-type", "application/x-protobuf")];

/// A value with so many others around it.
fn nested(depth: usize) -> AnyValue {
    let mut value = AnyValue { value: Some(Value::IntValue(1)) };
    for _ in 1..depth {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    value
}

/// The bytes of a span whose attribute is nested so deeply, without any recursion.
fn deep_span(trace: [u8; 16], depth: usize) -> Vec<u8> {
    fn varint(mut value: usize, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    // From the inside out, backwards: each level is AnyValue{array_value: ArrayValue{values: ...}}.
    let mut backwards = Vec::new();
    let mut field = Vec::new();
    for _ in 0..depth {
        for tag in [0x0A, 0x2A] {
            field.clear();
            field.push(tag);
            varint(backwards.len(), &mut field);
            backwards.extend(field.iter().rev());
        }
    }
    for tag in [0x12, 0x4A] {
        field.clear();
        field.push(tag);
        varint(backwards.len(), &mut field);
        backwards.extend(field.iter().rev());
    }
    backwards.reverse();
    let mut span = spans::span(trace).encode_to_vec();
    span.append(&mut backwards);
    span
}

/// A request with these spans, given as bytes.
fn request_of(spans: &[Vec<u8>]) -> Vec<u8> {
    // resource_spans{scope_spans{spans...}}: three fields of bytes.
    #[derive(Clone, PartialEq, Message)]
    struct Children {
        #[prost(bytes = "vec", repeated, tag = "2")]
        children: Vec<Vec<u8>>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(bytes = "vec", repeated, tag = "1")]
        children: Vec<Vec<u8>>,
    }
    let scope = Children { children: spans.to_vec() }.encode_to_vec();
    let resource = Children { children: vec![scope] }.encode_to_vec();
    Request { children: vec![resource] }.encode_to_vec()
}

/// Sends a request with one bad span between two good ones, by gRPC and by HTTP: only the bad one is refused.
async fn one_is_refused(pair: &Pair, door: Door, bad: &[u8], label: &str, why: &str) -> Result<()> {
    let before = door.refused_spans(label);
    for by_grpc in [true, false] {
        let good = [spans::id(), spans::id()];
        let [first, last] = good.map(|trace| spans::span(trace).encode_to_vec());
        let request = request_of(&[first, bad.to_vec(), last]);
        let partial = if by_grpc {
            let answer = grpc::call(door.grpc, Call::plain(request)).await?;
            assert_eq!(answer.code, Code::Ok, "{label}: {answer:?}");
            answer.partial
        } else {
            let answer = http::post(door.http, &PROTOBUF, request).await?;
            assert_eq!(answer.status, 200, "{label}: {answer:?}");
            answer.partial
        };
        let (rejected, message) = partial.with_context(|| format!("{label}: no partial_success"))?;
        assert_eq!(rejected, 1, "{label}: {message}");
        assert!(message.contains(why), "{label}: {message:?} does not say {why:?}");
        pair.all_found(&good).await?;
    }
    assert_eq!(door.refused_spans(label) - before, 2, "{label} at the {}", door.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_nested_past_64_costs_its_span_alone() -> Result<()> {
    let pair = Pair::start(&["--max-request-bytes=160MiB", "--max-memory-bytes=512MiB"], &[])?;
    let trace = spans::id();
    let mut deepest = spans::span(trace);
    deepest.attributes.push(spans::attribute("deep", nested(64).value.context("a value")?));
    for door in pair.doors() {
        grpc::export(door.grpc, &spans::request([deepest.clone()])).await?.accepted()?;
        for depth in [65, 1000, 100_000] {
            let bad = deep_span(spans::id(), depth - 1);
            one_is_refused(&pair, door, &bad, "too_deep", "nested deeper than 64").await?;
        }
    }
    pair.agent.wait_sent(SOON)?;
    let (status, found) = http::lookup(pair.collector.tempo, &hex::encode(trace), None).await?;
    // Not decoded here: prost goes no further than 100 messages deep, and this is 133.
    let deepest = deepest.encode_to_vec();
    assert!(status == 200 && found.windows(deepest.len()).any(|bytes| bytes == deepest));
    one_is_refused(&pair, pair.agent_door(), &deep_span(spans::id(), 10_000_000), "too_deep", "nested").await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_a_wrong_length_or_of_zeros_cost_their_span_alone() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let good = || spans::span(spans::id());
    let link = |trace_id: usize, span_id: usize| Link {
        trace_id: vec![1; trace_id],
        span_id: vec![1; span_id],
        ..Link::default()
    };
    let mut bad = Vec::new();
    for trace_id in [vec![], vec![0; 16], vec![1; 15], vec![1; 17], vec![1; 8]] {
        bad.push((Span { trace_id, ..good() }, "trace_id", "trace_id has to be 16 bytes"));
    }
    for span_id in [vec![], vec![0; 8], vec![1; 7], vec![1; 9], vec![1; 16]] {
        bad.push((Span { span_id, ..good() }, "span_id", "span_id has to be 8 bytes"));
    }
    for parent_span_id in [vec![1; 7], vec![1; 9]] {
        bad.push((Span { parent_span_id, ..good() }, "parent_span_id", "empty or 8 bytes"));
    }
    for links in [vec![link(15, 8)], vec![link(16, 9)]] {
        bad.push((Span { links, ..good() }, "link_id", "a link's trace_id"));
    }
    for door in pair.doors() {
        for (span, label, why) in &bad {
            one_is_refused(&pair, door, &span.encode_to_vec(), label, why).await?;
        }
    }
    // An all-zero parent, the span itself as its parent, and two that are each other's parents are stored as they are.
    let trace = spans::id();
    let zero = Span { parent_span_id: vec![0; 8], ..spans::span(trace) };
    let own = Span { span_id: vec![7; 8], parent_span_id: vec![7; 8], ..spans::span(trace) };
    let left = Span { span_id: vec![8; 8], parent_span_id: vec![9; 8], ..spans::span(trace) };
    let right = Span { span_id: vec![9; 8], parent_span_id: vec![8; 8], ..spans::span(trace) };
    // And the same span id again with other content.
    let other = Span { name: "other".to_owned(), ..left.clone() };
    let mut sent = vec![zero, own, left, right, other];
    grpc::export(pair.agent.grpc, &spans::request(sent.clone())).await?.accepted()?;
    let mut found = pair.find(trace, sent.len()).await?;
    let by_id = |span: &Span| (span.span_id.clone(), span.name.clone());
    sent.sort_by_key(by_id);
    found.sort_by_key(by_id);
    assert_eq!(found, sent);
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf_8_and_broken_spans_cost_their_span_alone() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let named = Span { name: "NAME".to_owned(), ..spans::span(spans::id()) };
    let mut not_utf8 = named.encode_to_vec();
    let at = not_utf8.windows(4).position(|bytes| bytes == b"NAME").context("the name")?;
    not_utf8[at..at + 4].copy_from_slice(&[0xFF, 0xFE, 0xC0, 0x80]);
    let whole = spans::span(spans::id()).encode_to_vec();
    let cut = whole[..whole.len() - 3].to_vec();
    for door in pair.doors() {
        one_is_refused(&pair, door, &not_utf8, "utf8", "not UTF-8").await?;
        one_is_refused(&pair, door, &cut, "framing", "not a protobuf message").await?;
        // The request's own framing is broken: nothing of it can be trusted.
        let request = spans::request([spans::span(spans::id())]).encode_to_vec();
        for broken in [request[..request.len() - 1].to_vec(), b"\x0a\xff\xff\xff\xff\x0f".to_vec(), b"text".to_vec()] {
            let what = "not an ExportTraceServiceRequest";
            grpc::call(door.grpc, Call::plain(broken.clone())).await?.refused(Code::InvalidArgument, what)?;
            http::post(door.http, &PROTOBUF, broken).await?.refused(400, what)?;
        }
        assert_eq!(door.refused("invalid"), 6, "{}", door.name);
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_spans_succeeds() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    for door in pair.doors() {
        for request in [ExportTraceServiceRequest::default(), spans::request([])] {
            grpc::export(door.grpc, &request).await?.accepted()?;
            http::export(door.http, &request).await?.accepted()?;
        }
        for json in ["{}", r#"{"resourceSpans":[]}"#, r#"{"resourceSpans":[{"scopeSpans":[{"spans":[]}]}]}"#] {
            http::export_json(door.http, json).await?.accepted()?;
        }
    }
    pair.still_serves().await
}

fn json_span(trace_id: &str, span_id: &str) -> serde_json::Value {
    json!({"traceId": trace_id, "spanId": span_id, "name": "n", "kind": 2,
        "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000000000001"})
}

fn json_request(spans: &[serde_json::Value]) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_read_leniently_where_otlp_says_so() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    for door in pair.doors() {
        let traces: Vec<[u8; 16]> = (0..5).map(|_| spans::id()).collect();
        let hex = |index: usize| hex::encode(traces[index]);
        // Ids in either case.
        let upper = json_span(&hex(0).to_uppercase(), "ABCDEF0123456789");
        // 64-bit numbers as numbers, unknown fields, an enum by its name.
        let mut numbers = json_span(&hex(1), "0102030405060708");
        numbers["startTimeUnixNano"] = json!(1_795_000_000_000_000_000_u64);
        numbers["kind"] = json!("SPAN_KIND_CLIENT");
        numbers["aFieldOfTomorrow"] = json!({"deep": [[[1, 2, {"x": null}]]]});
        http::export_json(door.http, json_request(&[upper, numbers])).await?.accepted()?;
        // Ids in base64, as proto3 has them.
        let based = json_request(&[json_span(&STANDARD.encode(traces[4]), "0102030405060708")]);
        http::export_json(door.http, based).await?.accepted()?;
        // A key that comes twice: the last one counts.
        let twice = json_request(&[json_span(&hex(2), "0102030405060708")])
            .replace(r#""name":"n""#, r#""name":"first","name":"last""#);
        http::export_json(door.http, twice).await?.accepted()?;
        // Deep nesting where nobody looks.
        let depth = 10_000_000;
        let span = json_request(&[json_span(&hex(3), "0102030405060708")]);
        let junk = format!(r#"{{"junk":{}{},{}"#, "[".repeat(depth), "]".repeat(depth), &span[1..]);
        http::export_json(door.http, junk).await?.accepted()?;

        pair.all_found(&traces).await?;
        assert_eq!(pair.find(traces[1], 1).await?[0].kind, 3);
        assert_eq!(pair.find(traces[2], 1).await?[0].name, "last");
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_wrong_is_refused_with_its_place() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let good = json_request(&[json_span(&hex::encode(spans::id()), "0102030405060708")]);
    let with = |from: &str, to: &str| good.replace(from, to);
    let wrong: Vec<(Vec<u8>, &str)> = vec![
        (with(r#""1795000000000000000""#, r#""99999999999999999999999""#).into(), "startTimeUnixNano"),
        (with(r#""1795000000000000000""#, "-1").into(), "startTimeUnixNano"),
        (with(r#""1795000000000000000""#, "1e99").into(), "startTimeUnixNano"),
        (with(r#""1795000000000000000""#, "true").into(), "startTimeUnixNano"),
        (with(r#""kind":2"#, r#""kind":3000000000"#).into(), "kind"),
        (with(r#""kind":2"#, r#""kind":"NO_SUCH_KIND""#).into(), "kind"),
        (with(r#""name":"n""#, r#""name":7"#).into(), "name"),
        (with("0102030405060708", "no hex digits").into(), "spanId"),
        (good[..good.len() - 2].into(), "line 1"),
        (b"[]".to_vec(), "line 1"),
        (b"".to_vec(), "line 1"),
        (vec![b'['; 10_000_000], "line 1"),
        ([b"{\"resourceSpans\":\xFF\xFE".as_slice(), b"}"].concat(), "UTF-8"),
        (with(r#""name":"n""#, r#""name":"\ud800""#).into(), "line 1"),
    ];
    for door in pair.doors() {
        for (json, what) in &wrong {
            let answer = http::export_json(door.http, json.clone()).await?;
            let shown = String::from_utf8_lossy(&json[..json.len().min(300)]).into_owned();
            answer.refused(400, what).with_context(|| shown)?;
        }
        assert_eq!(door.refused("invalid"), wrong.len() as u64, "{}", door.name);
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_with_one_bad_span_keeps_the_others() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let deep = |depth: usize| {
        let value = format!(
            "{}{{\"intValue\":1}}{}",
            r#"{"arrayValue":{"values":["#.repeat(depth - 1),
            "]}}".repeat(depth - 1)
        );
        let span = json_span(&hex::encode(spans::id()), "0102030405060708").to_string();
        format!(r#"{},"attributes":[{{"key":"deep","value":{value}}}]}}"#, &span[..span.len() - 1])
    };
    let id = || hex::encode(spans::id());
    let bad = [
        (json_span("abcd", "0102030405060708").to_string(), "trace_id"),
        (json_span("", "0102030405060708").to_string(), "trace_id"),
        (json_span(&"0".repeat(32), "0102030405060708").to_string(), "trace_id"),
        (json_span(&id(), "01").to_string(), "span_id"),
        (json_span(&id(), "0000000000000000").to_string(), "span_id"),
        (deep(65), "nested deeper than 64"),
        (deep(2_000_000), "nested deeper than 64"),
    ];
    for door in pair.doors() {
        for (bad, why) in &bad {
            let good = spans::id();
            let first = json_span(&hex::encode(good), "0102030405060708").to_string();
            let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{first},{bad}]}}]}}]}}"#);
            let answer = http::export_json(door.http, json).await?;
            let shown = &bad[..bad.len().min(200)];
            assert_eq!(answer.status, 200, "{shown}: {answer:?}");
            let (rejected, message) = answer.partial.with_context(|| shown.to_owned())?;
            assert_eq!(rejected, 1, "{shown}: {message}");
            assert!(message.contains(why), "{shown}: {message:?} does not say {why:?}");
            pair.all_found(&[good]).await?;
        }
    }
    pair.still_serves().await
}
