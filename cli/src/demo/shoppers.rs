//! Simulated shoppers: each visit is a few requests to the shop's frontend, some end with an order.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clew_common::shutdown::Drain;
use http::{Method, StatusCode};
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinSet};

use super::shop::{ARTICLES, Addition, Article, DOWN_CARD, EMPTY_CARD, FLAKY_CARD, GOOD_CARD, Line, Order, trace_id};

/// Requests of a visit, on average.
const REQUESTS_PER_VISIT: f64 = 4.0;

/// Visits at once. A shop that cannot keep up gets no more of them.
const MAX_VISITS: usize = 500;

/// Shoppers there are.
const SHOPPERS: u64 = 1_000;

/// The slow order comes this often, whatever the rate: it blocks others, and more of it would stop the shop.
const SLOW_ORDER_EVERY: Duration = Duration::from_secs(12);

/// What the shoppers did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// Requests that were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Those of them that were not done.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What is worth a look about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ordinary,
    Failed,
    Slow,
}

/// An order was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) kind: Kind,
    pub(crate) trace_id: [u8; 16],
}

/// What a shopper comes for.
#[derive(Clone, Copy, Debug)]
enum Plan {
    Look,
    Buy { card: &'static str, numbered: bool },
}

/// All shoppers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shoppers {
    frontend: SocketAddr,
    http: reqwest::Client,
    counts: Arc<Counts>,
    sightings: mpsc::Sender<Sighting>,
}

impl Shoppers {
    /// Shoppers of the shop behind `frontend`. They tell about their orders while somebody listens.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(
        frontend: SocketAddr,
        counts: Arc<Counts>,
        sightings: mpsc::Sender<Sighting>,
    ) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .user_agent("Mozilla/5.0 (X11; Linux x86_64) Shopper/1.0")
            .timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { frontend, http, counts, sightings })
    }

    /// Makes about `rate` requests a second until `drain` begins; returns when the last shopper has gone.
    pub(crate) async fn run(self, rate: f64, drain: Drain) {
        let between = Duration::from_secs_f64(REQUESTS_PER_VISIT / rate);
        let mut visits = JoinSet::new();
        let mut slow_order = Instant::now();
        for number in 0.. {
            let plan = plan(number, &mut slow_order);
            if visits.len() < MAX_VISITS {
                let (shopper, drain) = (self.clone(), drain.clone());
                visits.spawn(async move { shopper.visit(number, plan, &drain).await });
            }
            // The first three show at once what there is to see.
            let pause =
                if number < 2 { Duration::from_millis(200) } else { between.mul_f64(rand::random_range(0.5..1.5)) };
            tokio::select! {
                biased;
                () = drain.begun() => break,
                () = tokio::time::sleep(pause) => {}
            }
            while visits.try_join_next().is_some() {}
        }
        tokio::select! {
            biased;
            () = async { while visits.join_next().await.is_some() {} } => {}
            () = drain.hurried() => {}
        }
    }

    async fn visit(&self, number: u64, plan: Plan, drain: &Drain) {
        let user = format!("shopper-{:03}", number % SHOPPERS);
        let none = None::<&()>;
        self.ask(Method::GET, "/", none).await;
        for _ in 0..rand::random_range(1..=2) {
            if self.pause(number, drain).await {
                return;
            }
            // A few come by an old link to something that is not sold any more.
            let sku = if rand::random_bool(0.02) { "yarn-mohair" } else { any_article().sku };
            self.ask(Method::GET, &format!("/products/{sku}"), none).await;
        }
        let Plan::Buy { card, numbered } = plan else { return };
        for index in 0..rand::random_range(1..=3) {
            let article = if numbered && index == 0 { ARTICLES.iter().find(|article| article.numbered) } else { None };
            let sku = article.unwrap_or_else(any_article).sku.to_owned();
            let line = Line { sku, quantity: if article.is_some() { 1 } else { rand::random_range(1..=4) } };
            self.ask(Method::POST, "/cart", Some(&Addition { user: user.clone(), line })).await;
            if self.pause(number, drain).await {
                return;
            }
        }
        let order = Order { user, card: card.to_owned() };
        let Some((status, trace_id)) = self.ask(Method::POST, "/checkout", Some(&order)).await else { return };
        let kind = match (status, numbered) {
            (status, _) if status.is_server_error() => Kind::Failed,
            (StatusCode::CREATED, true) => Kind::Slow,
            (StatusCode::CREATED, false) => Kind::Ordinary,
            _ => return,
        };
        // When nobody listens any more, enough is known.
        let _ = self.sightings.try_send(Sighting { kind, trace_id });
    }

    /// Reads the page. Whether it is time to go.
    async fn pause(&self, number: u64, drain: &Drain) -> bool {
        let millis = if number < 3 { 20 } else { rand::random_range(100..800) };
        tokio::select! {
            biased;
            () = drain.begun() => true,
            () = tokio::time::sleep(Duration::from_millis(millis)) => false,
        }
    }

    /// Makes a request; the answer's status, and its trace if it told.
    async fn ask(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Option<(StatusCode, [u8; 16])> {
        let mut request = self.http.request(method, format!("http://{}{path}", self.frontend));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await;
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        if !response.as_ref().is_ok_and(|response| response.status().is_success()) {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        let response = response.ok()?;
        let seen = (response.status(), trace_id(response.headers())?);
        // Read to its end, so that the connection can be used again.
        let _ = response.bytes().await;
        Some(seen)
    }
}

fn any_article() -> &'static Article {
    // The numbered article is the last one, and is bought on purpose only.
    &ARTICLES[rand::random_range(0..ARTICLES.len() - 1)]
}

/// The first three are set, so that there is soon one of each kind.
fn plan(number: u64, slow_order: &mut Instant) -> Plan {
    match number {
        0 => return Plan::Buy { card: GOOD_CARD, numbered: false },
        1 => return Plan::Buy { card: DOWN_CARD, numbered: false },
        2 => return Plan::Buy { card: GOOD_CARD, numbered: true },
        _ => {}
    }
    if slow_order.elapsed() > SLOW_ORDER_EVERY && rand::random_bool(0.5) {
        *slow_order = Instant::now();
        return Plan::Buy { card: GOOD_CARD, numbered: true };
    }
    if rand::random_bool(0.5) {
        return Plan::Look;
    }
    let card = match rand::random_range(0..100) {
        0..3 => DOWN_CARD,
        3..8 => EMPTY_CARD,
        8..18 => FLAKY_CARD,
        _ => GOOD_CARD,
    };
    Plan::Buy { card, numbered: false }
}
