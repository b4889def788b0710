//! `cart`: what shoppers have chosen, in a database with a cache before it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use parking_lot::Mutex;

use super::{
    cache::Cache,
    database::{Database, Statement},
    goods::{Cart, Done, Line},
    server::route,
    telemetry::{Telemetry, set},
};

const SELECT: Statement = Statement {
    summary: "SELECT cart_lines",
    operation: "SELECT",
    table: "cart_lines",
    text: "SELECT sku, quantity FROM cart_lines WHERE user_id = $1 ORDER BY added_at",
    typical: Duration::from_millis(4),
};

const INSERT: Statement = Statement {
    summary: "INSERT cart_lines",
    operation: "INSERT",
    table: "cart_lines",
    text: "INSERT INTO cart_lines (user_id, sku, quantity) VALUES ($1, $2, $3) ON CONFLICT (user_id, sku) DO UPDATE SET quantity = cart_lines.quantity + excluded.quantity",
    typical: Duration::from_millis(3),
};

const DELETE: Statement = Statement {
    summary: "DELETE cart_lines",
    operation: "DELETE",
    table: "cart_lines",
    text: "DELETE FROM cart_lines WHERE user_id = $1",
    typical: Duration::from_millis(3),
};

/// All carts.
#[derive(Clone, Debug)]
pub(crate) struct Carts {
    cache: Cache<Cart>,
    database: Database,
    /// What the database would hold.
    lines: Arc<Mutex<HashMap<String, Cart>>>,
}

impl Carts {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            cache: Cache::new(telemetry, "cart", Duration::from_secs(60)),
            database: Database::new(telemetry, "carts"),
            lines: Arc::default(),
        }
    }

    /// What it serves.
    pub(crate) fn router(self, telemetry: &Telemetry) -> Router {
        let handlers = get(show).post(add).delete(clear);
        route(telemetry, "/carts/{user}", handlers).with_state(self)
    }
}

async fn show(State(carts): State<Carts>, Path(user): Path<String>) -> Json<Cart> {
    let cart = match carts.cache.get(&user).await {
        Some(cart) => cart,
        None => {
            let cart = carts.lines.lock().get(&user).cloned().unwrap_or_default();
            carts.database.run(SELECT, cart.lines.len() as i64).await;
            carts.cache.set(&user, cart.clone()).await;
            cart
        }
    };
    set("shop.cart.lines", cart.lines.len() as i64);
    Json(cart)
}

async fn add(State(carts): State<Carts>, Path(user): Path<String>, Json(line): Json<Line>) -> Json<Done> {
    carts.database.run(INSERT, 1).await;
    {
        let mut all = carts.lines.lock();
        let lines = &mut all.entry(user.clone()).or_default().lines;
        match lines.iter_mut().find(|known| known.sku == line.sku) {
            Some(known) => known.quantity = known.quantity.saturating_add(line.quantity),
            None => lines.push(line),
        }
    }
    // The next reader fills the cache.
    carts.cache.delete(&user).await;
    Json(Done {})
}

async fn clear(State(carts): State<Carts>, Path(user): Path<String>) -> Json<Done> {
    carts.lines.lock().remove(&user);
    // Neither needs the other.
    tokio::join!(carts.database.run(DELETE, 1), carts.cache.delete(&user));
    Json(Done {})
}
