//! `frontend`: what shoppers see. It keeps nothing and asks the others.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use futures_util::future::{join_all, try_join};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    client::{CallError, Client, Peer},
    goods::{ARTICLES, Confirmation, Done, Line, Order, Price, Stock},
    server::{Problem, route},
    telemetry::{Telemetry, set},
};

/// Whom it asks.
#[derive(Clone, Debug)]
pub(crate) struct Frontend {
    pub(crate) client: Client,
    pub(crate) cart: Peer,
    pub(crate) checkout: Peer,
    pub(crate) inventory: Peer,
    pub(crate) pricing: Peer,
}

/// What a shopper sees of an article.
#[derive(Debug, Serialize)]
struct View {
    stock: Stock,
    price: Price,
}

/// Something goes into a shopper's cart.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Addition {
    pub(crate) user: String,
    pub(crate) line: Line,
}

impl Frontend {
    /// What it serves.
    pub(crate) fn router(self, telemetry: &Telemetry) -> Router {
        Router::new()
            .merge(route(telemetry, "/", get(home)))
            .merge(route(telemetry, "/products/{sku}", get(product)))
            .merge(route(telemetry, "/cart", post(add)))
            .merge(route(telemetry, "/checkout", post(check_out)))
            .with_state(self)
    }

    async fn price(&self, sku: &str) -> Result<Price, CallError> {
        self.client.get(self.pricing, "/prices/{sku}", &format!("/prices/{sku}")).await
    }
}

/// The start page shows four articles with their prices, asked for all at once; one that has none is left out.
async fn home(State(frontend): State<Frontend>) -> Json<Vec<Price>> {
    let first = rand::random_range(0..ARTICLES.len());
    let shown = ARTICLES.iter().cycle().skip(first).take(4);
    let prices = join_all(shown.map(|article| frontend.price(article.sku))).await;
    Json(prices.into_iter().flatten().collect())
}

async fn product(State(frontend): State<Frontend>, Path(sku): Path<String>) -> Result<Json<View>, Problem> {
    let path = format!("/stock/{sku}");
    let stock = frontend.client.get(frontend.inventory, "/stock/{sku}", &path);
    let (stock, price) = try_join(stock, frontend.price(&sku)).await?;
    Ok(Json(View { stock, price }))
}

async fn add(State(frontend): State<Frontend>, Json(addition): Json<Addition>) -> Result<Json<Done>, Problem> {
    set("user.id", addition.user.clone());
    let path = format!("/carts/{}", addition.user);
    Ok(Json(frontend.client.post(frontend.cart, "/carts/{user}", &path, &addition.line).await?))
}

async fn check_out(
    State(frontend): State<Frontend>,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Confirmation>), Problem> {
    set("user.id", order.user.clone());
    let confirmation: Confirmation = frontend.client.post(frontend.checkout, "/orders", "/orders", &order).await?;
    Ok((StatusCode::CREATED, Json(confirmation)))
}
