//! Whether blocks hold what was put into them, by the parquet crate's own reader.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::Range,
    sync::Arc,
};

use arrow_array::{Array, FixedSizeBinaryArray, RecordBatch, cast::AsArray, types::Int32Type};
use bytes::Bytes;
use clew_common::ids::Tenant;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource as OtlpResource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span},
};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

use super::{
    BlockWriter, Layout, SHAPES, SPANS, Spec, WriteError,
    shapes::{Column, MAX_SHAPES, choose},
};
use crate::{
    block::Meta,
    block::shapes::{Columns, Shapes},
    columns::{Builder, Resource},
    merge::{Batches, Counts, described},
    schema::core,
    store::{Listed, Sink, Source, Store, StoreError},
};

/// Files in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, Bytes>>>);

struct Writing(Memory, String, Vec<u8>);

impl Store for Memory {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.0.lock().insert(path.to_owned(), bytes);
        Ok(())
    }
    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError> {
        Ok(Box::new(Writing(self.clone(), path.to_owned(), Vec::new())))
    }
    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(self.0.lock()[path].slice(range.start as usize..range.end as usize))
    }
    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError> {
        Ok(Arc::new(Whole(self.0.lock()[path].clone())))
    }
    fn size(&self, path: &str) -> Result<u64, StoreError> {
        Ok(self.0.lock()[path].len() as u64)
    }
    fn list(&self, _prefix: &str) -> Result<Vec<Listed>, StoreError> {
        Ok(Vec::new())
    }
    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.0.lock().remove(path);
        Ok(())
    }
}

struct Whole(Bytes);

impl Source for Whole {
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(self.0.slice(range.start as usize..range.end as usize))
    }
    fn is_remote(&self) -> bool {
        false
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.2.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Writing {
    fn finish(self: Box<Self>) -> Result<u64, StoreError> {
        let bytes = self.2.len() as u64;
        self.0.put(&self.1, self.2.into())?;
        Ok(bytes)
    }
}

fn batch(spans: Vec<Span>, service: &str) -> (RecordBatch, Vec<Resource>) {
    let attributes = vec![attribute("service.name", Value::StringValue(service.to_owned()))];
    let resource = Some(OtlpResource { attributes, ..Default::default() });
    let scope = Some(InstrumentationScope { name: format!("{service}.scope"), ..Default::default() });
    let scope_spans = vec![ScopeSpans { scope, spans, schema_url: String::new() }];
    let data = TracesData { resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }] };
    let mut builder = Builder::new();
    builder.add(&data.encode_to_vec()).unwrap();
    let spans = builder.finish().unwrap();
    (spans.batch, spans.resources)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn span(trace: u8, id: u8, parent: u8, start: u64) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        name: format!("operation {}", id % 5),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 7,
        flags: 0x101,
        ..Default::default()
    }
}

const SMALL: Layout = Layout { group_rows: 64, page_rows: 16, least_page_rows: 8, level: 1, shape_bytes: None };

fn spec() -> Spec {
    Spec::new(Uuid::from_bytes([7; 16]), Tenant::default())
}

/// Writes a block, in several windows when there are several; gives its rows in memory form. With shapes, which cost nothing, it
/// says the same.
fn block(windows: &[Vec<RecordBatch>], resources: &[Resource], layout: Layout) -> (Meta, Vec<RecordBatch>) {
    let (meta, rows) = block_as(windows, resources, layout);
    let (_, with_shapes) = block_as(windows, resources, Layout { shape_bytes: Some(0), ..layout });
    assert!(said(&with_shapes) == said(&rows));
    (meta, rows)
}

