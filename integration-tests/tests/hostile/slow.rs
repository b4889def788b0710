//! Senders that are slow, silent or many.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio_stream::wrappers::IntervalStream;
use tonic::Code;

use crate::support::{Door, Pair, SOON, eventually, grpc, http, proxy::Proxy, spans};

/// A configuration file with these settings; the flag that names it.
fn config(folder: &Path, name: &str, settings: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, settings)?;
    Ok(format!("--config={}", path.display()))
}

/// Sends the start of a request, then a byte now and then, until the other side closes; what it said.
fn trickle(address: SocketAddr, start: &str, endless: u8) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(start.as_bytes())?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    for _ in 0..SOON.as_millis() / 200 {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                // Closed between this and the next reading, it is closed too.
                let _ = stream.write_all(&[endless]);
            }
            Err(_) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
    anyhow::bail!("the connection is still open after {SOON:?}")
}

/// A gRPC message that comes byte by byte, one every 200 ms, and would take for ever.
fn slow_message() -> grpc::Body {
    let request = spans::request([spans::heavy(spans::id(), 100_000)]).encode_to_vec();
    let prefix = [&[0][..], &(request.len() as u32).to_be_bytes()].concat();
    let bytes = prefix.into_iter().chain(request).map(|byte| Ok(Frame::data(Bytes::from(vec![byte]))));
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(200)));
    BodyExt::boxed(StreamBody::new(tokio_stream::iter(bytes).zip(ticks).map(|(frame, _)| frame)))
}

async fn slow_senders(door: Door) -> Result<()> {
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
    let bodies = [
        format!("{head}content-length: 1000000\r\n\r\n0123456789"),
        format!("{head}transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\nffffff\r\n"),
    ];
    let bodies = bodies.map(|start| tokio::task::spawn_blocking(move || trickle(door.http, &start, b'0')));
    let never_ending = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nx-long: ";
    let never_ending = tokio::task::spawn_blocking(move || trickle(door.http, never_ending, b'x'));
    let mut connection = grpc::connect(door.grpc).await?;
    let slow = grpc::send(&mut connection, grpc::EXPORT, Vec::new(), slow_message()).await?;
    slow.refused(Code::DeadlineExceeded, "after 1 s")?;
    for body in bodies {
        let answer = body.await??;
        ensure!(answer.starts_with("HTTP/1.1 408 "), "a body that does not end: {answer:?}");
        ensure!(!answer.to_lowercase().contains("retry-after"), "{answer:?}");
    }
    let answer = never_ending.await??;
    ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "headers that do not end: {answer:?}");
    ensure!(door.refused("slow") == 3, "{} of 3 slow requests are counted at the {}", door.refused("slow"), door.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_given_up_and_others_served() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let settings = config(dir.path(), "slow.toml", "body_timeout_s = 1\nidle_timeout_s = 2\n")?;
    let pair = Pair::start(&[&settings], &[&settings])?;
    let [agent, collector] = pair.doors();
    // Good ones come beside them.
    tokio::try_join!(slow_senders(agent), slow_senders(collector), pair.still_serves())?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_harm_nobody() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let mut idle = Vec::with_capacity(4000);
    for door in pair.doors() {
        for address in [door.grpc, door.http] {
            for number in 0..1000 {
                let mut stream = TcpStream::connect(address).context("an idle connection")?;
                match number % 4 {
                    0 => {}
                    1 => stream.write_all(b"POST /v1/tra")?,
                    2 => stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?,
                    _ => {
                        let head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n";
                        stream.write_all(head)?;
                        stream.write_all(b"content-type: application/x-protobuf\r\n\r\nsome")?;
                    }
                }
                idle.push(stream);
            }
        }
    }
    for door in pair.doors() {
        // The collector's gRPC port has no path for a quarter of them, and says so.
        let open = || door.metric("connections_open") >= 1750;
        eventually("nearly 2,000 connections are open", SOON, open).await?;
    }
    pair.still_serves().await?;
    for door in pair.doors() {
        door.stayed_within(128 << 20)?;
    }
    drop(idle);
    for door in pair.doors() {
        let closed = || door.metric("connections_open") < 20;
        eventually("they are closed", SOON, closed).await?;
    }
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_descriptors_come_back_accepting_goes_on() -> Result<()> {
    let pair = Pair::start(&["--segment-bytes=1MiB"], &["--segment-bytes=1MiB"])?;
    let mut acked = Vec::new();
    for door in pair.doors() {
        let mut connection = grpc::connect(door.grpc).await?;
        let first = spans::request([]).encode_to_vec();
        grpc::call_on(&mut connection, grpc::Call::plain(first)).await?.accepted()?;
        let pid = Pid::from_raw(door.pid as i32).context("a process id")?;
        // What is open stays open; nothing more can be opened.
        let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(3), maximum: Some(20_000) })?;
        let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(door.http)).collect::<Result<_, _>>()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        // On an open connection: stored, or refused until there are descriptors for the next segment.
        for _ in 0..20 {
            let trace = spans::id();
            let message = spans::request([spans::heavy(trace, 200_000)]).encode_to_vec();
            let answer = grpc::call_on(&mut connection, grpc::Call::plain(message)).await?;
            if answer.code == Code::Ok {
                acked.push(trace);
            } else {
                answer.retryable()?;
            }
        }
        prlimit(Some(pid), Resource::Nofile, before)?;
        let served = spans::request([spans::span(spans::id())]);
        http::export(door.http, &served).await?.accepted()?;
        ensure!(door.metric("connection_accept_errors_total") > 0, "nothing is counted at the {}", door.name);
        drop(waiting);
    }
    assert!(!acked.is_empty());
    pair.all_found(&acked).await?;
    pair.still_serves().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_went_without_a_word_is_found_out_and_others_are_served() -> Result<()> {
    let pair = Pair::start(&[], &[])?;
    let mut half_open = Vec::new();
    for door in pair.doors() {
        let proxy = Proxy::start(door.grpc).await?;
        let mut connections = Vec::new();
        for _ in 0..20 {
            let mut connection = grpc::connect(proxy.address).await?;
            let call = grpc::Call::plain(spans::request([spans::span(spans::id())]).encode_to_vec());
            grpc::call_on(&mut connection, call).await?.accepted()?;
            connections.push(connection);
        }
        ensure!(door.metric("connections_open") >= 20);
        proxy.lose(true, true);
        half_open.push((door, proxy, connections));
    }
    // A ping every 30 s has to be answered within 20 s.
    let limit = Duration::from_secs(50) + SOON;
    for (door, ..) in &half_open {
        let closed = || door.metric("connections_open") < 20;
        eventually("connections whose other side is gone are closed", limit, closed).await?;
    }
    pair.still_serves().await
}
