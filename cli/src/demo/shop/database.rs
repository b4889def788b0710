//! Stands in for a PostgreSQL client: its spans and its time, without a database behind.

use std::time::Duration;

use opentelemetry::{KeyValue, trace::SpanKind};

use super::telemetry::{self, Telemetry};

/// A statement as a service prepares it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    /// What names the span: few different ones.
    pub(crate) summary: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) table: &'static str,
    pub(crate) text: &'static str,
    /// What it takes at the median.
    pub(crate) typical: Duration,
}

/// A database of one service.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    telemetry: Telemetry,
    name: &'static str,
}

impl Database {
    pub(crate) fn new(telemetry: &Telemetry, name: &'static str) -> Self {
        Self { telemetry: telemetry.clone(), name }
    }

    /// Runs a statement that gives or touches `rows` rows.
    pub(crate) async fn run(&self, statement: Statement, rows: i64) {
        let attributes = [
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.namespace", self.name),
            KeyValue::new("db.operation.name", statement.operation),
            KeyValue::new("db.collection.name", statement.table),
            KeyValue::new("db.query.text", statement.text),
            KeyValue::new("db.query.summary", statement.summary),
            KeyValue::new("db.response.returned_rows", rows),
            KeyValue::new("server.address", "postgres.shop.internal"),
            KeyValue::new("server.port", 5432),
        ];
        let span = telemetry::span(statement.summary, SpanKind::Client, attributes);
        self.telemetry.within(span, work(statement.typical)).await;
    }

    /// `BEGIN`, `COMMIT` or `ROLLBACK`.
    pub(crate) async fn transaction(&self, verb: &'static str) {
        let attributes = [
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.namespace", self.name),
            KeyValue::new("db.operation.name", verb),
            KeyValue::new("db.query.text", verb),
            KeyValue::new("server.address", "postgres.shop.internal"),
            KeyValue::new("server.port", 5432),
        ];
        let span = telemetry::span(verb, SpanKind::Client, attributes);
        self.telemetry.within(span, work(Duration::from_micros(700))).await;
    }
}

/// Takes about as long as `typical` says: the median of a log-normal, with a tail of some three times as much.
pub(crate) async fn work(typical: Duration) {
    // Three uniforms are near enough to a normal distribution, and never far out.
    let normal: f64 = (0..3).map(|_| rand::random_range(-1.0..1.0)).sum();
    tokio::time::sleep(typical.mul_f64((normal * 0.4).exp())).await;
}
