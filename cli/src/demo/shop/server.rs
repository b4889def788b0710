//! HTTP servers whose requests are spans.

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use http::{StatusCode, header::HOST};
use opentelemetry::{
    KeyValue,
    trace::{SpanKind, Status, TraceContextExt},
};
use serde::{Deserialize, Serialize};

use super::{
    propagation::{self, TRACE_RESPONSE},
    telemetry::{self, Telemetry},
};

/// Why a request is not done, as the caller sees it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// Its body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProblemBody {
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl ToString) -> Self {
        Self { status, message: message.to_string() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(ProblemBody { message: self.message })).into_response()
    }
}

#[derive(Clone)]
struct Route {
    telemetry: Telemetry,
    template: &'static str,
}

/// A route whose requests are spans of the service.
pub(crate) fn route<S: Clone + Send + Sync + 'static>(
    telemetry: &Telemetry,
    template: &'static str,
    handler: MethodRouter<S>,
) -> Router<S> {
    let route = Route { telemetry: telemetry.clone(), template };
    Router::new().route(template, handler.layer(middleware::from_fn_with_state(route, serve)))
}

async fn serve(State(Route { telemetry, template }): State<Route>, request: Request, next: Next) -> Response {
    let name = format!("{} {template}", request.method());
    let span = telemetry::span(name, SpanKind::Server, attributes(&request, template));
    let context = telemetry.begin_under(&propagation::from_headers(request.headers()), span);

    let traced = context.clone();
    telemetry::run(context, async {
        let mut response = next.run(request).await;
        let (span, status) = (traced.span(), response.status());
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
        if let Some(value) = propagation::trace_response(&traced) {
            response.headers_mut().insert(TRACE_RESPONSE, value);
        }
        response
    })
    .await
}

fn attributes(request: &Request, template: &'static str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", request.method().to_string()),
        KeyValue::new("http.route", template),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("network.protocol.name", "http"),
        KeyValue::new("network.protocol.version", format!("{:?}", request.version()).replace("HTTP/", "")),
    ];
    if let Some(query) = request.uri().query() {
        attributes.push(KeyValue::new("url.query", query.to_owned()));
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some((address, port)) = header(HOST.as_str()).and_then(|host| host.rsplit_once(':')) {
        attributes.push(KeyValue::new("server.address", address.to_owned()));
        attributes.push(KeyValue::new("server.port", port.parse::<i64>().unwrap_or_default()));
    }
    if let Some(agent) = header("user-agent") {
        attributes.push(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    attributes
}
