//! `checkout`: makes an order of a cart, with the help of all others.

use axum::{Json, Router, extract::State, routing::post};
use futures_util::future::try_join_all;
use http::StatusCode;
use tonic::Code;

use super::{
    client::{Client, Peer},
    exception,
    goods::{Cart, Confirmation, Done, Order, Price, Reservation},
    mail::Mail,
    payment::{CHARGE, Charge, Receipt},
    queue::Producer,
    rpc::Caller,
    server::{Problem, route},
    telemetry::{Telemetry, set},
};

/// There is no order.
#[derive(Debug, thiserror::Error)]
#[error("order {order} was not paid: {reason}")]
struct NotPaid {
    order: String,
    reason: String,
}

/// Whom it asks.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    pub(crate) client: Client,
    pub(crate) cart: Peer,
    pub(crate) inventory: Peer,
    pub(crate) pricing: Peer,
    pub(crate) payment: Caller,
    pub(crate) mails: Producer<Mail>,
}

impl Checkout {
    /// What it serves.
    pub(crate) fn router(self, telemetry: &Telemetry) -> Router {
        route(telemetry, "/orders", post(order)).with_state(self)
    }

    /// What all is worth; each article's price is asked at the same time.
    async fn total(&self, cart: &Cart) -> Result<i64, Problem> {
        let prices = cart.lines.iter().map(async |line| {
            let path = format!("/prices/{}", line.sku);
            let price: Price = self.client.get(self.pricing, "/prices/{sku}", &path).await?;
            Ok::<_, Problem>(price.cents * i64::from(line.quantity))
        });
        Ok(try_join_all(prices).await?.into_iter().sum())
    }

    async fn charge(&self, order: &str, card: String, cents: i64) -> Result<Receipt, Problem> {
        let charge = Charge { order: order.to_owned(), card, cents };
        self.payment.call(CHARGE, charge).await.map_err(|status| {
            let error = NotPaid { order: order.to_owned(), reason: status.message().to_owned() };
            exception::record(&error);
            let status = match status.code() {
                Code::FailedPrecondition => StatusCode::PAYMENT_REQUIRED,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            Problem::new(status, error)
        })
    }
}

async fn order(State(checkout): State<Checkout>, Json(order): Json<Order>) -> Result<Json<Confirmation>, Problem> {
    let id = format!("A-{:08}", rand::random_range(0..100_000_000));
    set("shop.order.id", id.clone());
    set("user.id", order.user.clone());
    let path = format!("/carts/{}", order.user);
    let cart: Cart = checkout.client.get(checkout.cart, "/carts/{user}", &path).await?;
    if cart.lines.is_empty() {
        return Err(Problem::new(StatusCode::CONFLICT, "the cart is empty"));
    }
    let cents = checkout.total(&cart).await?;
    set("shop.order.cents", cents);
    let reservation = Reservation { order: id.clone(), lines: cart.lines };
    let _: Reservation =
        checkout.client.post(checkout.inventory, "/reservations", "/reservations", &reservation).await?;
    let Receipt { authorisation } = checkout.charge(&id, order.card, cents).await?;
    set("shop.payment.authorisation", authorisation);

    let mail = Mail { to: order.user, order: id.clone(), cents };
    let (cleared, sent) = tokio::join!(
        checkout.client.delete::<Done>(checkout.cart, "/carts/{user}", &path),
        checkout.mails.send(format!("mail-{id}"), mail),
    );
    // The order stands without a mail, but the failure is to be seen.
    if let Err(error) = sent {
        exception::record(&error);
    }
    cleared?;
    Ok(Json(Confirmation { order: id, cents }))
}
