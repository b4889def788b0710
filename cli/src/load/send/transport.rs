//! One connection to an endpoint, over gRPC (HTTP/2, shared by several senders) or HTTP/1.1 (one sender each).
//!
//! It speaks hyper directly: a request is one buffer that is handed to the connection as it is. tonic's client would copy
//! it once more.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, TE, USER_AGENT},
    uri::{Authority, PathAndQuery},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::Mutex,
};

use super::{
    answer::{Answer, Reason},
    body::{self, Compression},
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// An answer is short; one that is not is not read to its end.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What the requests travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { authority: Authority, path: PathAndQuery },
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "an endpoint looks like http://127.0.0.1:4317 or unix:/run/agent.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.trim_start_matches("//").into()));
        }
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|error| format!("{error}; {hint}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("only plain http:// is spoken here (put a TLS proxy in front); {hint}"));
        }
        let authority = uri.authority().ok_or(hint)?.clone();
        let authority = match authority.port() {
            Some(_) => authority,
            None => format!("{authority}:4317").parse().map_err(|_| hint)?,
        };
        let path = uri.path_and_query().filter(|path| path.as_str() != "/");
        Ok(Self::Tcp { authority, path: path.cloned().unwrap_or(PathAndQuery::from_static("/v1/traces")) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { authority, .. } => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    fn authority(&self) -> &str {
        match self {
            Self::Tcp { authority, .. } => authority.as_str(),
            Self::Unix(_) => "localhost",
        }
    }
}

/// How requests are sent: all but the connection.
#[derive(Debug)]
pub(crate) struct Target {
    endpoint: Endpoint,
    uri: Uri,
    headers: HeaderMap,
}

impl Target {
    /// Puts together what every request says besides its body.
    pub(crate) fn new(
        endpoint: Endpoint,
        protocol: Protocol,
        compression: Compression,
        extra: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, http::Error> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("clew/", env!("CARGO_PKG_VERSION"))));
        let mut uri = Uri::builder();
        match protocol {
            Protocol::Grpc => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
                if let Some(name) = compression.name() {
                    headers.insert("grpc-encoding", HeaderValue::from_static(name));
                }
                uri = uri.scheme("http").authority(endpoint.authority()).path_and_query(EXPORT);
            }
            Protocol::Http => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                headers.insert(HOST, HeaderValue::from_str(endpoint.authority())?);
                if let Some(name) = compression.name() {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
                }
                uri = match &endpoint {
                    Endpoint::Tcp { path, .. } => uri.path_and_query(path.clone()),
                    Endpoint::Unix(_) => uri.path_and_query("/v1/traces"),
                };
            }
        }
        for (name, value) in extra {
            headers.append(name, value.clone());
        }
        Ok(Self { endpoint, uri: uri.build()?, headers })
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A connection as one sender has it. It connects when it has to, and again when the connection is gone.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Clones share the connection.
    Grpc {
        target: Arc<Target>,
        shared: Arc<Mutex<Option<http2::SendRequest<Full<Bytes>>>>>,
    },
    Http {
        target: Arc<Target>,
        own: Option<http1::SendRequest<Full<Bytes>>>,
    },
}

impl Connection {
    /// Not connected yet.
    pub(crate) fn new(protocol: Protocol, target: Arc<Target>) -> Self {
        match protocol {
            Protocol::Grpc => Self::Grpc { target, shared: Arc::default() },
            Protocol::Http => Self::Http { target, own: None },
        }
    }

    /// For another sender: the same connection where the protocol can share it, else a new one.
    pub(crate) fn for_another(&self) -> Self {
        match self {
            Self::Grpc { target, shared } => Self::Grpc { target: target.clone(), shared: shared.clone() },
            Self::Http { target, .. } => Self::Http { target: target.clone(), own: None },
        }
    }

    /// Sends one request, as [`body`] lays it out, and waits for the answer. Trouble with the connection is a reason to
    /// retry.
    pub(crate) async fn send(&mut self, framed: Bytes) -> Answer {
        match self.exchange(framed).await {
            Ok(answer) => answer,
            Err(error) => Answer::Retry { after: None, reason: Reason::local("no connection", error) },
        }
    }

    async fn exchange(&mut self, framed: Bytes) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Grpc { target, shared } => {
                let mut connection = {
                    let mut shared = shared.lock().await;
                    match &*shared {
                        Some(open) if !open.is_closed() => open.clone(),
                        _ => shared.insert(connect_http2(&target.endpoint).await?).clone(),
                    }
                };
                connection.ready().await?;
                let response = connection.send_request(target.request(framed)).await?;
                let (status, headers, body, trailers) = collect(response).await?;
                Ok(Answer::from_grpc(status, trailers.as_ref().unwrap_or(&headers), &body))
            }
            Self::Http { target, own } => {
                // Taken out, so that after an error or a timeout there is a new connection next time.
                let mut connection = match own.take() {
                    Some(open) if !open.is_closed() => open,
                    _ => connect_http1(&target.endpoint).await?,
                };
                connection.ready().await?;
                let response = connection.send_request(target.request(body::without_frame(framed))).await?;
                let (status, headers, body, _) = collect(response).await?;
                *own = Some(connection);
                Ok(Answer::from_http(status, &headers, &body))
            }
        }
    }
}

type Collected = (http::StatusCode, HeaderMap, Bytes, Option<HeaderMap>);

async fn collect(response: Response<Incoming>) -> Result<Collected, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
    let trailers = body.trailers().cloned();
    Ok((head.status, head.headers, body.to_bytes(), trailers))
}

type Connected<S> = Result<S, Box<dyn std::error::Error + Send + Sync>>;

async fn tcp(authority: &Authority) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(authority.as_str()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_http2(endpoint: &Endpoint) -> Connected<http2::SendRequest<Full<Bytes>>> {
    match endpoint {
        Endpoint::Tcp { authority, .. } => http2_over(tcp(authority).await?).await,
        Endpoint::Unix(path) => http2_over(UnixStream::connect(path).await?).await,
    }
}

async fn http2_over<S>(stream: S) -> Connected<http2::SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http2::Builder::new(TokioExecutor::new()).max_send_buf_size(2 << 20).handshake(TokioIo::new(stream)).await?;
    // Its errors come out at the requests too.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

async fn connect_http1(endpoint: &Endpoint) -> Connected<http1::SendRequest<Full<Bytes>>> {
    match endpoint {
        Endpoint::Tcp { authority, .. } => http1_over(tcp(authority).await?).await,
        Endpoint::Unix(path) => http1_over(UnixStream::connect(path).await?).await,
    }
}

async fn http1_over<S>(stream: S) -> Connected<http1::SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_lack_scheme_port_and_path() {
        let endpoint = |text: &str| match text.parse() {
            Ok(Endpoint::Tcp { authority, path }) => format!("{authority}{path}"),
            Ok(Endpoint::Unix(path)) => path.display().to_string(),
            Err(error) => error,
        };
        assert_eq!(endpoint("http://tempo:4318/v1/traces"), "tempo:4318/v1/traces");
        assert_eq!(endpoint("http://[::1]:4318/otlp/v1/traces?x=1"), "[::1]:4318/otlp/v1/traces?x=1");
        assert_eq!(endpoint("tempo"), "tempo:4317/v1/traces");
        assert_eq!(endpoint("localhost:4318/"), "localhost:4318/v1/traces");
        assert_eq!(endpoint("unix:///run/agent.sock"), "/run/agent.sock");
        assert!(endpoint("https://tempo:4317").contains("plain http://"));
        assert!(endpoint("http://").contains("looks like"));
    }
}
