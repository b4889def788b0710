//! Jaeger's HTTP API, as its UI and its clients speak it. `docs/jaeger.md` says what each endpoint takes and gives.
//!
//! `params` reads a request, `condition` makes TraceQL of what it looks for; `find` gives traces and `names` services and operations; `metrics` is
//! what Jaeger calls service performance monitoring. `trace` and `tag` turn OTLP into Jaeger's model, `answer` is the form of all answers.

mod answer;
mod condition;
mod find;
mod metrics;
mod names;
mod params;
mod tag;
mod trace;

use axum::{
    Router,
    routing::{get, post},
};
use clew_common::ids::Tenant;
use http::HeaderMap;

use self::answer::Refused;
use crate::{lookup::Lookup, queries::Queries};

/// Answers what Jaeger's clients ask. Cheap to clone.
#[derive(Clone)]
pub struct Jaeger {
    /// Traces by id.
    pub lookup: Lookup,
    /// Everything else.
    pub queries: Queries,
}

/// All of it.
pub fn router(jaeger: Jaeger) -> Router {
    Router::new()
        .route("/api/services", get(names::services))
        .route("/api/services/{service}/operations", get(names::operations_of))
        .route("/api/operations", get(names::operations))
        .route("/api/traces", get(find::traces))
        .route("/api/traces/{id}", get(find::trace))
        .route("/api/dependencies", get(names::dependencies))
        .route("/api/archive/{id}", post(find::archive))
        .route("/api/metrics/minstep", get(metrics::min_step))
        .route("/api/metrics/{name}", get(metrics::metrics))
        .with_state(jaeger)
}

fn tenant(headers: &HeaderMap) -> Result<Tenant, Refused> {
    Tenant::from_headers(headers).map_err(|error| Refused::invalid(error.to_string()))
}
