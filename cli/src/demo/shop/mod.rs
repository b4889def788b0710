//! A small shop of seven services, instrumented with the OpenTelemetry SDK as any program would be: each has its own
//! tracer, resource and exporter, and they call each other over loopback with the trace context in the headers.
//!
//! ```text
//! shopper -> frontend -+-> cart -> (redis, postgres)
//!                      +-> pricing -> (redis, postgres)
//!                      +-> inventory -> (postgres)
//!                      +-> checkout -+-> cart, pricing, inventory
//!                                    +-> payment (gRPC) -> the bank, which is not instrumented
//!                                    +-> mail (by a queue)
//! ```

mod bank;
mod cart;
mod checkout;
mod frontend;
mod goods;
mod inventory;
mod mail;
mod payment;
mod pricing;

mod cache;
mod client;
mod database;
mod exception;
mod exporter;
mod propagation;
mod queue;
mod rpc;
mod server;
mod telemetry;

use std::net::SocketAddr;

use axum::Router;
use clew_common::{
    server::{self as http_server, Limits, Metrics},
    shutdown::{self, Drain, Stopper},
};
use tokio::{net::TcpListener, task::JoinSet};

use self::{
    cart::Carts,
    checkout::Checkout,
    client::{Client, Peer},
    frontend::Frontend,
    inventory::Warehouse,
    mail::Mailer,
    payment::Payments,
    pricing::Prices,
    rpc::Caller,
};

pub(crate) use self::{
    bank::{DOWN_CARD, EMPTY_CARD, FLAKY_CARD, GOOD_CARD},
    exporter::Sent,
    frontend::Addition,
    goods::{ARTICLES, Article, Line, Order},
    propagation::trace_id,
    telemetry::{Destination, Telemetry},
};

/// The shop, open.
#[derive(Debug)]
pub(crate) struct Shop {
    /// Where shoppers go.
    pub(crate) frontend: SocketAddr,
    services: Vec<Telemetry>,
    stopper: Stopper,
    tasks: JoinSet<()>,
}

impl Shop {
    /// Opens it, on ports that the system gives. Spans go to `destination`.
    ///
    /// # Errors
    /// When there is no port or the destination is no endpoint.
    pub(crate) async fn open(destination: &Destination) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(exception::prepare);
        let start = |service, version| Telemetry::start(service, version, destination);
        let frontend = start("frontend", "2.14.0")?;
        let cart = start("cart", "1.8.3")?;
        let checkout = start("checkout", "3.1.0")?;
        let inventory = start("inventory", "0.9.12")?;
        let pricing = start("pricing", "5.0.1")?;
        let payment = start("payment", "2.2.7")?;
        let mail = start("mail", "1.0.4")?;

        let (frontend_port, Peer { address: frontend_address, .. }) = listen("frontend").await?;
        let (cart_port, cart_peer) = listen("cart").await?;
        let (checkout_port, checkout_peer) = listen("checkout").await?;
        let (inventory_port, inventory_peer) = listen("inventory").await?;
        let (pricing_port, pricing_peer) = listen("pricing").await?;
        let (payment_port, payment_peer) = listen("payment").await?;
        let (bank_port, bank_peer) = listen("the bank").await?;

        let (mails, mails_received) = queue::channel("order-mails", &checkout, &mail);
        let (stopper, drain) = shutdown::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(Mailer { telemetry: mail.clone(), mails: mails_received }.run());
        let mut serve = |port, router| tasks.spawn(serve(port, router, drain.clone()));
        serve(bank_port, bank::router());
        let payments = Payments { telemetry: payment.clone(), client: Client::new(&payment)?, bank: bank_peer };
        serve(payment_port, payments.router());
        serve(pricing_port, Prices::new(&pricing).router());
        serve(inventory_port, Warehouse::new(&inventory).router());
        serve(cart_port, Carts::new(&cart).router(&cart));
        let desk = Checkout {
            client: Client::new(&checkout)?,
            cart: cart_peer,
            inventory: inventory_peer,
            pricing: pricing_peer,
            payment: Caller::new(&checkout, payment_peer.address)?,
            mails,
        };
        serve(checkout_port, desk.router(&checkout));
        let window = Frontend {
            client: Client::new(&frontend)?,
            cart: cart_peer,
            checkout: checkout_peer,
            inventory: inventory_peer,
            pricing: pricing_peer,
        };
        serve(frontend_port, window.router(&frontend));

        let services = vec![frontend, cart, checkout, inventory, pricing, payment, mail];
        Ok(Self { frontend: frontend_address, services, stopper, tasks })
    }

    /// The names of its services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'static str> {
        self.services.iter().map(Telemetry::service)
    }

    /// Finishes what was begun, then sends the last spans. When `drain` hurries, only the latter.
    pub(crate) async fn close(mut self, drain: &Drain) {
        self.stopper.drain();
        tokio::select! {
            biased;
            () = async { while self.tasks.join_next().await.is_some() {} } => {}
            () = drain.hurried() => self.tasks.abort_all(),
        }
        let mut closing = JoinSet::new();
        for service in self.services {
            closing.spawn_blocking(move || service.close());
        }
        closing.join_all().await;
    }
}

async fn listen(name: &'static str) -> std::io::Result<(TcpListener, Peer)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, Peer { name, address }))
}

async fn serve(port: TcpListener, router: Router, drain: Drain) {
    http_server::serve(port, router, Limits::default(), Metrics::default(), drain).await;
}
