//! Spans that are good and extreme, through the WAL, blocks and merges: what comes out is what went in.

use std::collections::BTreeMap;

use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    log::SimDisk,
    otlp::record::Codec,
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
};
use prost::Message;

use super::{append_as, options, store, world};
use crate::{Options, Storage};

const TENANT: &str = "a";
/// Blocks are merged when there are so many.
const FAN_IN: u64 = 8;

fn open(disk: &SimDisk) -> Storage {
    let options =
        Options { segment_bytes: 64 << 20, max_wal_bytes: 1 << 30, max_record_bytes: 128 << 20, ..options(1 << 30) };
    Storage::open(options, store(disk), world(disk)).unwrap().storage
}

fn attribute(key: String, value: Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn span(trace: u64, number: u64, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: [u64::MAX.to_be_bytes(), trace.to_be_bytes()].concat(),
        span_id: number.to_be_bytes().to_vec(),
        name: "extreme".to_owned(),
        start_time_unix_nano: number,
        end_time_unix_nano: number + 1,
        attributes,
        ..Span::default()
    }
}

async fn send(storage: &Storage, seq: u64, spans: Vec<Span>) {
    let count = spans.len() as u32;
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let request = TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let raw = request.encode_to_vec();
    let packed = Bytes::from(zstd::bulk::compress(&raw, 1).unwrap());
    append_as(storage, TENANT, seq, (Codec::Zstd, packed, raw.len() as u32), count).await.unwrap();
}

/// Its spans by id, attributes by key: a map has no order.
fn found(storage: &Storage, trace: u64) -> BTreeMap<Vec<u8>, Span> {
    let id = TraceId::from_slice(&[u64::MAX.to_be_bytes(), trace.to_be_bytes()].concat()).unwrap();
    let parts = storage.snapshot(&Tenant::new(TENANT).unwrap()).trace(&id);
    let spans = parts.into_iter().flat_map(|part| TracesData::decode(part.unwrap()).unwrap().resource_spans);
    by_id(spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect())
}

fn by_id(spans: Vec<Span>) -> BTreeMap<Vec<u8>, Span> {
    let sorted = |mut span: Span| {
        span.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        (span.span_id.clone(), span)
    };
    spans.into_iter().map(sorted).collect()
}

/// A trace of its own for each of some batches: in memory, read from the WAL again, in blocks, merged, and after another start.
async fn survives(batches: impl Fn(u64) -> Vec<Span>) -> Storage {
    let disk = SimDisk::new();
    let mut storage = open(&disk);
    let check = |storage: &Storage, stage: &str, seqs: std::ops::RangeInclusive<u64>| {
        for seq in seqs {
            assert!(found(storage, seq) == by_id(batches(seq)), "{stage}: batch {seq} comes back otherwise");
        }
    };
    for seq in 1..=FAN_IN {
        send(&storage, seq, batches(seq)).await;
        check(&storage, "in memory", seq..=seq);
        if seq == 1 {
            drop(storage);
            disk.crash(1);
            storage = open(&disk);
            check(&storage, "after a crash", 1..=1);
        }
        storage.flush().unwrap();
        check(&storage, "in a block", seq..=seq);
    }
    assert_eq!(storage.stats().blocks as u64, FAN_IN);
    storage.compact().unwrap();
    assert_eq!(storage.stats().blocks, 1);
    drop(storage);
    disk.crash(2);
    let storage = open(&disk);
    check(&storage, "merged", 1..=FAN_IN);
    storage
}

#[tokio::test(start_paused = true)]
async fn values_of_16_mib_come_back_from_blocks() {
    let bytes: Vec<u8> = (0..16 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let text = "🦀".repeat(4 << 20);
    survives(|seq| {
        // Two batches of eight: a merge has them beside small ones.
        let large = seq % 4 == 1;
        let attributes = vec![
            attribute("bytes".into(), Value::BytesValue(if large { bytes.clone() } else { vec![1] })),
            attribute("text".into(), Value::StringValue(if large { text.clone() } else { String::new() })),
        ];
        vec![span(seq, 1, attributes), span(seq, 2, vec![])]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_span_with_100_000_attributes_comes_back_from_blocks() {
    survives(|seq| {
        let count = if seq == 1 { 100_000 } else { 10 };
        let value = |number: u64| match number % 3 {
            0 => Value::StringValue(format!("value {number}")),
            1 => Value::IntValue(number as i64),
            _ => Value::DoubleValue(number as f64),
        };
        vec![span(seq, 1, (0..count).map(|number| attribute(format!("key.{number}"), value(number))).collect())]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_thousands_of_keys_make_few_columns_and_come_back_from_blocks() {
    let storage = survives(|seq| {
        let keys = |number: u64| {
            let own = (0..100).map(move |key| format!("key.{seq}.{number}.{key}"));
            // More that are common enough for a column than there may be.
            let often = (0..5).map(move |key| format!("often.{}", (5 * number + key) % 200));
            own.chain(often)
                .chain(["common".to_owned()])
                .map(|key| attribute(key, Value::StringValue("v".to_owned())))
                .collect()
        };
        (1..=300).map(|number| span(seq, number, keys(number))).collect()
    })
    .await;
    let snapshot = storage.snapshot(&Tenant::new(TENANT).unwrap());
    let block = &snapshot.blocks()[0];
    let attributes = &block.meta().attributes;
    let promoted = attributes.iter().filter(|attribute| attribute.promoted);
    assert_eq!(promoted.count(), crate::merge::MAX_COLUMNS);
    assert!(attributes.iter().any(|attribute| attribute.promoted && attribute.key == "common"));
    // Names are not all there: a meta is read whole at each start.
    assert!(attributes.len() < 20_000 && !block.meta().attributes_complete, "{} names", attributes.len());
}