fn block_as(windows: &[Vec<RecordBatch>], resources: &[Resource], layout: Layout) -> (Meta, Vec<RecordBatch>) {
    let (store, spec) = (Memory::default(), spec());
    let path = spec.path();
    let counts = Counts::of(&windows.concat());
    let mut writer = BlockWriter::with_counts(Arc::new(store.clone()), &spec, counts, layout).unwrap();
    windows.iter().for_each(|window| writer.write(&mut Batches(window)).unwrap());
    let meta = writer.finish(resources).unwrap();
    let files = store.0.lock();
    for (name, file) in &meta.files {
        let bytes = &files[&format!("{path}/{name}")];
        assert_eq!((bytes.len() as u64, crc32c::crc32c(bytes)), (file.bytes, file.crc32c), "{name}");
    }
    assert_eq!(Meta::from_bytes(&files[&format!("{path}/meta.json")]).unwrap(), meta);
    let reader = ParquetRecordBatchReaderBuilder::try_new(files[&format!("{path}/{SPANS}")].clone()).unwrap();
    let shapes = files.get(&format!("{path}/{SHAPES}")).map(|file| Shapes::from_bytes(file.clone()).unwrap());
    let columns = Columns::new(reader.schema(), shapes).unwrap();
    let rows: Vec<RecordBatch> =
        reader.build().unwrap().map(|rows| columns.complete(&rows.unwrap()).unwrap()).collect();
    let rows = with_parents(&rows);
    assert_eq!(meta.spans as usize, rows.iter().map(RecordBatch::num_rows).sum::<usize>());
    (meta, rows)
}

/// Puts the ids of parents back, by their positions.
fn with_parents(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let mut traces: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let ids = |batch: &RecordBatch, at: usize, row: usize| {
        let ids: &FixedSizeBinaryArray = batch.column(at).as_fixed_size_binary();
        ids.is_valid(row).then(|| ids.value(row).to_vec())
    };
    for batch in batches {
        for row in 0..batch.num_rows() {
            let spans = traces.entry(ids(batch, core::TRACE_ID, row).unwrap()).or_default();
            spans.push(ids(batch, core::SPAN_ID, row).unwrap());
        }
    }
    let back = |batch: &RecordBatch| {
        let parents: Vec<Option<Vec<u8>>> = (0..batch.num_rows())
            .map(|row| {
                let positions = batch.column(core::PARENT_ROW).as_primitive::<Int32Type>();
                let id = ids(batch, core::PARENT_SPAN_ID, row);
                assert!(id.is_none() || positions.is_null(row), "one of them is enough");
                let trace = &traces[&ids(batch, core::TRACE_ID, row).unwrap()];
                id.or_else(|| positions.is_valid(row).then(|| trace[positions.value(row) as usize].clone()))
            })
            .collect();
        let parents = FixedSizeBinaryArray::try_from_sparse_iter_with_size(parents.into_iter(), 8).unwrap();
        let mut columns = batch.columns().to_vec();
        columns[core::PARENT_SPAN_ID] = Arc::new(parents);
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    batches.iter().map(back).collect()
}

/// What rows say: sorted, each once.
fn said(batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let mut said = described(batches);
    said.sort();
    said.dedup();
    said
}

/// The keys of rows, in their order.
fn keys(batches: &[RecordBatch]) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
    let of = |batch: &RecordBatch, row: usize| {
        let starts = batch.column(core::START_TIME).as_primitive::<arrow_array::types::TimestampNanosecondType>();
        let ids = |at: usize| batch.column(at).as_fixed_size_binary().value(row).to_vec();
        (ids(core::TRACE_ID), starts.value(row), ids(core::SPAN_ID))
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| of(batch, row))).collect()
}

#[test]
fn a_block_without_spans_can_be_written_and_read() {
    let (meta, rows) = block(&[], &[], SMALL);
    assert_eq!((meta.spans, meta.traces), (0, 0));
    assert!(said(&rows).is_empty());
}

#[test]
fn one_span_is_a_block() {
    let (batch, resources) = batch(vec![span(1, 1, 9, 5)], "cart");
    let (meta, rows) = block(&[vec![batch.clone()]], &resources, SMALL);
    assert!(said(&rows) == said(&[batch]));
    assert_eq!((meta.spans, meta.traces, meta.start_min, meta.end_max), (1, 1, 5, 12));
    assert_eq!(meta.services["cart"].operations, ["operation 1"]);
}

#[test]
fn cycles_and_self_parents_and_ids_given_twice_come_back() {
    let spans = vec![span(1, 1, 2, 5), span(1, 2, 1, 6), span(1, 3, 3, 7), span(1, 3, 2, 8), span(1, 4, 99, 9)];
    let (batch, resources) = batch(spans, "cart");
    let (_, rows) = block(&[vec![batch.clone()]], &resources, SMALL);
    assert!(said(&rows) == said(&[batch]));
    let parents = rows[0].column(core::PARENT_ROW).as_primitive::<Int32Type>();
    assert_eq!(parents.iter().collect::<Vec<_>>(), [Some(1), Some(0), Some(2), Some(1), None]);
}

