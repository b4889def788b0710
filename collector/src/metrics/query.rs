//! What is counted of queries.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryKind {
    /// Traces.
    Search,
    /// Time series.
    Metrics,
    /// What attributes are called.
    TagNames,
    /// Their values.
    TagValues,
    /// Which services call which.
    Dependencies,
    /// In what spans differ.
    Explain,
    /// Spans as they come.
    Tail,
    /// Rows of SQL.
    Sql,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKindAndOutcome {
    kind: &'static str,
    outcome: &'static str,
}

impl QueryKind {
    fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Metrics => "metrics",
            Self::TagNames => "tag_names",
            Self::TagValues => "tag_values",
            Self::Dependencies => "dependencies",
            Self::Explain => "explain",
            Self::Tail => "tail",
            Self::Sql => "sql",
        }
    }
}

/// What is counted of queries.
#[derive(Clone, Debug)]
pub struct QueryMetrics {
    queries: Family<ByKindAndOutcome, Counter>,
    seconds: Family<ByKind, Histogram>,
    inspected_spans: Family<ByKind, Counter>,
}

impl Default for QueryMetrics {
    fn default() -> Self {
        // From 1 ms to 65 s.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        Self {
            queries: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            inspected_spans: Family::default(),
        }
    }
}

impl QueryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("queries", "Queries, by kind and outcome", metrics.queries.clone());
        registry.register("query_seconds", "How long queries took once they ran, by kind", metrics.seconds.clone());
        registry.register(
            "query_inspected_spans",
            "Spans that queries looked at, by kind",
            metrics.inspected_spans.clone(),
        );
        metrics
    }

    /// Takes note of a query. One that is dropped without a word was cancelled.
    pub(crate) fn begin(&self, kind: QueryKind) -> Counted {
        Counted { metrics: self.clone(), kind, outcome: "cancelled" }
    }

    /// How many ended so.
    #[cfg(test)]
    pub(crate) fn count(&self, kind: QueryKind, outcome: &'static str) -> u64 {
        self.queries.get_or_create(&ByKindAndOutcome { kind: kind.name(), outcome }).get()
    }
}

/// A query that is counted when it is told what became of it, or when this is dropped. To be told before the client is: who has an answer
/// may look at the metrics.
pub(crate) struct Counted {
    metrics: QueryMetrics,
    kind: QueryKind,
    outcome: &'static str,
}

impl Counted {
    /// It never ran.
    pub fn refused(mut self) {
        self.outcome = "refused";
    }

    /// It has an answer.
    pub fn answered(self, took: Duration, inspected_spans: u64, partial: bool) {
        self.metrics.inspected_spans.get_or_create(&ByKind { kind: self.kind.name() }).inc_by(inspected_spans);
        self.failed(took, if partial { "partial" } else { "complete" });
    }

    /// It ran and has none.
    pub fn failed(mut self, took: Duration, outcome: &'static str) {
        self.outcome = outcome;
        self.metrics.seconds.get_or_create(&ByKind { kind: self.kind.name() }).observe(took.as_secs_f64());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let labels = ByKindAndOutcome { kind: self.kind.name(), outcome: self.outcome };
        self.metrics.queries.get_or_create(&labels).inc();
    }
}
