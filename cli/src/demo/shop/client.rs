//! HTTP clients whose requests are spans.

use std::{net::SocketAddr, time::Duration};

use http::{Method, StatusCode};
use opentelemetry::{
    KeyValue,
    trace::{SpanKind, Status, TraceContextExt},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    propagation,
    server::{Problem, ProblemBody},
    telemetry::{self, Telemetry},
};

/// A service waits this long for another.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Another service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The other service said no.
    #[error("{peer} answered {status}: {message}")]
    Refused { peer: &'static str, status: StatusCode, message: String },
    /// It did not say anything that makes sense.
    #[error("{peer} did not answer")]
    Failed { peer: &'static str, source: reqwest::Error },
}

impl CallError {
    /// The status that was answered.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Failed { .. } => None,
        }
    }
}

/// What the caller's caller is told: the other service's own status where it makes sense there too.
impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let status = match error.status() {
            Some(status) if status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE => status,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error)
    }
}

/// Calls others in the name of one service.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    telemetry: Telemetry,
}

impl Client {
    /// One for the service of `telemetry`.
    ///
    /// # Errors
    /// When the system gives no random numbers or the like.
    pub(crate) fn new(telemetry: &Telemetry) -> reqwest::Result<Self> {
        let agent = format!("{}/1.0", telemetry.service());
        let http = reqwest::Client::builder().no_proxy().user_agent(agent).timeout(TIMEOUT).build()?;
        Ok(Self { http, telemetry: telemetry.clone() })
    }

    /// GET of `path`, which `template` describes for the span's name.
    ///
    /// # Errors
    /// When the answer is not a success.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        peer: Peer,
        template: &'static str,
        path: &str,
    ) -> Result<T, CallError> {
        self.call(Method::GET, peer, template, path, None::<&()>, 0).await
    }

    /// POST of `body`.
    ///
    /// # Errors
    /// When the answer is not a success.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        peer: Peer,
        template: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(Method::POST, peer, template, path, Some(body), 0).await
    }

    /// The same again: `resend` counts from 1.
    ///
    /// # Errors
    /// When the answer is not a success.
    pub(crate) async fn post_again<T: DeserializeOwned>(
        &self,
        peer: Peer,
        path: &'static str,
        body: &impl Serialize,
        resend: u32,
    ) -> Result<T, CallError> {
        self.call(Method::POST, peer, path, path, Some(body), resend).await
    }

    /// DELETE of `path`.
    ///
    /// # Errors
    /// When the answer is not a success.
    pub(crate) async fn delete<T: DeserializeOwned>(
        &self,
        peer: Peer,
        template: &'static str,
        path: &str,
    ) -> Result<T, CallError> {
        self.call(Method::DELETE, peer, template, path, None::<&()>, 0).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        peer: Peer,
        template: &'static str,
        path: &str,
        body: Option<&impl Serialize>,
        resend: u32,
    ) -> Result<T, CallError> {
        let url = format!("http://{}{path}", peer.address);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("url.full", url.clone()),
            KeyValue::new("url.template", template),
            KeyValue::new("server.address", peer.address.ip().to_string()),
            KeyValue::new("server.port", i64::from(peer.address.port())),
        ];
        if resend > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", i64::from(resend)));
        }
        let context =
            self.telemetry.begin(telemetry::span(format!("{method} {template}"), SpanKind::Client, attributes));
        let mut request = self.http.request(method, url).headers(propagation::to_headers(&context));
        if let Some(body) = body {
            request = request.json(body);
        }
        let traced = context.clone();
        telemetry::run(context, async {
            let answer = receive(peer, request).await;
            let span = traced.span();
            let status = answer.as_ref().map_or_else(CallError::status, |(status, _)| Some(*status));
            if let Some(status) = status {
                span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            }
            if let Err(error) = &answer {
                let kind = status.map_or_else(|| "reqwest::Error".to_owned(), |status| status.as_str().to_owned());
                span.set_attribute(KeyValue::new("error.type", kind));
                span.set_status(Status::error(error.to_string()));
            }
            answer.map(|(_, body)| body)
        })
        .await
    }
}

async fn receive<T: DeserializeOwned>(
    peer: Peer,
    request: reqwest::RequestBuilder,
) -> Result<(StatusCode, T), CallError> {
    let failed = |source| CallError::Failed { peer: peer.name, source };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        return Ok((status, response.json().await.map_err(failed)?));
    }
    let message = response.json::<ProblemBody>().await.map_or_else(|_| String::new(), |body| body.message);
    Err(CallError::Refused { peer: peer.name, status, message })
}
