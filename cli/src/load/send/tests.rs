//! The sender against a server in this process that answers as each test says.

use std::{
    convert::Infallible,
    io::Read,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

use super::*;
use crate::load::{
    digest::{SpanDigest, each_span_of_request},
    generate::Options,
    truth::{self, Truth},
    write,
};

/// What the server says to a request.
#[derive(Debug, Clone)]
enum Reply {
    Fine,
    Partial,
    /// A gRPC code, with details.
    Code(u16, &'static [u8]),
    /// An HTTP status, with a pause in seconds.
    Http(u16, &'static str),
    /// The connection is cut.
    Cut,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    at: Instant,
    headers: HeaderMap,
    path: String,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Server {
    endpoint: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Server {
    /// Answers the nth request with `reply(n)`, on a thread of its own.
    fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let arrived = Arc::<Mutex<Vec<_>>>::default();
        let (count, reply, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(reply), arrived.clone());
        let (tell, told) = std::sync::mpsc::channel();
        let serve = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (count, reply, seen) = (count.clone(), reply.clone(), seen.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (reply, seen) = (reply(count.fetch_add(1, Ordering::SeqCst)), seen.clone());
                    async move { answer(request, reply, &seen).await }
                });
                tokio::spawn(async move {
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        };
        thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve)
        });
        Self { endpoint: told.recv().unwrap(), arrived }
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

type Answered = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    reply: Reply,
    seen: &Mutex<Vec<Arrived>>,
) -> Result<Answered, &'static str> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| "body")?.to_bytes().to_vec();
    let grpc = head.headers["content-type"] == "application/grpc";
    seen.lock().unwrap().push(Arrived {
        at: Instant::now(),
        headers: head.headers,
        path: head.uri.path().into(),
        body,
    });
    let partial = b"\x0a\x08\x08\x03\x12\x04oops".as_slice();
    let (code, details, message): (u16, &[u8], &[u8]) = match reply {
        Reply::Cut => return Err("cut"),
        Reply::Http(status, pause) => {
            let response = Response::builder().status(status).header("retry-after", pause);
            return Ok(response.body(Full::default().boxed()).unwrap());
        }
        Reply::Code(code, details) => (code, details, b""),
        Reply::Fine => (0, b"", b""),
        Reply::Partial => (0, b"", partial),
    };
    if !grpc {
        return Ok(Response::new(Full::from(message).boxed()));
    }
    let mut framed = vec![0, 0, 0, 0, message.len() as u8];
    framed.extend_from_slice(message);
    let trailers = tonic::Status::with_details(i32::from(code).into(), "said so", details.into());
    let trailers = trailers.into_http::<()>().headers().clone();
    let body = Full::from(framed).with_trailers(async move { Some(Ok(trailers)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(body.boxed()).unwrap())
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Runs `clew load send CORPUS --endpoint SERVER ...`.
fn send(corpus: &Path, server: &Server, options: &str) -> (serde_json::Value, bool) {
    let line = format!("send {} --endpoint {} {options}", corpus.display(), server.endpoint);
    let args = Line::try_parse_from(line.split_ascii_whitespace()).unwrap().args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (report, clean) = runtime.block_on(args.send()).unwrap();
    (serde_json::to_value(report).unwrap(), clean)
}

/// A corpus of 1,000 spans.
fn corpus(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("corpus");
    let options = Options {
        seed: 7,
        spans: 1_000,
        request_spans: 50,
        services: 5,
        start_ns: 1_700_000_000_000_000_000,
        rate: 10_000.0,
    };
    write::write(&path, options, |_| {}).unwrap();
    path
}

fn spans(requests: &[Vec<u8>]) -> Vec<SpanDigest> {
    let mut spans = Vec::new();
    requests.iter().for_each(|request| each_span_of_request(request, |span| spans.push(span)).unwrap());
    spans.sort();
    spans
}

fn true_spans(corpus: &Path) -> Vec<SpanDigest> {
    let truth = Truth::read(&truth::path_of(corpus)).unwrap();
    let of = |trace: &truth::TrueTrace| {
        let digests = truth.spans[trace.spans.clone()].iter();
        let trace_id = trace.trace_id;
        digests.map(move |span| SpanDigest { trace_id, span_id: span.span_id, digest: span.digest }).collect::<Vec<_>>()
    };
    let mut spans: Vec<_> = truth.traces.iter().flat_map(of).collect();
    spans.sort();
    spans
}

#[test]
fn every_request_arrives_once_over_grpc_as_it_lies_in_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let server = Server::start(|_| Reply::Fine);
    let (report, clean) = send(&corpus, &server, "--header X-Scope-OrgID=team-a");
    assert!(clean, "{report}");
    assert_eq!((&report["spans"], &report["retries"]), (&1_000.into(), &0.into()));
    let arrived = server.arrived();
    let expected = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert!(arrived.iter().all(|request| request.path == expected && request.headers["x-scope-orgid"] == "team-a"));
    let requests: Vec<_> = arrived.into_iter().map(|request| request.body[5..].to_vec()).collect();
    assert_eq!(spans(&requests), true_spans(&corpus));
}

#[test]
fn every_request_arrives_once_over_http_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    for name in ["gzip", "zstd"] {
        let server = Server::start(|_| Reply::Fine);
        let (report, clean) = send(&corpus, &server, &format!("--protocol http --compression {name}"));
        assert!(clean, "{report}");
        let unpacked = server.arrived().into_iter().map(|request| {
            assert_eq!(
                (request.path.as_str(), &request.headers["content-encoding"]),
                ("/v1/traces", &name.parse().unwrap())
            );
            let mut plain = Vec::new();
            match name {
                "gzip" => flate2::read::GzDecoder::new(&*request.body).read_to_end(&mut plain).unwrap(),
                _ => zstd::Decoder::new(&*request.body).unwrap().read_to_end(&mut plain).unwrap(),
            };
            plain
        });
        assert_eq!(spans(&unpacked.collect::<Vec<_>>()), true_spans(&corpus));
    }
}

#[test]
fn what_is_retryable_is_sent_again_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    // RetryInfo of 0.3 seconds.
    let info = b"\x08\x0e\x1a\x36\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x0a\x0a\x08\x08\x00\x10\x80\xc6\x86\x8f\x01";
    let server = Server::start(move |n| match n {
        0 => Reply::Code(14, info),
        1 => Reply::Code(8, info),
        2 => Reply::Code(14, b""),
        3 => Reply::Cut,
        4 => Reply::Http(503, "1"),
        _ => Reply::Fine,
    });
    let (report, clean) = send(&corpus, &server, "--connections 1 --in-flight 1");
    assert!(clean, "{report}");
    assert_eq!((&report["spans"], &report["retries"]), (&1_000.into(), &5.into()), "{report}");
    let arrived = server.arrived();
    let pause = |n: usize| arrived[n + 1].at - arrived[n].at;
    assert!(pause(0) >= Duration::from_millis(300) && pause(1) >= Duration::from_millis(300));
    assert!(arrived[..6].iter().all(|request| request.body == arrived[0].body), "the same request each time");
    assert!(arrived[6].body != arrived[0].body);
    assert_eq!(report["reasons"]["Unavailable"]["times"], 2);
}

#[test]
fn what_is_final_is_not_sent_again_and_the_run_is_not_clean() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let server = Server::start(|n| match n {
        0 => Reply::Code(3, b""),
        1 => Reply::Code(8, b""),
        2 => Reply::Partial,
        _ => Reply::Fine,
    });
    let (report, clean) = send(&corpus, &server, "--connections 1 --in-flight 1");
    assert!(!clean);
    assert_eq!((&report["refused_requests"], &report["partial_requests"]), (&2.into(), &1.into()), "{report}");
    assert_eq!((&report["rejected_spans"], &report["retries"]), (&3.into(), &0.into()));
    let taken = report["spans"].as_u64().unwrap() + report["refused_spans"].as_u64().unwrap() + 3;
    assert_eq!(taken, 1_000);
}