#[test]
fn a_trace_larger_than_row_groups_and_windows_keeps_its_parents() {
    let wide = |n: u64| {
        let mut span = span(1, 1, 0, n);
        span.span_id = n.to_be_bytes().to_vec();
        span.parent_span_id = if n == 1 { Vec::new() } else { (n / 2).to_be_bytes().to_vec() };
        span
    };
    let window = |range: Range<u64>| vec![batch(range.map(wide).collect(), "cart").0];
    let windows = [window(1..150), window(150..151), window(151..400)];
    let resources = batch(vec![wide(1)], "cart").1;
    let (meta, rows) = block(&windows, &resources, SMALL);
    assert_eq!((meta.spans, meta.traces), (399, 1));
    assert!(said(&rows) == said(&windows.concat()));
    let found: usize = rows.iter().map(|batch| batch.num_rows() - batch.column(core::PARENT_ROW).null_count()).sum();
    assert_eq!(found, 398);
}

#[test]
fn an_attribute_of_several_types_gets_one_column_and_the_rest_is_listed() {
    let with = |id: u8, value: Value| Span { attributes: vec![attribute("k", value)], ..span(1, id, 0, id.into()) };
    let ints = (1..=5).map(|id| with(id, Value::IntValue(id.into()))).collect();
    let (first, resources) = batch(ints, "cart");
    let (second, _) = batch(vec![with(6, Value::StringValue("six".into())), with(7, Value::DoubleValue(7.0))], "cart");
    let (meta, rows) = block(&[vec![first.clone(), second.clone()]], &resources, SMALL);
    assert!(said(&rows) == said(&[first, second]));
    assert_eq!(rows[0].column_by_name("span.k").unwrap().null_count(), 2);
    assert_eq!(meta.attributes.len(), 3);
    assert_eq!(meta.attributes.iter().filter(|attribute| attribute.promoted).count(), 1);
}

#[test]
fn more_keys_than_columns_and_large_values_come_back() {
    let spans = (0..300u16).map(|n| {
        let mut attributes = vec![attribute(&format!("key {n}"), Value::StringValue("v".repeat(usize::from(n) * 100)))];
        attributes.extend((0..n % 3).map(|k| attribute(&format!("common {k}"), Value::BoolValue(k == 1))));
        Span { attributes, ..span((n % 7) as u8 + 1, n as u8, 0, n.into()) }
    });
    let (batch, resources) = batch(spans.collect(), "cart");
    let (_, rows) = block(&[vec![batch.clone()]], &resources, Layout { page_rows: 128, ..SMALL });
    assert!(said(&rows) == said(&[batch]));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-c]{0,3}".prop_map(Value::StringValue),
        (-3i64..3).prop_map(Value::IntValue),
        any::<f64>().prop_map(Value::DoubleValue),
        any::<bool>().prop_map(Value::BoolValue),
        Just(Value::ArrayValue(ArrayValue::default())),
    ]
}

fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::btree_map("[a-d]", any_value(), 0..4)
        .prop_map(|all| all.into_iter().map(|(key, value)| attribute(&key, value)).collect())
}

