//! clew.v1 Query, but for what `clew` shows.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clew_integration_tests::shop::{Shop, now, order};
use clew_proto::{
    opentelemetry::proto::common::v1::any_value::Value,
    v1::{
        DependenciesRequest, MetricsRequest, MetricsResponse, SearchRequest, TagNamesRequest, TagScope,
        TagValuesRequest, TailRequest, TailResponse, query_client::QueryClient,
    },
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use serde_json::json;
use tonic::{Code, Request, Streaming, transport::Channel};

async fn client(shop: &Shop) -> Result<QueryClient<Channel>> {
    Ok(QueryClient::connect(shop.collector.url()).await?)
}

/// The names of the spans of a message.
fn names(message: &TailResponse) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for bytes in &message.resource_spans {
        let spans = ResourceSpans::decode(&**bytes)?.scope_spans.into_iter().flat_map(|scope| scope.spans);
        names.extend(spans.map(|span| span.name));
    }
    Ok(names)
}

async fn next(messages: &mut Streaming<TailResponse>) -> Result<TailResponse> {
    tokio::time::timeout(Duration::from_secs(20), messages.message()).await??.context("the stream ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_have_names_and_values_in_every_scope() -> Result<()> {
    let shop = Shop::open(&[])?;
    shop.send(None, &order(1, now())).await?;
    let mut client = client(&shop).await?;
    let scope = TagScope::Resource.into();
    let names = client.tag_names(TagNamesRequest { scope, ..TagNamesRequest::default() }).await?.into_inner();
    assert_eq!(names.scopes.len(), 1);
    assert_eq!(names.scopes[0].names, ["region", "service.name"]);
    let all = client.tag_names(TagNamesRequest::default()).await?.into_inner();
    let of = |scope: TagScope| all.scopes.iter().find(|tags| tags.scope() == scope).map(|tags| &tags.names[..]);
    assert_eq!(of(TagScope::Link), Some(&["why".to_owned()][..]));
    assert!(of(TagScope::Intrinsic).is_some_and(|names| names.contains(&"status".to_owned())));
    let wrong = client.tag_names(TagNamesRequest { scope: 99, ..TagNamesRequest::default() }).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);

    let request = TagValuesRequest {
        field: "resource.service.name".to_owned(),
        query: "{ status = error }".to_owned(),
        ..TagValuesRequest::default()
    };
    let mut parts = client.tag_values(request).await?.into_inner();
    let part = parts.message().await?.context("no part")?;
    let values: Vec<_> = part.values.into_iter().filter_map(|value| value.value).collect();
    assert_eq!(values, [Value::StringValue("payments".to_owned())]);
    let wrong = TagValuesRequest { field: "service name".to_owned(), ..TagValuesRequest::default() };
    assert_eq!(client.tag_values(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    Ok(())
}

/// Each message has to be one that clients take without more ado, and says what it leaves out.
#[tokio::test(flavor = "multi_thread")]
async fn answers_in_one_part_stay_under_4_mib_and_say_what_they_leave_out() -> Result<()> {
    const MIB: usize = 1 << 20;
    let shop = Shop::open(&[])?;
    for number in 0..4u8 {
        let mut order = order(number.into(), now());
        let long = |end: char| format!("{number}{}{end}", "x".repeat(MIB));
        let resources = order["resourceSpans"].as_array_mut().context("resources")?;
        for (at, resource) in resources.iter_mut().enumerate() {
            let name = long(if at == 0 { 'a' } else { 'b' });
            resource["resource"]["attributes"][0] = json!({"key": "service.name", "value": {"stringValue": name}});
            let span = &mut resource["scopeSpans"][0]["spans"][0];
            let attributes = span["attributes"].as_array_mut().context("attributes")?;
            attributes.push(json!({"key": long('k'), "value": {"intValue": 1}}));
            if number == 0 {
                attributes.push(json!({"key": "long", "value": {"stringValue": "v".repeat(5 * MIB)}}));
            }
        }
        shop.send(None, &order).await?;
    }
    let mut client = client(&shop).await?;
    let left_out = |reasons: &[String], what: &str| {
        let told = reasons.iter().any(|why| why.contains("left out") && why.contains(what));
        anyhow::ensure!(told, "{reasons:?}");
        Ok(())
    };
    let names = client.tag_names(TagNamesRequest::default()).await?.into_inner();
    left_out(&names.partial_reasons, "names of span attributes")?;
    let span = names.scopes.iter().find(|scope| scope.scope() == TagScope::Span).context("no span")?;
    assert!(span.names.contains(&"order".to_owned()), "names that are short are there");

    let calls = client.dependencies(DependenciesRequest::default()).await?.into_inner();
    left_out(&calls.partial_reasons, "pairs of services")?;
    assert!(!calls.dependencies.is_empty());

    let request = TagValuesRequest { field: "span.long".to_owned(), ..TagValuesRequest::default() };
    let mut parts = client.tag_values(request).await?.into_inner();
    let mut reasons = Vec::new();
    while let Some(part) = parts.message().await? {
        assert!(part.values.is_empty());
        reasons = part.partial_reasons;
    }
    left_out(&reasons, "1 of 1 values")?;

    let by_service = "{ } | rate() by (resource.service.name)".to_owned();
    let request = MetricsRequest { query: by_service, exemplars: 1000, ..MetricsRequest::default() };
    let mut parts = client.metrics(request).await?.into_inner();
    let mut exemplars = 0;
    while let Some(part) = parts.message().await? {
        exemplars += part.exemplars.len();
    }
    assert_eq!(exemplars, 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_metrics_keep_to_their_range_and_tenant() -> Result<()> {
    let shop = Shop::open(&[])?;
    let start = now() - 60_000_000_000;
    shop.send(None, &order(1, start)).await?;
    let mut client = client(&shop).await?;
    let search = |start_unix_nano, end_unix_nano| SearchRequest {
        query: "{ kind = server }".to_owned(),
        start_unix_nano,
        end_unix_nano,
        ..SearchRequest::default()
    };
    for (request, traces) in
        [(search(0, 0), 1), (search(start, start + 1), 1), (search(start + 1, 0), 0), (search(0, start), 0)]
    {
        let part = client.search(request).await?.into_inner().message().await?.context("no part")?;
        assert_eq!(part.traces.len(), traces);
    }
    assert_eq!(client.search(search(2, 1)).await.unwrap_err().code(), Code::InvalidArgument);
    let mut of_another = Request::new(search(0, 0));
    of_another.metadata_mut().insert("x-scope-orgid", "other".parse()?);
    let part = client.search(of_another).await?.into_inner().message().await?.context("no part")?;
    assert!(part.traces.is_empty());

    let request = MetricsRequest {
        query: "{ } | count_over_time()".to_owned(),
        exemplars: 5,
        instant: true,
        ..MetricsRequest::default()
    };
    let part = client.metrics(request).await?.into_inner().message().await?.context("no part")?;
    let MetricsResponse { series, exemplars, .. } = part;
    assert_eq!((series.len(), &series[0].values[..]), (1, &[2.0][..]));
    assert!(!exemplars.is_empty() && exemplars.iter().all(|exemplar| exemplar.trace_id.len() == 16));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_gives_whole_spans_that_were_acked_a_moment_ago() -> Result<()> {
    let shop = Shop::open(&["--max-tails=2"])?;
    let mut client = client(&shop).await?;
    let request = || TailRequest { query: "{ span.card.kind = \"credit card\" }".to_owned(), ..TailRequest::default() };
    let mut messages = client.tail(request()).await?.into_inner();
    let first = next(&mut messages).await?;
    assert!(first.resource_spans.is_empty() && !first.cursor.is_empty(), "{first:?}");
    for number in 0..20 {
        shop.send(None, &order(number, now())).await?;
        let message = next(&mut messages).await?;
        assert_eq!(names(&message)?, ["charge"]);
        let spans = ResourceSpans::decode(&*message.resource_spans[0])?;
        assert_eq!(spans.resource.map(|resource| resource.attributes.len()), Some(2));
        assert_eq!(spans.scope_spans[0].spans[0].events[0].name, "exception");
    }

    // So many may follow, and leaving makes room.
    let others = client.tail(request()).await?;
    assert_eq!(client.tail(request()).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(others);
    let started = Instant::now();
    while client.tail(request()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "a tail that was left keeps its place");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let foreign = TailRequest { cursor: "00000000000070008000000000000001.7".to_owned(), ..request() };
    drop(messages);
    let refused = loop {
        match client.tail(foreign.clone()).await {
            Err(status) if status.code() == Code::ResourceExhausted => {}
            answer => break answer.map(drop).unwrap_err(),
        }
    };
    assert_eq!(refused.code(), Code::FailedPrecondition);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_costs_nothing_and_misses_nothing() -> Result<()> {
    // Blocks are made while it does not look.
    let shop = Shop::open(&["--flush-age-s=1"])?;
    let mut client = client(&shop).await?;
    let mut messages = client.tail(TailRequest::default()).await?.into_inner();
    let big = |number| {
        let mut order = order(number, now());
        order["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"][0]["value"]["stringValue"] =
            "x".repeat(1 << 20).into();
        order
    };
    for number in 0..60 {
        shop.send(None, &big(number)).await?;
    }
    shop.collector.settle()?;
    shop.send(None, &order(60, now())).await?;
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 61 {
        let message = next(&mut messages).await?;
        for bytes in &message.resource_spans {
            let spans = ResourceSpans::decode(&**bytes)?.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.extend(spans.map(|span| span.trace_id));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_stops_ends_tails_and_does_not_wait_for_them() -> Result<()> {
    let mut shop = Shop::open(&[])?;
    let mut client = client(&shop).await?;
    let mut messages = client.tail(TailRequest::default()).await?.into_inner();
    next(&mut messages).await?;
    assert!(shop.collector.process.stop(Duration::from_secs(10))?, "it waits");
    let ended = messages.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    Ok(())
}
