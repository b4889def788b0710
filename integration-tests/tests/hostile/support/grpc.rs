//! A gRPC client that sends whatever it is told to and shows the whole answer.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use clew_common::otlp::status::RpcStatus;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tonic::Code;

/// The path of OTLP's method.
pub const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A body, of one piece or as it comes.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The message after its prefix.
    pub message: Bytes,
    /// The flag in the prefix.
    pub compressed: u8,
    /// Further headers; those given here stand over the usual ones.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl Call {
    /// A message that is not compressed.
    pub fn plain(message: impl Into<Bytes>) -> Self {
        Self { message: message.into(), compressed: 0, headers: Vec::new() }
    }

    /// A message that is, or pretends to be, compressed.
    pub fn compressed(encoding: &'static str, message: impl Into<Bytes>) -> Self {
        Self { compressed: 1, ..Self::plain(message) }.with("grpc-encoding", encoding)
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's status.
    pub http: u16,
    /// The call's status.
    pub code: Code,
    /// For people.
    pub message: String,
    /// From RetryInfo; None without it.
    pub retry_after: Option<Duration>,
    /// Refused spans and why, from partial_success.
    pub partial: Option<(i64, String)>,
    /// Headers, and trailers over them.
    pub headers: http::HeaderMap,
}

impl Answer {
    /// Checks that everything was taken.
    pub fn accepted(self) -> Result<()> {
        ensure!(self.code == Code::Ok && self.partial.is_none(), "not accepted: {self:?}");
        Ok(())
    }

    /// Checks that it was refused for good, for a reason that names `what`.
    pub fn refused(self, code: Code, what: &str) -> Result<()> {
        let right = self.code == code && self.retry_after.is_none() && self.message.contains(what);
        ensure!(right, "not {code:?} about {what:?} without RetryInfo: {self:?}");
        Ok(())
    }

    /// Checks that the sender is told to retry.
    pub fn retryable(self) -> Result<()> {
        let right = self.code == Code::Unavailable && self.retry_after.is_some_and(|delay| !delay.is_zero());
        ensure!(right, "not UNAVAILABLE with RetryInfo: {self:?}");
        Ok(())
    }
}

/// Connects.
pub async fn connect(address: SocketAddr) -> Result<SendRequest<Body>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 20)
        .max_send_buf_size(1 << 20)
        .handshake(io)
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a request as OTLP exporters do.
pub async fn export(address: SocketAddr, request: &ExportTraceServiceRequest) -> Result<Answer> {
    call(address, Call::plain(request.encode_to_vec())).await
}

/// Makes one call on a connection of its own.
pub async fn call(address: SocketAddr, call: Call) -> Result<Answer> {
    call_on(&mut connect(address).await?, call).await
}

/// Makes one call.
pub async fn call_on(connection: &mut SendRequest<Body>, call: Call) -> Result<Answer> {
    let mut prefix = BytesMut::with_capacity(5);
    prefix.put_u8(call.compressed);
    prefix.put_u32(call.message.len() as u32);
    let pieces = [prefix.freeze(), call.message].map(|piece| Ok(hyper::body::Frame::data(piece)));
    let body = http_body_util::StreamBody::new(tokio_stream::iter(pieces));
    send(connection, EXPORT, call.headers, BodyExt::boxed(body)).await
}

/// Sends a body as it is.
pub async fn send(
    connection: &mut SendRequest<Body>,
    path: &str,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Body,
) -> Result<Answer> {
    let mut request = http::Request::post(format!("http://clew{path}")).body(body)?;
    request.headers_mut().insert("te", "trailers".parse()?);
    request.headers_mut().insert("content-type", "application/grpc".parse()?);
    for (name, value) in headers {
        request.headers_mut().insert(name, http::HeaderValue::from_bytes(&value)?);
    }
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let http = response.status().as_u16();
    let mut headers = response.headers().clone();
    let collected = response.into_body().collect().await.context("the answer's body")?;
    if let Some(trailers) = collected.trailers() {
        headers.extend(trailers.clone());
    }
    answer(http, headers, &collected.to_bytes())
}

fn answer(http: u16, headers: http::HeaderMap, body: &[u8]) -> Result<Answer> {
    let Some(status) = tonic::Status::from_header_map(&headers) else {
        let (code, message) = (Code::Unknown, String::from_utf8_lossy(body).into_owned());
        return Ok(Answer { http, code, message, retry_after: None, partial: None, headers });
    };
    let mut partial = None;
    if status.code() == Code::Ok {
        let [0, _, _, _, _, message @ ..] = body else { bail!("OK without a message: {body:?}") };
        partial = ExportTraceServiceResponse::decode(message)?
            .partial_success
            .map(|partial| (partial.rejected_spans, partial.error_message));
    }
    Ok(Answer {
        http,
        code: status.code(),
        message: status.message().to_owned(),
        retry_after: retry_info(status.details())?,
        partial,
        headers,
    })
}

/// google.rpc.RetryInfo among the details.
pub fn retry_info(details: &[u8]) -> Result<Option<Duration>> {
    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Delay>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Delay {
        #[prost(uint64, tag = "1")]
        seconds: u64,
        #[prost(uint32, tag = "2")]
        nanos: u32,
    }
    let status = RpcStatus::decode(details)?;
    let Some(detail) = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo")) else {
        return Ok(None);
    };
    let delay = RetryInfo::decode(&detail.value[..])?.retry_delay.context("RetryInfo without a delay")?;
    Ok(Some(Duration::new(delay.seconds, delay.nanos)))
}
