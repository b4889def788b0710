//! `inventory`: what is in the warehouse. Reservations take turns, so a slow one makes others slow.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use http::StatusCode;
use opentelemetry::{KeyValue, trace::SpanKind};
use tokio::{sync::Mutex, time::Instant};

use super::{
    database::{Database, Statement},
    exception,
    goods::{ARTICLES, Article, Line, Reservation, Stock, article_of},
    server::{Problem, route},
    telemetry::{self, Telemetry, event, set},
};

/// Pieces of each article after a delivery.
const FULL: u32 = 400;

const SELECT: Statement = Statement {
    summary: "SELECT stock",
    operation: "SELECT",
    table: "stock",
    text: "SELECT pieces FROM stock WHERE sku = $1",
    typical: Duration::from_millis(3),
};

const SELECT_FOR_UPDATE: Statement = Statement {
    text: "SELECT pieces FROM stock WHERE sku = $1 FOR UPDATE",
    typical: Duration::from_millis(4),
    ..SELECT
};

const SELECT_NUMBERED: Statement = Statement {
    summary: "SELECT serial_numbers",
    operation: "SELECT",
    table: "serial_numbers",
    text: "SELECT number FROM serial_numbers WHERE lower(sku) = lower($1) AND reserved_by IS NULL ORDER BY random() LIMIT 1",
    typical: Duration::from_millis(1_500),
};

const UPDATE: Statement = Statement {
    summary: "UPDATE stock",
    operation: "UPDATE",
    table: "stock",
    text: "UPDATE stock SET pieces = pieces - $2 WHERE sku = $1",
    typical: Duration::from_millis(5),
};

/// There are not enough pieces.
#[derive(Debug, thiserror::Error)]
#[error("only {pieces} of {sku} are left, {wanted} were wanted")]
struct SoldOut {
    sku: &'static str,
    pieces: u32,
    wanted: u32,
}

/// The warehouse.
#[derive(Clone, Debug)]
pub(crate) struct Warehouse {
    telemetry: Telemetry,
    database: Database,
    /// What the database would hold, and the lock that it would have on it.
    pieces: Arc<Mutex<HashMap<&'static str, u32>>>,
}

impl Warehouse {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let pieces = ARTICLES.iter().map(|article| (article.sku, FULL)).collect();
        Self {
            telemetry: telemetry.clone(),
            database: Database::new(telemetry, "inventory"),
            pieces: Arc::new(Mutex::new(pieces)),
        }
    }

    /// What it serves.
    pub(crate) fn router(self) -> Router {
        let telemetry = self.telemetry.clone();
        Router::new()
            .merge(route(&telemetry, "/stock/{sku}", get(stock)))
            .merge(route(&telemetry, "/reservations", post(reserve)))
            .with_state(self)
    }

    async fn take(
        &self,
        pieces: &mut HashMap<&'static str, u32>,
        article: &'static Article,
        wanted: u32,
    ) -> Result<(), SoldOut> {
        let there = pieces.get(article.sku).copied().unwrap_or(0);
        self.database.run(SELECT_FOR_UPDATE, 1).await;
        if article.numbered {
            self.database.run(SELECT_NUMBERED, 1).await;
        }
        let left = there.checked_sub(wanted).ok_or(SoldOut { sku: article.sku, pieces: there, wanted })?;
        self.database.run(UPDATE, 1).await;
        // The van comes when few are left.
        pieces.insert(article.sku, if left < FULL / 10 { FULL } else { left });
        Ok(())
    }
}

fn known(sku: &str) -> Result<&'static Article, Problem> {
    article_of(sku).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("no article {sku}")))
}

async fn stock(State(warehouse): State<Warehouse>, Path(sku): Path<String>) -> Result<Json<Stock>, Problem> {
    let article = known(&sku)?;
    warehouse.database.run(SELECT, 1).await;
    // Readers need not wait for reservations.
    let pieces = warehouse.pieces.try_lock().ok().and_then(|pieces| pieces.get(article.sku).copied());
    Ok(Json(Stock { sku, pieces: pieces.unwrap_or(1) }))
}

async fn reserve(
    State(warehouse): State<Warehouse>,
    Json(reservation): Json<Reservation>,
) -> Result<Json<Reservation>, Problem> {
    set("shop.order.id", reservation.order.clone());
    let wanted = reservation.lines.iter().map(|Line { sku, quantity }| Ok((known(sku)?, *quantity)));
    let wanted = wanted.collect::<Result<Vec<_>, Problem>>()?;

    let asked = Instant::now();
    let span = telemetry::span("lock warehouse", SpanKind::Internal, []);
    let mut pieces = warehouse
        .telemetry
        .within(span, async {
            let pieces = warehouse.pieces.lock().await;
            event("lock acquired", [KeyValue::new("shop.lock.waited_ms", asked.elapsed().as_millis() as i64)]);
            pieces
        })
        .await;
    warehouse.database.transaction("BEGIN").await;
    for (article, quantity) in wanted {
        if let Err(error) = warehouse.take(&mut pieces, article, quantity).await {
            exception::record(&error);
            warehouse.database.transaction("ROLLBACK").await;
            return Err(Problem::new(StatusCode::CONFLICT, error));
        }
    }
    warehouse.database.transaction("COMMIT").await;
    Ok(Json(reservation))
}
