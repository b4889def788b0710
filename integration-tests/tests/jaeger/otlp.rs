//! Spans as OTLP over gRPC: whole, to the last field, in messages that every client takes.

use anyhow::{Context, Result, ensure};
use clew_integration_tests::shop::{Shop, now};
use clew_proto::{
    jaeger::{
        api_v2::{self, query_service_client::QueryServiceClient as V2},
        api_v3::{self, query_service_client::QueryServiceClient as V3},
        storage::v2::{GetTraceParams, GetTracesRequest, trace_reader_client::TraceReaderClient},
    },
    opentelemetry::proto::trace::v1 as carried,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span},
};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::Streaming;

const ID: [u8; 16] = [7; 16];

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A span with a value in each field.
fn full(number: u64, note_bytes: usize) -> Span {
    let start = now();
    Span {
        trace_id: ID.to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        trace_state: "vendor=1".to_owned(),
        parent_span_id: if number == 1 { Vec::new() } else { 1_u64.to_be_bytes().to_vec() },
        flags: 0x301,
        name: format!("step {number}"),
        kind: span::SpanKind::Consumer.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        attributes: vec![
            attribute("note", Value::StringValue("x".repeat(note_bytes))),
            attribute("bytes", Value::BytesValue(vec![0, 255])),
            attribute("number", Value::IntValue(number as i64)),
        ],
        dropped_attributes_count: 1,
        events: vec![span::Event {
            time_unix_nano: start + 1,
            name: "event".to_owned(),
            attributes: vec![attribute("a", Value::BoolValue(true))],
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![span::Link {
            trace_id: vec![9; 16],
            span_id: vec![9; 8],
            trace_state: "x=y".to_owned(),
            attributes: vec![attribute("b", Value::DoubleValue(0.5))],
            dropped_attributes_count: 4,
            flags: 1,
        }],
        dropped_links_count: 5,
        status: Some(Status { code: 2, message: "failed".to_owned() }),
    }
}

fn data(spans: Vec<Span>) -> TracesData {
    let scope = InstrumentationScope {
        name: "scope".to_owned(),
        version: "1".to_owned(),
        attributes: vec![attribute("c", Value::IntValue(1))],
        dropped_attributes_count: 6,
    };
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue("steps".to_owned()))],
        dropped_attributes_count: 7,
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: "scope schema".to_owned() }];
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            schema_url: "resource schema".to_owned(),
        }],
    }
}

async fn send(shop: &Shop, TracesData { resource_spans }: TracesData) -> Result<()> {
    let mut client = TraceServiceClient::connect(shop.collector.url()).await?;
    client.export(ExportTraceServiceRequest { resource_spans }).await?;
    Ok(())
}

/// All spans of a stream, in one TracesData when they have the same resource and scope; and how many messages they came in.
async fn together(mut stream: Streaming<carried::TracesData>) -> Result<(TracesData, usize)> {
    let (mut all, mut messages) = (TracesData::default(), 0);
    while let Some(message) = stream.try_next().await? {
        ensure!(!message.resource_spans.is_empty());
        messages += 1;
        for mut next in TracesData::decode(&*message.encode_to_vec())?.resource_spans {
            let last = all.resource_spans.last_mut().filter(|last| last.resource == next.resource);
            match (last, next.scope_spans.pop()) {
                (Some(last), Some(scope)) => {
                    ensure!(next.scope_spans.is_empty() && last.schema_url == next.schema_url);
                    let spans = last.scope_spans.last_mut().context("a scope")?;
                    ensure!((&spans.scope, &spans.schema_url) == (&scope.scope, &scope.schema_url));
                    spans.spans.extend(scope.spans);
                }
                (_, scope) => {
                    next.scope_spans.extend(scope);
                    all.resource_spans.push(next);
                }
            }
        }
    }
    Ok((sorted(all), messages))
}

/// Spans by id, attributes by key: in blocks these have no order.
fn sorted(mut data: TracesData) -> TracesData {
    for scope in data.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
        scope.spans.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        scope.spans.iter_mut().for_each(|span| span.attributes.sort_by(|a, b| a.key.cmp(&b.key)));
    }
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_as_otlp_is_what_was_sent() -> Result<()> {
    let shop = Shop::open(&[])?;
    let sent = data((1..4).map(|number| full(number, 10)).collect());
    send(&shop, sent.clone()).await?;
    let sent = sorted(sent);
    let url = format!("http://{}", shop.collector.jaeger);
    let request = api_v3::GetTraceRequest { trace_id: hex::encode(ID), ..Default::default() };
    let stream = V3::connect(url.clone()).await?.get_trace(request).await?.into_inner();
    assert_eq!(together(stream).await?, (sent.clone(), 1));
    let request =
        GetTracesRequest { query: vec![GetTraceParams { trace_id: ID.to_vec().into(), ..GetTraceParams::default() }] };
    let stream = TraceReaderClient::connect(url).await?.get_traces(request).await?.into_inner();
    assert_eq!(together(stream).await?, (sent, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_trace_of_one_resource_comes_in_messages_that_every_client_takes() -> Result<()> {
    let shop = Shop::open(&[])?;
    // 10 MiB, and clients take 4 unless they are told otherwise.
    let sent = data((1..101).map(|number| full(number, 100 << 10)).collect());
    for chunk in sent.resource_spans[0].scope_spans[0].spans.chunks(20) {
        send(&shop, data(chunk.to_vec())).await?;
    }
    let url = format!("http://{}", shop.collector.jaeger);
    let request = api_v3::GetTraceRequest { trace_id: hex::encode(ID), ..Default::default() };
    let stream = V3::connect(url.clone()).await?.get_trace(request).await?.into_inner();
    let (found, messages) = together(stream).await?;
    assert!(found == sorted(sent), "{} messages", messages);
    assert!(messages >= 10, "{messages}");
    let request = api_v2::GetTraceRequest { trace_id: ID.to_vec().into(), ..Default::default() };
    let mut stream = V2::connect(url).await?.get_trace(request).await?.into_inner();
    let (mut spans, mut chunks) = (0, 0);
    while let Some(chunk) = stream.try_next().await? {
        assert!(chunk.encoded_len() < 2 << 20, "{}", chunk.encoded_len());
        spans += chunk.spans.len();
        chunks += 1;
    }
    assert!(spans == 100 && chunks >= 10, "{spans} spans in {chunks} chunks");
    Ok(())
}
