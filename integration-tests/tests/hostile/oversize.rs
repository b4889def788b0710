//! Requests over the size limit.

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Door, MAX_REQUEST_BYTES, Pair, SOON, eventually, grpc, grpc::Call, http, spans};

const MAX_RESIDENT_BYTES: u64 = (128 + 2 * 64 + 64) << 20;

fn megabytes(count: usize) -> impl Iterator<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
    let piece = Bytes::from(vec![0; 1 << 20]);
    (0..count).map(move |_| Ok(piece.clone()))
}

async fn send_100_mb(door: Door) -> Result<()> {
    let limit = MAX_REQUEST_BYTES.to_string();
    let huge = Bytes::from(vec![0; 100 << 20]);
    grpc::call(door.grpc, Call::plain(huge.clone())).await?.refused(Code::ResourceExhausted, &limit)?;
    let protobuf = [("content-type", "application/x-protobuf")];
    http::post(door.http, &protobuf, huge).await?.refused(413, &limit)?;
    let stream = reqwest::Body::wrap_stream(tokio_stream::iter(megabytes(100)));
    http::post(door.http, &protobuf, stream).await?.refused(413, &limit)?;
    let stream = reqwest::Body::wrap_stream(tokio_stream::iter(megabytes(100)));
    http::post(door.http, &[("content-type", "application/json")], stream).await?.refused(413, &limit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused_for_good_and_the_limit_named() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    for door in pair.doors() {
        send_100_mb(door).await?;
        assert_eq!(door.refused("too_large"), 4, "{}", door.name);
        door.stayed_within(MAX_RESIDENT_BYTES)?;
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_claimed_takes_no_memory_before_it_comes() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let door = pair.agent_door();
    // A gRPC prefix and a content-length that claim the most there is, and stop there.
    let (sender, pieces) = tokio::sync::mpsc::channel(1);
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(MAX_REQUEST_BYTES as u32);
    let body = BodyExt::boxed(StreamBody::new(ReceiverStream::new(pieces)));
    sender.send(Ok(Frame::data(prefix.freeze()))).await?;
    let mut connection = grpc::connect(door.grpc).await?;
    let claiming =
        tokio::spawn(async move { grpc::send(&mut connection, grpc::EXPORT, Vec::new(), body).await.map(drop) });
    let mut raw = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(door.http).await?;
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {MAX_REQUEST_BYTES}\r\n\r\nx"
        );
        stream.write_all(head.as_bytes()).await?;
        raw.push(stream);
    }
    eventually("four connections are open", SOON, || door.metric("connections_open") >= 4).await?;
    // Together they claim twice what there is. Others are served all the same.
    pair.still_serves().await?;
    let large = spans::request([spans::heavy(spans::id(), 16 << 20)]);
    http::export(door.http, &large).await?.accepted()?;
    assert_eq!(door.refused("overloaded"), 0);
    claiming.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_just_the_limit_is_taken() -> Result<()> {
    let pair = Pair::start(&["--max-request-bytes=1MiB"], &[])?;
    let door = pair.agent_door();
    let trace = spans::id();
    let around = spans::request([spans::heavy(trace, 1_000_000)]).encoded_len() - 1_000_000;
    let mut request = spans::request([spans::heavy(trace, (1 << 20) - around)]).encode_to_vec();
    assert_eq!(request.len(), 1 << 20);
    grpc::call(door.grpc, Call::plain(request.clone())).await?.accepted()?;
    assert_eq!(pair.find(trace, 1).await?.len(), 1);
    request.push(0);
    grpc::call(door.grpc, Call::plain(request.clone())).await?.refused(Code::ResourceExhausted, "1048576")?;
    http::post(door.http, &[("content-type", "application/x-protobuf")], request).await?.refused(413, "1048576")?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_fits_into_a_small_log_is_refused_for_good() -> Result<()> {
    // A log of two segments takes no record that needs more than one.
    let pair = Pair::start(
        &["--segment-bytes=1MiB", "--max-queue-bytes=2MiB"],
        &["--segment-bytes=1MiB", "--max-wal-bytes=2MiB"],
    )?;
    for door in pair.doors() {
        let large = spans::request([spans::heavy(spans::id(), 4 << 20)]);
        grpc::export(door.grpc, &large).await?.refused(Code::ResourceExhausted, "packed for the log")?;
        http::export(door.http, &large).await?.refused(413, "packed for the log")?;
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_never_fits_is_put_aside_and_those_behind_it_go_on() -> Result<()> {
    let pair = Pair::start(&[], &["--segment-bytes=1MiB", "--max-wal-bytes=2MiB"])?;
    let (large, next) = (spans::id(), spans::id());
    grpc::export(pair.agent.grpc, &spans::request([spans::heavy(large, 4 << 20)])).await?.accepted()?;
    grpc::export(pair.agent.grpc, &spans::request([spans::span(next)])).await?.accepted()?;
    pair.agent.wait_sent(SOON)?;
    pair.all_found(&[next]).await?;
    assert_eq!(pair.agent_door().metric("rejected_spans_total"), 1);
    assert_eq!(pair.collector_door().metric("agent_refused_batches_total{reason=\"too_large\"}"), 1);
    let rejected = std::fs::read_dir(pair.agent.data.join("rejected"))?.count();
    assert_eq!(rejected, 2, "the batch and its reason");
    pair.still_serves().await
}