prop_compose! {
    fn any_span()(
        (trace, id, parent, start) in (1u8..5, 1u8..9, 0u8..9, 0u64..4),
        attributes in any_attributes(),
        events in prop::collection::vec((0u64..9, "[a-b]{0,2}", any_attributes(), 0u32..2), 0..3),
        links in prop::collection::vec((1u8..4, any_attributes(), "[x]{0,1}"), 0..3),
        (code, message, dropped) in (0i32..3, "[a-b]{0,1}", 0u32..2),
    ) -> Span {
        let events = events.into_iter().map(|(time_unix_nano, name, attributes, dropped_attributes_count)| {
            span::Event { time_unix_nano, name, attributes, dropped_attributes_count }
        });
        let links = links.into_iter().map(|(trace, attributes, trace_state)| span::Link {
            trace_id: vec![trace; 16], span_id: vec![trace; 8], trace_state, attributes, ..Default::default()
        });
        Span {
            attributes,
            events: events.collect(),
            links: links.collect(),
            status: (code > 0).then_some(Status { message, code }),
            dropped_events_count: dropped,
            ..span(trace, id, parent, start)
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_sorted_and_once(
        parts in prop::collection::vec(prop::collection::vec(any_span(), 0..40), 0..5),
        again in any::<prop::sample::Index>(),
    ) {
        let made: Vec<_> = parts.into_iter().map(|spans| batch(spans, "cart")).collect();
        let resources: Vec<Resource> = made.iter().flat_map(|(_, resources)| resources.clone()).collect();
        let mut batches: Vec<RecordBatch> = made.into_iter().map(|(batch, _)| batch).collect();
        if !batches.is_empty() {
            batches.push(again.get(&batches).clone());
        }
        let (meta, rows) = block(std::slice::from_ref(&batches), &resources, SMALL);
        prop_assert!(said(&rows) == said(&batches));
        // The model of the order: a set.
        prop_assert_eq!(meta.spans as usize, said(&batches).len());
        prop_assert!(keys(&rows).is_sorted());
    }
}

/// A span of one of some operations. What follows from the operation, what comes once, and what comes by chance are attributes.
fn of_operation(n: u64, operation: u64) -> Span {
    let attributes = vec![
        attribute("route", Value::StringValue(format!("/route/{operation}"))),
        attribute("port", Value::IntValue(8000 + operation as i64)),
        attribute("cached", Value::BoolValue(operation.is_multiple_of(2))),
        attribute("request", Value::StringValue(format!("request {n}"))),
        attribute("shard", Value::IntValue((n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as i64)),
    ];
    Span {
        trace_id: (n / 4).to_be_bytes().repeat(2),
        span_id: n.to_be_bytes().to_vec(),
        name: format!("operation {operation}"),
        attributes,
        ..span(1, 1, 0, n)
    }
}

#[test]
fn columns_that_follow_from_the_operation_are_in_shapes() {
    let spans = |range: Range<u64>| range.map(|n| of_operation(n, n * n % 23)).collect();
    let [(first, resources), (second, _)] = [batch(spans(1..4000), "cart"), batch(spans(4000..9000), "cart")];
    let batches = [first, second];
    let attributes = Counts::of(&batches).promoted();
    let chosen = choose(&mut Batches(&batches), &attributes, 9000, 32).unwrap();
    let is_chosen = |key: &str| {
        let at = attributes.iter().position(|(other, _)| other == key).unwrap();
        chosen.contains(&Column::Attribute(at))
    };
    assert!(chosen.contains(&Column::Core(core::NAME)));
    assert_eq!(["route", "port", "cached", "request", "shard"].map(is_chosen), [true, true, true, false, false]);

    let layout = Layout { shape_bytes: Some(32), ..SMALL };
    let (meta, rows) = block_as(&[batches.to_vec()], &resources, layout);
    assert!(meta.files.contains_key(SHAPES));
    assert!(said(&rows) == said(&batches));
    let alone = block_as(&[batches.to_vec()], &resources, SMALL).0;
    assert!(meta.bytes() < alone.bytes(), "{} {}", meta.bytes(), alone.bytes());
}

#[test]
fn too_many_shapes_are_an_error_and_the_block_can_be_written_without() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let window = |range: Range<u64>, operations: u64| {
        vec![batch(range.map(|n| of_operation(n, n % operations)).collect(), "cart").0]
    };
    let windows = [window(1..2000, 5), window(2000..MAX_SHAPES as u64 + 3000, u64::MAX)];
    let write = |layout| {
        let counts = Counts::of(&windows.concat());
        let mut writer = BlockWriter::with_counts(store.clone(), &spec(), counts, layout).unwrap();
        windows.iter().try_for_each(|window| writer.write(&mut Batches(window)))?;
        writer.finish(&[])
    };
    let layout = Layout { group_rows: 1000, shape_bytes: Some(0), ..Layout::default() };
    assert!(matches!(write(layout), Err(WriteError::TooManyShapes)));
    let fewer = layout.with_fewer_shapes().unwrap();
    assert!(fewer.shape_bytes > layout.shape_bytes);
    let none = fewer.with_fewer_shapes().unwrap();
    assert!(none.with_fewer_shapes().is_none());
    let meta = write(none).unwrap();
    assert_eq!(meta.spans, MAX_SHAPES as u64 + 2999);
    assert!(!meta.files.contains_key(SHAPES));
}
