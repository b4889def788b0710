//! Tempo's API, as its clients and Grafana speak it. `docs/tempo.md` says what each endpoint takes and gives.
//!
//! A request over HTTP (`params`) or gRPC (`grpc`) becomes a message of tempopb; `search`, `metrics` and `tags` answer it with another; `respond`
//! writes that as JSON (`json`) or as protobuf. `trace` is apart: its answers are OTLP as it was stored.

mod error;
mod grpc;
mod json;
mod metrics;
mod params;
mod respond;
mod search;
mod tags;
mod tags_query;
mod trace;

pub use grpc::service;

use axum::{Json, Router, extract::FromRef, routing::get};

use crate::{lookup::Lookup, queries::Queries};

/// The version of Tempo whose API this is. Grafana asks for it to know what it may use.
const API_VERSION: &str = "3.0.0";

/// Answers what Tempo's clients ask. Cheap to clone.
#[derive(Clone)]
pub struct Tempo {
    /// Traces by id.
    pub lookup: Lookup,
    /// Everything else.
    pub queries: Queries,
}

impl FromRef<Tempo> for Lookup {
    fn from_ref(tempo: &Tempo) -> Self {
        tempo.lookup.clone()
    }
}

/// All of it.
pub fn router(tempo: Tempo) -> Router {
    Router::new()
        .route("/api/echo", get(async || "echo"))
        .route("/ready", get(async || "ready\n"))
        .route("/api/status/buildinfo", get(build_info))
        .route("/api/traces/{id}", get(trace::v1))
        .route("/api/v2/traces/{id}", get(trace::v2))
        .route("/api/search", get(search::over_http))
        .route("/api/search/tags", get(tags::names_v1))
        .route("/api/v2/search/tags", get(tags::names_v2))
        .route("/api/search/tag/{tag}/values", get(tags::values_v1))
        .route("/api/v2/search/tag/{tag}/values", get(tags::values_v2))
        .route("/api/metrics/query_range", get(metrics::range_over_http))
        .route("/api/metrics/query", get(metrics::instant_over_http))
        .with_state(tempo.clone())
        .merge(streaming(tempo))
}

/// What Grafana streams from: the same address as the rest, without the path.
pub fn streaming(tempo: Tempo) -> Router {
    Router::new().route_service(grpc::PATH, service(tempo))
}

async fn build_info() -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "version": API_VERSION,
        "revision": concat!("clew-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}
