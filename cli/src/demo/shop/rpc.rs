//! gRPC whose calls are spans, on both sides.

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::{Router, body::Body, extract::Request, response::IntoResponse, routing::post};
use http::uri::PathAndQuery;
use opentelemetry::{
    KeyValue,
    trace::{SpanKind, Status as SpanStatus, TraceContextExt},
};
use prost::Message;
use tonic::{
    Code, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    propagation,
    telemetry::{self, Telemetry},
};

/// A caller waits this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A method that is served at `path`, `/package.Service/Method`.
pub(crate) fn method<Q, A, F>(
    telemetry: &Telemetry,
    path: &'static str,
    handler: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> Router
where
    Q: Message + Default + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let telemetry = telemetry.clone();
    let serve = move |request: Request| {
        let (telemetry, handler) = (telemetry.clone(), handler.clone());
        async move {
            let context = telemetry.begin_under(
                &propagation::from_headers(request.headers()),
                telemetry::span(&path[1..], SpanKind::Server, attributes(path)),
            );
            let service = tower::service_fn(move |request: tonic::Request<Q>| {
                let (context, answer) = (context.clone(), handler(request.into_inner()));
                telemetry::run(context.clone(), async move {
                    let answer = answer.await;
                    let status = answer.as_ref().err().map_or(Code::Ok, Status::code);
                    // Codes that tell of a fault of the server, not of the request.
                    let failed = matches!(
                        status,
                        Code::Unknown
                            | Code::DeadlineExceeded
                            | Code::Unimplemented
                            | Code::Internal
                            | Code::Unavailable
                            | Code::DataLoss
                    );
                    finish(&context, answer.as_ref().err(), failed);
                    answer.map(tonic::Response::new)
                })
            });
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default());
            grpc.unary(service, request).await.map(Body::new).into_response()
        }
    };
    Router::new().route(path, post(serve))
}

/// Calls a service in the name of another. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    address: SocketAddr,
    channel: Channel,
    telemetry: Telemetry,
}

impl Caller {
    /// One that connects when it is first used.
    ///
    /// # Errors
    /// When there is no such address.
    pub(crate) fn new(telemetry: &Telemetry, address: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::try_from(format!("http://{address}"))?.timeout(TIMEOUT).connect_lazy();
        Ok(Self { address, channel, telemetry: telemetry.clone() })
    }

    /// Calls the method at `path`.
    ///
    /// # Errors
    /// The status that the other side answered, or one for why it did not.
    pub(crate) async fn call<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + Default + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let peer = [
            KeyValue::new("server.address", self.address.ip().to_string()),
            KeyValue::new("server.port", i64::from(self.address.port())),
        ];
        let span = telemetry::span(&path[1..], SpanKind::Client, attributes(path).into_iter().chain(peer));
        let context = self.telemetry.begin(span);
        let metadata: MetadataMap = propagation::to_metadata(&context);
        telemetry::run(context.clone(), async {
            let mut grpc = tonic::client::Grpc::new(self.channel.clone());
            let ready = grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()));
            let answer = match ready {
                Ok(()) => {
                    let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), question);
                    grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::<Q, A>::default()).await
                }
                Err(status) => Err(status),
            };
            finish(&context, answer.as_ref().err(), answer.is_err());
            answer.map(tonic::Response::into_inner)
        })
        .await
    }
}

fn attributes(path: &'static str) -> [KeyValue; 2] {
    [KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", &path[1..])]
}

fn finish(context: &opentelemetry::Context, error: Option<&Status>, failed: bool) {
    let span = context.span();
    let code = name(error.map_or(Code::Ok, Status::code));
    span.set_attribute(KeyValue::new("rpc.response.status_code", code));
    if failed {
        span.set_attribute(KeyValue::new("error.type", code));
        span.set_status(SpanStatus::error(error.map(|status| status.message().to_owned()).unwrap_or_default()));
    }
}

/// The code as the specification of gRPC spells it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
