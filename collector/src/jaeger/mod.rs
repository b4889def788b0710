//! Jaeger's APIs, as its UI, its clients and Jaeger itself speak them. `docs/jaeger.md` says what each endpoint takes and gives.
//!
//! A question comes over HTTP (`find`, `names` and `metrics` for /api, `v3` for /api/v3; `params` reads a request) or gRPC (`grpc`). `search`
//! is what all of them search by and read traces with, `condition` makes TraceQL of it; `names` has services, operations and calls between
//! services. `model` and `tag` read OTLP as Jaeger's model, `json` writes that, `pretty` on several lines; `summary` counts. `answer` and
//! `refused` are the form of answers and errors.

mod answer;
mod condition;
mod find;
pub mod grpc;
mod json;
mod metrics;
mod model;
mod names;
mod params;
mod pretty;
mod refused;
mod search;
mod summary;
mod tag;
mod v3;

use axum::{
    Router,
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{Method, Uri};

use self::refused::Refused;

use crate::{lookup::Lookup, queries::Queries};

/// Answers what Jaeger's clients ask. Cheap to clone.
#[derive(Clone)]
pub struct Jaeger {
    /// Traces by id.
    pub lookup: Lookup,
    /// Everything else.
    pub queries: Queries,
}

/// All of it that comes over HTTP.
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
        .route("/api/v3/services", get(v3::services))
        .route("/api/v3/operations", get(v3::operations))
        .route("/api/v3/traces", get(v3::traces).post(v3::find_traces))
        .route("/api/v3/traces/{id}", get(v3::trace))
        .route("/api/v3/trace-summaries", get(v3::summaries).post(v3::find_summaries))
        .route("/api/v3/dependencies", get(v3::dependencies))
        .route("/api/v3/capabilities", get(v3::capabilities))
        .method_not_allowed_fallback(not_so)
        // Not a fallback: the port has other paths too.
        .route("/api", any(no_such_path))
        .route("/api/", any(no_such_path))
        .route("/api/{*rest}", any(no_such_path))
        .layer(from_fn(pretty::pretty))
        .with_state(jaeger)
}

async fn no_such_path(uri: Uri) -> Response {
    refused(
        &uri,
        Refused::NoSuchPath(format!("there is nothing at {}; docs/jaeger.md lists what there is", uri.path())),
    )
}

async fn not_so(method: Method, uri: Uri) -> Response {
    refused(&uri, Refused::NotSo(format!("{} does not take {method}", uri.path())))
}

/// In the form of the API that was asked.
fn refused(uri: &Uri, why: Refused) -> Response {
    match uri.path().strip_prefix("/api/v3") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => v3::NoAnswer::from(why).into_response(),
        _ => why.into_response(),
    }
}
