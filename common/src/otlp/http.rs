//! OTLP over HTTP: POST /v1/traces with protobuf or JSON.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use prost::Message;

use super::{
    body::{self, Incoming},
    decompress::Encoding,
    grpc::ExportResponse,
    receiver::{Receiver, Refusal, Stored, Transport},
};
use crate::ids::Tenant;

/// Serves POST /v1/traces.
pub fn router(receiver: Receiver) -> Router {
    Router::new().route("/v1/traces", post(export)).layer(DefaultBodyLimit::disable()).with_state(receiver)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match &essence[..] {
            b"application/x-protobuf" | b"application/protobuf" => Ok(Self::Protobuf),
            b"application/json" => Ok(Self::Json),
            _ => Err(Refusal::UnknownContentType(String::from_utf8_lossy(value).into_owned())),
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

async fn export(State(receiver): State<Receiver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&receiver, body);
    // A body of an unknown type gets its error in JSON, which people can read.
    let format = Format::of(&parts.headers);
    let written = *format.as_ref().unwrap_or(&Format::Json);
    let result = match format {
        Ok(format) => take(&receiver, &parts.headers, format, &mut incoming).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(stored) => answer(written, stored),
        Err(refusal) => {
            receiver.refused(&refusal);
            incoming.linger(&refusal).await;
            refuse(written, &refusal)
        }
    }
}

async fn take(
    receiver: &Receiver,
    headers: &HeaderMap,
    format: Format,
    incoming: &mut Incoming<'_>,
) -> Result<Stored, Refusal> {
    let tenant = Tenant::from_headers(headers).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let encoding = match headers.get(CONTENT_ENCODING) {
        None => Encoding::Identity,
        Some(name) => name
            .to_str()
            .ok()
            .and_then(Encoding::parse)
            .ok_or_else(|| Refusal::UnknownEncoding(String::from_utf8_lossy(name.as_bytes()).into_owned()))?,
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body::Message { bytes, mut permit, .. } = incoming.whole(length).await?;
    let body = receiver.inflate(encoding, bytes, &mut permit).await?;
    match format {
        Format::Protobuf => receiver.take(Transport::HttpProtobuf, tenant, body, permit).await,
        Format::Json => {
            let body = receiver.read_json(body, &mut permit).await?;
            receiver.take(Transport::HttpJson, tenant, body, permit).await
        }
    }
}

fn answer(format: Format, stored: Stored) -> Response {
    let body = match format {
        Format::Protobuf => ExportResponse::from(stored).encode_to_vec(),
        Format::Json => {
            let partial = match stored.rejected_spans {
                0 => serde_json::json!({}),
                // 64-bit integers are strings in protobuf's JSON.
                count => serde_json::json!({"rejectedSpans": count.to_string(), "errorMessage": stored.message}),
            };
            serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    };
    ([(CONTENT_TYPE, format.content_type())], body).into_response()
}

fn refuse(format: Format, refusal: &Refusal) -> Response {
    let status = refusal.rpc_status();
    let body = match format {
        Format::Protobuf => status.encode_to_vec(),
        Format::Json => serde_json::json!({"code": status.code, "message": status.message}).to_string().into_bytes(),
    };
    let mut response = (refusal.http_status(), [(CONTENT_TYPE, format.content_type())], body).into_response();
    if let Some(delay) = refusal.retry_after() {
        // Whole seconds, at least one: zero would invite a storm.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
    }
    debug_assert_ne!(response.status(), StatusCode::OK);
    response
}
