use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Limits, Metrics, serve};
use crate::shutdown::{self, Stopper};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const IDLE: Duration = Duration::from_millis(400);
const SOON: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    metrics: Metrics,
    stopper: Stopper,
    task: JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/never", get(async || std::future::pending::<&'static str>().await));
    let (metrics, (stopper, drain)) = (Metrics::default(), shutdown::channel());
    let task = tokio::spawn(serve(listener, router, limits, metrics.clone(), drain));
    Server { address, metrics, stopper, task }
}

/// Asks on an open connection.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(GET).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Waits until the server closes a connection to which it has nothing to say.
async fn closed(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    match tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("it is still open") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = start(Limits { idle: IDLE, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    closed(&mut silent).await;
    // Nor does it help to begin a request, or HTTP/2, and go no further.
    for start in [&b"GET / HTTP/1.1\r\nhost: "[..], b"PRI * HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
        let mut stopped = TcpStream::connect(server.address).await.unwrap();
        stopped.write_all(start).await.unwrap();
        closed(&mut stopped).await;
    }
    assert!(server.metrics.timed_out.get() >= 3);
}

#[tokio::test]
async fn headers_and_prefaces_that_come_byte_by_byte_are_given_up() {
    let server = start(Limits { idle: IDLE, ..Limits::default() }).await;
    for (start, more) in [("GET / HTTP/1.1\r\nhost: ", "x".repeat(1000)), ("", "PRI * HTTP/2.0\r\n\r\n".into())] {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(start.as_bytes()).await.unwrap();
        let started = Instant::now();
        let mut bytes = more.bytes();
        let mut buffer = [0; 256];
        loop {
            assert!(started.elapsed() < SOON, "it is still open after {start:?}");
            match bytes.next() {
                Some(byte) => match slow.write_all(&[byte]).await {
                    Ok(()) => {}
                    Err(_) => break,
                },
                None => {
                    closed(&mut slow).await;
                    break;
                }
            }
            if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut buffer)).await {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_connection_in_use_is_kept_for_longer_than_the_idle_time() {
    let server = start(Limits { idle: IDLE, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..6 {
        assert!(ask(&mut stream).await.ends_with("hello"));
        tokio::time::sleep(IDLE / 4).await;
    }
}

#[tokio::test]
async fn past_the_limit_connections_wait_until_one_is_closed() {
    let server = start(Limits { max_connections: 2, ..Limits::default() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert!(ask(&mut first).await.ends_with("hello"));
    assert!(ask(&mut second).await.ends_with("hello"));
    let mut third = TcpStream::connect(server.address).await.unwrap();
    third.write_all(GET).await.unwrap();
    let mut answer = vec![0; 4096];
    let early = tokio::time::timeout(Duration::from_millis(300), third.read(&mut answer)).await;
    assert!(early.is_err(), "the third one is served");
    assert_eq!(server.metrics.open.get(), 2);
    drop(first);
    let read = tokio::time::timeout(SOON, third.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..read].ends_with(b"hello"));
}

#[tokio::test]
async fn draining_waits_for_what_runs_and_hurrying_cuts_it_off() {
    let server = start(Limits::default()).await;
    let mut running = TcpStream::connect(server.address).await.unwrap();
    running.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert!(ask(&mut idle).await.ends_with("hello"));
    server.stopper.drain();
    closed(&mut idle).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!server.task.is_finished(), "a request still runs");
    server.stopper.hurry();
    closed(&mut running).await;
    tokio::time::timeout(SOON, server.task).await.expect("it has not ended").unwrap();
}

#[test]
fn connections_never_take_all_descriptors() {
    let limits = Limits { max_connections: usize::MAX, ..Limits::default() }.within_descriptors(4);
    let all = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    assert!(all.is_none_or(|all| (limits.max_connections as u64) * 4 < all), "{limits:?} of {all:?}");
}
