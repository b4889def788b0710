//! Small stores with given spans.

use clew_storage::Snapshot;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};

#[path = "opened.rs"]
mod opened;

pub use opened::Kept;

/// Spans that are stored together.
pub struct Batch {
    /// The block that they are in; that after the last one is memory.
    pub place: usize,
    pub spans: Vec<ResourceSpans>,
    /// Another collector may have them too.
    pub may_duplicate: bool,
}

/// A span with its resource's attributes.
pub fn span(span: Span, resource: Vec<KeyValue>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// An attribute.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// What `ask` says of a store.
pub fn ask<T>(batches: &[Batch], kept: impl Into<Kept>, ask: impl FnOnce(&Snapshot) -> T) -> T {
    let kept = kept.into();
    let mut store = opened::TestStore::open(kept.layout);
    for place in 0..=kept.blocks {
        for batch in batches.iter().filter(|batch| batch.place % (kept.blocks + 1) == place) {
            store.append(batch.spans.clone(), batch.may_duplicate);
        }
        if place < kept.blocks {
            store.flush();
        }
    }
    ask(&store.snapshot())
}
