//! Small stores with given spans.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    otlp::record::{Codec, Head},
    world::World,
};
use clew_storage::{Opened, Options, Snapshot, Storage, retention, store};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
};
use prost::Message;

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

/// What `ask` says of a store with so many blocks.
pub fn ask<T>(batches: &[Batch], blocks: usize, ask: impl FnOnce(&Snapshot) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let options = Options {
        data: folder.path().to_owned(),
        wal: None,
        segment_bytes: 4 << 20,
        max_wal_bytes: 64 << 20,
        max_record_bytes: 4 << 20,
        flush_bytes: 64 << 20,
        flush_age: Duration::from_secs(300),
        max_memory_bytes: 64 << 20,
        cache_bytes: 1 << 20,
        sweep_delay: Duration::from_secs(600),
        merge_nice: 0,
        retention: retention::Limits::default(),
        sole: true,
        heir_of: Vec::new(),
    };
    let place: PathBuf = folder.path().join("blocks");
    let store = store::open(&place.display().to_string(), &World::real()).unwrap();
    let Opened { storage, .. } = Storage::open(options, store, World::real()).unwrap();
    for place in 0..=blocks {
        for (at, batch) in batches.iter().enumerate().filter(|(_, batch)| batch.place % (blocks + 1) == place) {
            let payload = Bytes::from(TracesData { resource_spans: batch.spans.clone() }.encode_to_vec());
            let scopes = batch.spans.iter().flat_map(|resource| &resource.scope_spans);
            let (spans, raw_bytes) = (scopes.map(|scope| scope.spans.len() as u32).sum(), payload.len() as u32);
            let decoded = storage.decode(Codec::Identity, payload.clone(), raw_bytes, spans).unwrap();
            let head = Head {
                codec: Codec::Identity,
                spans,
                raw_bytes,
                accepted_ms: 1_000_000,
                tenant: Tenant::default(),
                batch: None,
                redelivery: batch.may_duplicate,
                hashes: vec![at as u128],
                marks: vec![],
            };
            runtime.block_on(storage.append(head, payload, decoded)).unwrap();
        }
        if place < blocks {
            storage.flush().unwrap();
        }
    }
    ask(&storage.snapshot(&Tenant::default()))
}
