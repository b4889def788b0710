//! What is for sale, and how the services speak of it.

use serde::{Deserialize, Serialize};

/// Something that is for sale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Article {
    pub(crate) sku: &'static str,
    pub(crate) cents: i64,
    /// Each piece has a number, and the search for a free one is slow: nobody made an index for it.
    pub(crate) numbered: bool,
}

const fn article(sku: &'static str, cents: i64) -> Article {
    Article { sku, cents, numbered: false }
}

/// Everything that is for sale.
pub(crate) const ARTICLES: [Article; 8] = [
    article("yarn-merino", 1290),
    article("yarn-sock", 690),
    article("needles-3", 849),
    article("needles-circular", 1149),
    article("hook-5", 549),
    article("book-labyrinths", 2450),
    article("basket", 3990),
    Article { sku: "spindle-limited", cents: 12_900, numbered: true },
];

/// The article of this name.
pub(crate) fn article_of(sku: &str) -> Option<&'static Article> {
    ARTICLES.iter().find(|article| article.sku == sku)
}

/// Some of an article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

/// What is in a shopper's cart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cart {
    pub(crate) lines: Vec<Line>,
}

/// What one piece costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Price {
    pub(crate) sku: String,
    pub(crate) cents: i64,
}

/// How many pieces there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub(crate) sku: String,
    pub(crate) pieces: u32,
}

/// Pieces set aside for an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) order: String,
    pub(crate) lines: Vec<Line>,
}

/// A shopper wants what is in the cart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) user: String,
    pub(crate) card: String,
}

/// It is on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    pub(crate) order: String,
    pub(crate) cents: i64,
}

/// Nothing to say.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Done {}