#[test]
fn a_request_that_is_never_taken_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let server = Server::start(|_| Reply::Http(503, "0"));
    let (report, clean) = send(&corpus, &server, "--protocol http --give-up 0s");
    assert!(!clean);
    assert_eq!((&report["given_up_spans"], &report["spans"]), (&1_000.into(), &0.into()), "{report}");
}

#[test]
fn later_loops_carry_other_traces_of_the_same_shape() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let server = Server::start(|_| Reply::Fine);
    let (report, _) = send(&corpus, &server, "--loops 2");
    assert_eq!(report["spans"], 2_000);
    send(&corpus, &server, "--from-loop 3");
    let requests: Vec<_> = server.arrived().into_iter().map(|request| request.body[5..].to_vec()).collect();
    let mut sizes = std::collections::HashMap::<_, usize>::new();
    spans(&requests).iter().for_each(|span| *sizes.entry(span.trace_id).or_default() += 1);
    let mut sizes: Vec<_> = sizes.into_values().collect();
    let truth = Truth::read(&truth::path_of(&corpus)).unwrap();
    let mut expected: Vec<_> = truth.traces.iter().flat_map(|trace| [trace.spans.len(); 3]).collect();
    sizes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sizes, expected);
}

#[test]
fn a_rate_is_kept_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let server = Server::start(|_| Reply::Fine);
    let (report, _) = send(&corpus, &server, "--rate 2000");
    let arrived = server.arrived();
    let first = arrived.iter().map(|request| request.at).min().unwrap();
    // The nth request is due when the spans before it have had their time: about 20 requests in half a second.
    for (n, request) in arrived.iter().enumerate().skip(1) {
        let due = Duration::from_millis(500) * n as u32 / arrived.len() as u32;
        assert!(request.at - first + Duration::from_millis(150) > due, "request {n} came too early");
    }
    assert!(report["seconds"].as_f64().unwrap() > 0.4, "{report}");
}

#[test]
fn a_duration_ends_an_endless_run() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let server = Server::start(|_| Reply::Fine);
    let (report, clean) = send(&corpus, &server, "--duration 500ms");
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(clean && (0.4..5.0).contains(&seconds), "{report}");
    assert!(report["spans"].as_u64().unwrap() > 1_000, "{report}");
}

#[test]
fn acked_requests_are_written_down_and_skipped_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(&folder);
    let acked = folder.path().join("acked");
    let options = format!("--connections 1 --in-flight 1 --acked {}", acked.display());
    let server = Server::start(|n| if n % 2 == 0 { Reply::Fine } else { Reply::Code(3, b"") });
    let (first, clean) = send(&corpus, &server, &options);
    assert!(!clean);
    let indices: Vec<u64> =
        std::fs::read_to_string(&acked).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(indices.iter().enumerate().all(|(n, index)| *index == 2 * n as u64), "{indices:?}");
    assert_eq!(first["requests"], indices.len());

    let server = Server::start(|_| Reply::Fine);
    let (second, clean) = send(&corpus, &server, &options);
    assert!(clean);
    assert_eq!(first["spans"].as_u64().unwrap() + second["spans"].as_u64().unwrap(), 1_000);
    let line = format!("send {} {options}", corpus.display());
    let args = Line::try_parse_from(line.split_ascii_whitespace()).unwrap().args;
    assert!(args.plan(indices.len() as u64).unwrap_err().to_string().contains("remove it"));
}
