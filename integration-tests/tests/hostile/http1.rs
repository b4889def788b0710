//! HTTP/1.1 that is too large, ambiguous or not HTTP.

use anyhow::{Result, ensure};
use prost::Message;

use crate::support::{Pair, raw, spans};

const HEAD: &str =
    "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\nconnection: close\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn broken_and_oversized_heads_are_refused() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let cases = [
        (format!("{HEAD}x-long: {}\r\n\r\n", "x".repeat(10 << 20)), "431"),
        (format!("{HEAD}{}\r\n", "x-many: x\r\n".repeat(10_000)), "431"),
        (format!("POST /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), "414"),
        ("not HTTP at all\r\n\r\n".to_owned(), "400"),
        (format!("{HEAD}content-length: -1\r\n\r\n"), "400"),
        (format!("{HEAD}content-length: 1\r\ncontent-length: 2\r\n\r\nxx"), "400"),
        (format!("{HEAD}content-length: 99999999999999999999999\r\n\r\n"), "400"),
        (format!("{HEAD}transfer-encoding: chunked\r\n\r\nNOT HEX\r\n"), "400"),
        (format!("{HEAD}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), "400"),
        (format!("{HEAD}transfer-encoding: gzip\r\n\r\n"), "400"),
        ("GET /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "405"),
        ("POST /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(), "404"),
    ];
    for door in pair.doors() {
        for (bytes, status) in &cases {
            let answer = raw(door.http, bytes.as_bytes())?;
            let shown = &bytes[..bytes.len().min(200)];
            // With more to come than it reads, the connection may be reset before the answer is seen.
            let right =
                answer.starts_with(&format!("HTTP/1.1 {status} ")) || (bytes.len() > 100_000 && answer.is_empty());
            ensure!(right, "{}: not {status} to {shown:?}: {answer:?}", door.name);
        }
        door.stayed_within(96 << 20)?;
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_one_length_only() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let (trace, smuggled) = (spans::id(), spans::id());
    let body = spans::request([spans::span(trace)]).encode_to_vec();
    let second = spans::request([spans::span(smuggled)]).encode_to_vec();
    let mut bytes =
        format!("{HEAD}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()).into_bytes();
    bytes.extend(&body);
    bytes.extend(b"\r\n0\r\n\r\n");
    // What a reader who believes the length would take for a second request.
    bytes.extend(format!("{HEAD}content-length: {}\r\n\r\n", second.len()).bytes());
    bytes.extend(&second);
    let answer = raw(pair.agent.http, &bytes)?;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    pair.still_serves().await?;
    let found = crate::support::http::trace(pair.collector.tempo, smuggled, None).await?;
    assert_eq!(found, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_once_on_one_connection_are_answered_in_order() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let traces: Vec<[u8; 16]> = (0..1000).map(|_| spans::id()).collect();
    let mut bytes = Vec::new();
    for (number, trace) in traces.iter().enumerate() {
        let body = spans::request([spans::span(*trace)]).encode_to_vec();
        let connection = if number == 999 { "close" } else { "keep-alive" };
        let head = HEAD.replace("close", connection);
        bytes.extend(format!("{head}content-length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend(body);
    }
    let answer = tokio::task::spawn_blocking({
        let address = pair.agent.http;
        move || raw(address, &bytes)
    });
    let answer = answer.await??;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1000);
    pair.all_found(&traces).await
}
