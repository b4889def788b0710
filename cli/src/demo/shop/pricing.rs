//! `pricing`: what things cost, from a cache that forgets soon.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use http::StatusCode;
use opentelemetry::{KeyValue, trace::SpanKind};

use super::{
    cache::Cache,
    database::{Database, Statement, work},
    goods::{Price, article_of},
    server::{Problem, route},
    telemetry::{self, Telemetry, event},
};

const SELECT: Statement = Statement {
    summary: "SELECT prices",
    operation: "SELECT",
    table: "prices",
    text: "SELECT cents, currency FROM prices WHERE sku = $1 AND valid_from <= now() ORDER BY valid_from DESC LIMIT 1",
    typical: Duration::from_millis(6),
};

/// All prices.
#[derive(Clone, Debug)]
pub(crate) struct Prices {
    telemetry: Telemetry,
    cache: Cache<i64>,
    database: Database,
}

impl Prices {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            telemetry: telemetry.clone(),
            cache: Cache::new(telemetry, "price", Duration::from_secs(10)),
            database: Database::new(telemetry, "pricing"),
        }
    }

    /// What it serves.
    pub(crate) fn router(self) -> Router {
        let telemetry = self.telemetry.clone();
        route(&telemetry, "/prices/{sku}", get(price)).with_state(self)
    }
}

async fn price(State(prices): State<Prices>, Path(sku): Path<String>) -> Result<Json<Price>, Problem> {
    let article = article_of(&sku).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("no article {sku}")))?;
    let cents = match prices.cache.get(&sku).await {
        Some(cents) => cents,
        None => {
            prices.database.run(SELECT, 1).await;
            prices.cache.set(&sku, article.cents).await;
            article.cents
        }
    };
    let span = telemetry::span("apply discounts", SpanKind::Internal, [KeyValue::new("shop.price.cents", cents)]);
    let cents = prices.telemetry.within(span, async {
        work(Duration::from_micros(300)).await;
        // Books are cheaper this week.
        if !sku.starts_with("book-") {
            return cents;
        }
        event("discount applied", [KeyValue::new("shop.discount.percent", 10)]);
        cents * 9 / 10
    });
    Ok(Json(Price { cents: cents.await, sku }))
}
