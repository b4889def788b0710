//! Tenants: names that are none, and spans of others.

use anyhow::Result;
use prost::Message;
use tonic::Code;

use crate::support::{Pair, SOON, collector_door, grpc, grpc::Call, http, spans};

const TENANT: &str = "x-scope-orgid";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_no_name_is_refused_everywhere() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let request = spans::request([spans::span(spans::id())]).encode_to_vec();
    let long = "t".repeat(300);
    let names = ["../x", "..", ".", "a/b", "a\\b", "", " ", "a b", "é", "a\tb", &long];
    for door in pair.doors() {
        for name in names {
            let call = Call::plain(request.clone()).with(TENANT, name);
            grpc::call(door.grpc, call).await?.refused(Code::InvalidArgument, "not a tenant")?;
            let headers = [("content-type", "application/x-protobuf"), (TENANT, name)];
            http::post(door.http, &headers, request.clone()).await?.refused(400, "not a tenant")?;
        }
        assert_eq!(door.refused("invalid"), 2 * names.len() as u64, "{}", door.name);
    }
    for name in names {
        let (status, why) = http::lookup(pair.collector.tempo, &hex::encode(spans::id()), Some(name)).await?;
        assert_eq!(status, 400, "{name:?}: {}", String::from_utf8_lossy(&why));
    }
    // A NUL is no header value: hyper ends the connection with its own 400.
    let raw = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx-scope-orgid: a\0b\r\n\r\n";
    for door in pair.doors() {
        assert!(crate::support::raw(door.http, raw)?.starts_with("HTTP/1.1 400"), "{}", door.name);
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_another_tenant_is_as_unknown_as_one_that_is_not() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let (trace, nobodys) = (spans::id(), spans::id());
    let request = spans::request([spans::span(trace)]).encode_to_vec();
    grpc::call(pair.agent.grpc, Call::plain(request).with(TENANT, "team-a")).await?.accepted()?;
    pair.agent.wait_sent(SOON)?;
    let tempo = pair.collector.tempo;
    assert_eq!(http::trace(tempo, trace, Some("team-a")).await?.map(|spans| spans.len()), Some(1));
    for other in [None, Some("team-b"), Some("default"), Some("TEAM-A")] {
        let (status, text) = http::lookup(tempo, &hex::encode(trace), other).await?;
        let (unknown_status, unknown) = http::lookup(tempo, &hex::encode(nobodys), other).await?;
        assert_eq!((status, unknown_status), (404, 404), "{other:?}");
        let as_nobodys = String::from_utf8(text)?.replace(&hex::encode(trace), &hex::encode(nobodys));
        assert_eq!(as_nobodys, String::from_utf8(unknown)?);
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_of_two_tenants_are_two_requests() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let trace = spans::id();
    let request = spans::request([spans::span(trace)]).encode_to_vec();
    for tenant in ["team-a", "team-b"] {
        grpc::call(pair.agent.grpc, Call::plain(request.clone()).with(TENANT, tenant)).await?.accepted()?;
    }
    pair.agent.wait_sent(SOON)?;
    for tenant in ["team-a", "team-b"] {
        let found = http::trace(pair.collector.tempo, trace, Some(tenant)).await?;
        assert_eq!(found.map(|spans| spans.len()), Some(1), "{tenant}");
    }
    assert_eq!(pair.agent_door().metric("suppressed_retries_total"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_multi_tenancy_whatever_is_named_is_the_default_tenant() -> Result<()> {
    let off = ["--multi-tenancy=false"];
    // An agent that lets them name one, and one that does not.
    for agent in [&[][..], &off] {
        let pair = Pair::start(agent, &off)?;
        let traces = [spans::id(), spans::id(), spans::id()];
        let request = |trace| spans::request([spans::span(trace)]).encode_to_vec();
        grpc::call(pair.agent.grpc, Call::plain(request(traces[0])).with(TENANT, "team-a")).await?.accepted()?;
        grpc::call(pair.collector.grpc, Call::plain(request(traces[1])).with(TENANT, "../x")).await?.accepted()?;
        let headers = [("content-type", "application/x-protobuf"), (TENANT, "team-b")];
        http::post(pair.collector.http, &headers, request(traces[2])).await?.accepted()?;
        pair.agent.wait_sent(SOON)?;
        for trace in traces {
            for tenant in [None, Some("default"), Some("team-c"), Some("../x")] {
                let found = http::trace(pair.collector.tempo, trace, tenant).await?;
                assert_eq!(found.map(|spans| spans.len()), Some(1), "{tenant:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_too_many_tenants_are_refused_and_those_of_the_others_are_taken() -> Result<()> {
    let mut pair = Pair::start(&[], &["--max-tenants=2", "--flush-age-s=1"])?;
    let request = || spans::request([spans::span(spans::id())]).encode_to_vec();
    let call = |tenant| Call::plain(request()).with(TENANT, tenant);
    for tenant in ["a", "b", "a"] {
        grpc::call(pair.collector.grpc, call(tenant)).await?.accepted()?;
    }
    let refused = "spans of 2 tenants are stored";
    grpc::call(pair.collector.grpc, call("c")).await?.refused(Code::InvalidArgument, refused)?;
    let headers = [("content-type", "application/x-protobuf"), (TENANT, "c")];
    http::post(pair.collector.http, &headers, request()).await?.refused(400, refused)?;
    // What an agent has acked it keeps.
    grpc::call(pair.agent.grpc, call("c")).await?.accepted()?;
    grpc::call(pair.agent.grpc, call("b")).await?.accepted()?;
    pair.agent.wait_sent(SOON)?;
    assert_eq!(pair.agent_door().metric("rejected_spans_total"), 1);
    let rejected = collector_door(&pair.collector).metric("agent_refused_batches_total{reason=\"tenants\"}");
    assert_eq!(rejected, 1);
    // They are known after a restart, whether in blocks or not.
    pair.collector.settle()?;
    assert!(pair.collector.process.stop(SOON)?);
    pair.collector.restart()?;
    grpc::call(pair.collector.grpc, call("b")).await?.accepted()?;
    grpc::call(pair.collector.grpc, call("c")).await?.refused(Code::InvalidArgument, refused)
}
