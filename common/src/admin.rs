//! The admin port: is the process alive, does it serve, what does it count, how is it configured.

use std::sync::Arc;

use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// What is counted.
    pub registry: Arc<Registry>,
    /// The configuration in force, as TOML, secrets blanked.
    pub config: String,
    /// Why the process does not serve; None when it does.
    pub unready: watch::Receiver<Option<String>>,
}

/// `/live`, `/ready`, `/metrics` and `/config`.
pub fn router(admin: Admin) -> Router {
    let Admin { registry, config, unready } = admin;
    Router::new()
        .route("/live", get(async || "live\n"))
        .route(
            "/ready",
            get(async move || match &*unready.borrow() {
                None => (StatusCode::OK, "ready\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                let mut text = String::new();
                let status = match prometheus_client::encoding::text::encode(&mut text, &registry) {
                    Ok(()) => StatusCode::OK,
                    Err(std::fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            }),
        )
        .route("/config", get(async move || ([(CONTENT_TYPE, "text/plain; charset=utf-8")], config)))
}
