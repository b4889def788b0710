//! Spans that are good and extreme: large, odd in time, full of keys.

use anyhow::Result;
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{Span, span::Event},
};
use prost::Message;

use crate::support::{Pair, SOON, grpc, grpc::Call, http, spans};

#[tokio::test(flavor = "multi_thread")]
async fn odd_times_are_stored_and_found() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let trace = spans::id();
    let year = 365 * 24 * 3600 * 1_000_000_000_u64;
    let now = 1_795_000_000_000_000_000;
    let times = [
        (0, 0),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, 0),
        (now, now - 1),
        (now + year, now + year + 1),
        (1, 2),
        (i64::MAX as u64, i64::MAX as u64 + 1),
    ];
    let mut sent: Vec<Span> = times
        .iter()
        .map(|(start, end)| Span {
            start_time_unix_nano: *start,
            end_time_unix_nano: *end,
            events: vec![Event { time_unix_nano: *end, ..Event::default() }],
            ..spans::span(trace)
        })
        .collect();
    grpc::export(pair.agent.grpc, &spans::request(sent.clone())).await?.accepted()?;
    pair.agent.wait_sent(SOON)?;
    let mut found = pair.find(trace, sent.len()).await?;
    sent.sort_by_key(|span| span.span_id.clone());
    found.sort_by_key(|span| span.span_id.clone());
    assert_eq!(found, sent);
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_span_starts_a_search_without_a_range_finds_it() -> Result<()> {
    let pair = Pair::start(&[], &["--flush-age-s=1"])?;
    let edge = i64::MAX as u64;
    let mut traces = Vec::new();
    for start in [0, 1, edge - 1, edge, edge + 1, edge + 2, u64::MAX] {
        let trace = spans::id();
        let span = Span { start_time_unix_nano: start, end_time_unix_nano: start, ..spans::span(trace) };
        grpc::export(pair.collector.grpc, &spans::request([span])).await?.accepted()?;
        traces.push(hex::encode(trace));
    }
    traces.sort_unstable();
    for in_a_block in [false, true] {
        if in_a_block {
            pair.collector.settle()?;
        }
        let url = format!("http://{}/api/search?q={{}}&limit=100", pair.collector.tempo);
        let found: serde_json::Value = reqwest::get(url).await?.error_for_status()?.json().await?;
        let ids = found["traces"].as_array().into_iter().flatten().filter_map(|trace| trace["traceID"].as_str());
        let mut ids: Vec<String> = ids.map(|id| format!("{id:0>32}")).collect();
        ids.sort_unstable();
        assert_eq!(ids, traces, "in a block: {in_a_block}");
    }
    Ok(())
}

/// Attributes are a map: their order need not be kept.
fn by_key(mut spans: Vec<Span>) -> Vec<Span> {
    spans.iter_mut().for_each(|span| span.attributes.sort_by(|a, b| a.key.cmp(&b.key)));
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_spans_and_values_are_stored_and_found() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    for door in pair.doors() {
        let (wide, large, eventful) = (spans::id(), spans::id(), spans::id());
        let attributes = (0..100_000).map(|number| spans::text(format!("key.{number}"), format!("value {number}")));
        let wide_span = Span { attributes: attributes.collect(), ..spans::span(wide) };
        let bytes: Vec<u8> = (0..16 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let text = "🦀".repeat(4 << 20);
        let attributes = vec![
            spans::attribute("bytes", Value::BytesValue(bytes)),
            spans::attribute("text", Value::StringValue(text.clone())),
            spans::text("k".repeat(1 << 20), "a long key"),
        ];
        let large_span = Span { attributes, name: "n".repeat(1 << 20), ..spans::span(large) };
        let event = |number: u64| Event { time_unix_nano: number, name: "event".to_owned(), ..Event::default() };
        let eventful_span = Span { events: (0..100_000).map(event).collect(), ..spans::span(eventful) };
        for span in [&wide_span, &large_span, &eventful_span] {
            grpc::export(door.grpc, &spans::request([span.clone()])).await?.accepted()?;
        }
        pair.agent.wait_sent(SOON)?;
        let (wide_span, large_span) = (by_key(vec![wide_span]), by_key(vec![large_span]));
        assert!(by_key(pair.find(wide, 1).await?) == wide_span, "100,000 attributes come back otherwise");
        assert!(by_key(pair.find(large, 1).await?) == large_span, "16 MiB values come back otherwise");
        assert!(pair.find(eventful, 1).await? == [eventful_span], "100,000 events come back otherwise");
    }
    pair.agent_door().stayed_within(384 << 20)?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_distinct_keys_and_services_are_only_data() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let door = pair.agent_door();
    let before = pair.collector_door().peak_bytes();
    let (mut first, mut bytes) = (None, 0);
    for request in 0..100 {
        let key = |number: usize| format!("key.{request}.{number}");
        // 10,000 keys each, over 100 spans with a service each.
        let resources = (0..100).map(|span| {
            let keys = (0..100).map(|number| spans::text(key(100 * span + number), "v")).collect();
            let trace = spans::id();
            first.get_or_insert(trace);
            let mut one = spans::request([Span { attributes: keys, ..spans::span(trace) }]).resource_spans.remove(0);
            if let Some(resource) = &mut one.resource {
                resource.attributes = vec![spans::text("service.name", format!("service {request} {span}"))];
            }
            one
        });
        let mut whole = spans::request([]);
        whole.resource_spans = resources.collect();
        let whole = whole.encode_to_vec();
        bytes += whole.len();
        grpc::call(door.grpc, Call::plain(whole)).await?.accepted()?;
    }
    pair.agent.wait_sent(SOON)?;
    let found = pair.find(first.unwrap_or_default(), 1).await?;
    assert_eq!(found[0].attributes.len(), 100);
    door.stayed_within(128 << 20)?;
    // What is stored is in memory too: no more than a few times its size.
    pair.collector_door().stayed_within(before + 4 * bytes as u64 + (64 << 20))?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_thousand_roots_and_one_of_a_hundred_thousand_spans_come_back_whole() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let (roots, long) = (spans::id(), spans::id());
    grpc::export(pair.agent.grpc, &spans::request((0..1000).map(|_| spans::span(roots)))).await?.accepted()?;
    for _ in 0..10 {
        grpc::export(pair.agent.grpc, &spans::request((0..10_000).map(|_| spans::span(long)))).await?.accepted()?;
    }
    pair.agent.wait_sent(SOON)?;
    assert_eq!(pair.find(roots, 1000).await?.len(), 1000);
    assert_eq!(pair.find(long, 100_000).await?.len(), 100_000);
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_meant_to_harm_comes_back_as_it_was() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let trace = spans::id();
    let texts =
        ["<script>alert(1)</script>", "javascript:alert(1)", "\0\u{1}\u{1b}[31m", "\u{202e}evil", "=1+1", "'\"`;--"];
    let attributes = texts.iter().map(|text| spans::text(*text, *text)).collect();
    let span = Span { name: texts.concat(), trace_state: texts[4].to_owned(), attributes, ..spans::span(trace) };
    http::export(pair.agent.http, &spans::request([span.clone()])).await?.accepted()?;
    assert_eq!(by_key(pair.find(trace, 1).await?), by_key(vec![span]));
    pair.still_serves().await
}
