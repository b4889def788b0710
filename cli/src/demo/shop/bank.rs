//! A bank on the other side of the network. It is not ours: it makes no spans and does not know of traces.

use std::time::Duration;

use axum::{Json, Router, routing::post};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{database::work, server::Problem};

/// A card that is good.
pub(crate) const GOOD_CARD: &str = "4242424242424242";
/// A card without money behind it.
pub(crate) const EMPTY_CARD: &str = "4000000000009995";
/// A card of a bank whose gateway answers the second time it is asked.
pub(crate) const FLAKY_CARD: &str = "4000000000000119";
/// A card of a bank whose gateway is down.
pub(crate) const DOWN_CARD: &str = "4000000000000127";

/// Where the bank is asked.
pub(crate) const PATH: &str = "/v2/authorisations";

/// May this be paid?
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) card: String,
    pub(crate) cents: i64,
    /// Counts from 0.
    pub(crate) attempt: u32,
}

/// It may.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Authorisation {
    pub(crate) code: String,
}

/// What the bank serves.
pub(crate) fn router() -> Router {
    Router::new().route(PATH, post(authorise))
}

async fn authorise(Json(question): Json<Question>) -> Result<Json<Authorisation>, Problem> {
    work(Duration::from_millis(45)).await;
    match question.card.as_str() {
        DOWN_CARD => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway is overloaded")),
        FLAKY_CARD if question.attempt == 0 => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway is overloaded"))
        }
        EMPTY_CARD => Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "insufficient funds")),
        _ => Ok(Json(Authorisation { code: format!("{:06}", rand::random_range(0..1_000_000)) })),
    }
}
