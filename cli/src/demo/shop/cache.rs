//! Stands in for a Redis client: the spans and the time of one, over a map in memory. Hits and misses are real.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, trace::SpanKind};
use parking_lot::Mutex;

use super::{
    database::work,
    telemetry::{self, Telemetry},
};

/// What a round trip takes.
const ROUND_TRIP: Duration = Duration::from_micros(400);

/// Values that stay for a while. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Cache<V> {
    telemetry: Telemetry,
    /// In front of each key, as people do it.
    prefix: &'static str,
    stays: Duration,
    entries: Arc<Mutex<HashMap<String, (Instant, V)>>>,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(telemetry: &Telemetry, prefix: &'static str, stays: Duration) -> Self {
        Self { telemetry: telemetry.clone(), prefix, stays, entries: Arc::default() }
    }

    /// What is there, unless it is too old.
    pub(crate) async fn get(&self, key: &str) -> Option<V> {
        self.command("GET", key, async {
            let value = self.entries.lock().get(key).filter(|(set, _)| set.elapsed() < self.stays).cloned();
            let outcome = if value.is_some() { "cache.hit" } else { "cache.miss" };
            telemetry::event(outcome, [KeyValue::new("cache.key", format!("{}:{key}", self.prefix))]);
            value.map(|(_, value)| value)
        })
        .await
    }

    /// Puts a value there. Drops all that are too old.
    pub(crate) async fn set(&self, key: &str, value: V) {
        self.command("SETEX", key, async {
            let mut entries = self.entries.lock();
            entries.retain(|_, (set, _)| set.elapsed() < self.stays);
            entries.insert(key.to_owned(), (Instant::now(), value));
        })
        .await;
    }

    /// Removes a value.
    pub(crate) async fn delete(&self, key: &str) {
        self.command("DEL", key, async { drop(self.entries.lock().remove(key)) }).await;
    }

    async fn command<T>(&self, verb: &'static str, key: &str, effect: impl Future<Output = T>) -> T {
        let attributes = [
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("db.namespace", "0"),
            KeyValue::new("db.operation.name", verb),
            KeyValue::new("db.query.text", format!("{verb} {}:{key}", self.prefix)),
            KeyValue::new("server.address", "redis.shop.internal"),
            KeyValue::new("server.port", 6379),
        ];
        self.telemetry
            .within(telemetry::span(verb, SpanKind::Client, attributes), async {
                work(ROUND_TRIP).await;
                effect.await
            })
            .await
    }
}
