//! Calls between services are all counted, wherever the spans lie.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    otlp::record::{Codec, Head},
    world::World,
};
use clew_query::exec::{Budget, Cache, Dependency, Range, dependencies};
use clew_storage::{Opened, Options, Storage, retention, store};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData},
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

/// A span, and where it is stored.
#[derive(Clone, Debug)]
struct Given {
    trace: u8,
    id: u8,
    /// 0 for none.
    parent: u8,
    /// 0 for none.
    service: u8,
    failed: bool,
    start: u64,
    /// Which of the blocks, the one after them for memory.
    place: usize,
    /// Another place that it is in too.
    again: Option<usize>,
}

fn given() -> impl Strategy<Value = Given> {
    let ids = (1..5u8, 1..10u8, 0..10u8, 0..4u8);
    (ids, any::<bool>(), 1..100u64, 0..4usize, prop::option::weighted(0.2, 0..4usize)).prop_map(
        |((trace, id, parent, service), failed, start, place, again)| Given {
            trace,
            id,
            parent,
            service,
            failed,
            start,
            place,
            again,
        },
    )
}

fn request(span: &Given) -> Bytes {
    let value = Some(AnyValue { value: Some(Value::StringValue(format!("s{}", span.service))) });
    let service = KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() };
    let attributes = if span.service == 0 { vec![] } else { vec![service] };
    let made = Span {
        trace_id: vec![span.trace; 16],
        span_id: vec![span.id; 8],
        parent_span_id: if span.parent == 0 { vec![] } else { vec![span.parent; 8] },
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.start + 10,
        status: span.failed.then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![made], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    Bytes::from(TracesData { resource_spans: vec![resource_spans] }.encode_to_vec())
}

/// What is counted over a store that has the spans in so many blocks and in memory.
fn counted(spans: &[Given], blocks: usize, range: Range) -> Vec<Dependency> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let options = Options {
        data: folder.path().to_owned(),
        wal: None,
        segment_bytes: 1 << 20,
        max_wal_bytes: 64 << 20,
        max_record_bytes: 1 << 20,
        flush_bytes: 64 << 20,
        flush_age: Duration::from_secs(300),
        max_memory_bytes: 64 << 20,
        cache_bytes: 1 << 20,
        sweep_delay: Duration::from_secs(600),
        retention: retention::Limits::default(),
    };
    let place: PathBuf = folder.path().join("blocks");
    let store = store::open(&place.display().to_string(), &World::real()).unwrap();
    let Opened { storage, .. } = Storage::open(options, store, World::real()).unwrap();
    let mut hash = 0;
    for place in 0..=blocks {
        let is_here = |at: usize| at % (blocks + 1) == place;
        for span in spans {
            let times = usize::from(is_here(span.place)) + usize::from(span.again.is_some_and(is_here));
            for _ in 0..times {
                let payload = request(span);
                let decoded = storage.decode(Codec::Identity, payload.clone(), payload.len() as u32, 1).unwrap();
                hash += 1;
                let head = Head {
                    codec: Codec::Identity,
                    spans: 1,
                    raw_bytes: payload.len() as u32,
                    accepted_ms: 1_000_000,
                    tenant: Tenant::default(),
                    batch: None,
                    redelivery: span.again.is_some(),
                    hashes: vec![hash],
                    marks: vec![],
                };
                runtime.block_on(storage.append(head, payload, decoded)).unwrap();
            }
        }
        if place < blocks {
            storage.flush().unwrap();
        }
    }
    let (budget, _client) = Budget::new(Duration::from_secs(60));
    let found = dependencies(&storage.snapshot(&Tenant::default()), &Cache::new(1 << 20), range, &budget).unwrap();
    assert_eq!(found.missing, [""; 0]);
    found.dependencies
}

/// What has to be counted.
fn expected(spans: &[Given], range: Range) -> Vec<Dependency> {
    let services: HashMap<(u8, u8), u8> = spans.iter().map(|span| ((span.trace, span.id), span.service)).collect();
    let mut calls: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for span in spans.iter().filter(|span| range.has(span.start as i64)) {
        let parent = services.get(&(span.trace, span.parent)).copied().unwrap_or(0);
        if parent != 0 && span.service != 0 && parent != span.service {
            let of_pair = calls.entry((format!("s{parent}"), format!("s{}", span.service))).or_default();
            *of_pair = (of_pair.0 + 1, of_pair.1 + u64::from(span.failed));
        }
    }
    let dependency = |((parent, child), (calls, errors))| Dependency { parent, child, calls, errors };
    calls.into_iter().map(dependency).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_are_counted_once_wherever_spans_lie(spans in vec(given(), 0..40), start in 0..60i64, all in any::<bool>()) {
        // An id names one span.
        let spans: BTreeMap<(u8, u8), Given> = spans.into_iter().map(|span| ((span.trace, span.id), span)).collect();
        let spans: Vec<Given> = spans.into_values().collect();
        let range = if all { Range::ALL } else { Range { start, end: start + 40 } };
        for blocks in [0, 1, 3] {
            prop_assert_eq!(counted(&spans, blocks, range), expected(&spans, range), "{} blocks", blocks);
        }
    }
}
