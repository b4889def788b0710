//! OTLP over gRPC: one unary method, on the raw bytes of its message.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use prost::Message;

use super::{
    body::Incoming,
    decompress::Encoding,
    receiver::{Receiver, Refusal, Stored, Transport},
};
use crate::ids::Tenant;

/// What the service is called.
pub const SERVICE_NAME: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
/// The path of the Export method.
pub const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const PREFIX_BYTES: usize = 5;
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,deflate,zstd");

/// Serves the Export method.
pub fn router(receiver: Receiver) -> Router {
    Router::new().route(EXPORT, post(export)).with_state(receiver)
}

async fn export(State(receiver): State<Receiver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&receiver, body);
    match take(&receiver, &parts.headers, &mut incoming).await {
        Ok(stored) => answer(stored),
        Err(refusal) => {
            receiver.refused(&refusal);
            incoming.linger(&refusal).await;
            refuse(&refusal)
        }
    }
}

async fn take(receiver: &Receiver, headers: &HeaderMap, incoming: &mut Incoming<'_>) -> Result<Stored, Refusal> {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !content_type.starts_with(b"application/grpc") {
        return Err(Refusal::UnknownContentType(String::from_utf8_lossy(content_type).into_owned()));
    }
    let tenant = Tenant::from_headers(headers).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let encoding = match headers.get("grpc-encoding") {
        None => Encoding::Identity,
        Some(name) => name
            .to_str()
            .ok()
            .and_then(Encoding::parse)
            .ok_or_else(|| Refusal::UnknownEncoding(String::from_utf8_lossy(name.as_bytes()).into_owned()))?,
    };

    // Length-prefixed message: u8 compressed, u32 big-endian length (gRPC over HTTP/2, "Requests").
    let ([compressed, length @ ..], rest) = incoming.prefix::<PREFIX_BYTES>().await?;
    let message = incoming.message(rest, u32::from_be_bytes(length) as usize).await?;
    if !message.rest.is_empty() || incoming.next().await?.is_some() {
        return Err(Refusal::Invalid("more than one message in a unary call".to_owned()));
    }
    let mut permit = message.permit;
    let body = match (compressed, encoding) {
        (0, _) => message.bytes,
        (1, Encoding::Identity) => {
            return Err(Refusal::Invalid(
                "the message is marked as compressed, but grpc-encoding names no compression".to_owned(),
            ));
        }
        (1, encoding) => receiver.inflate(encoding, message.bytes, &mut permit).await?,
        (other, _) => return Err(Refusal::Invalid(format!("the message's compressed flag is {other}, not 0 or 1"))),
    };
    receiver.take(Transport::Grpc, tenant, body, permit).await
}

fn answer(stored: Stored) -> Response {
    let message = ExportResponse::from(stored);
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    data.put_u8(0);
    data.put_u32(message.encoded_len() as u32);
    data.put_slice(&message.encode_to_vec());
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(data.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn refuse(refusal: &Refusal) -> Response {
    let mut response = refusal.rpc_status().to_tonic().into_http();
    if matches!(refusal, Refusal::UnknownContentType(_)) {
        // Who sent this speaks no gRPC and reads the status alone (gRPC over HTTP/2, "Requests").
        *response.status_mut() = refusal.http_status();
    }
    response.headers_mut().insert("grpc-accept-encoding", ACCEPTED);
    response
}

/// ExportTraceServiceResponse.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// ExportTracePartialSuccess.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

impl From<Stored> for ExportResponse {
    fn from(stored: Stored) -> Self {
        let Stored { rejected_spans, message: error_message } = stored;
        let partial_success =
            (rejected_spans > 0).then(|| PartialSuccess { rejected_spans: rejected_spans.into(), error_message });
        Self { partial_success }
    }
}
