use std::{
    collections::HashMap,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_array::{ArrayRef, StringArray, cast::AsArray, types::UInt32Type};
use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    log::{Disk, SimDisk, Work},
    otlp::filter,
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData, span::Event},
};
use proptest::{prelude::*, strategy::ValueTree};
use prost::Message;
use uuid::Uuid;

use super::{Block, BlockError, Cache, trace_in};
use crate::{
    block::{BlockWriter, FILTER, Layout, META, RESOURCES, SHAPES, SPANS, Spec, WriteError},
    columns::{
        Builder, Spans,
        tests::{arbitrary, columns, spans},
        write_otlp,
    },
    schema::core,
    store::{Folder, Listed, Sink, Source, Store, StoreError},
};

/// A block of these batches, as it was written.
struct Written {
    disk: SimDisk,
    store: Arc<dyn Store>,
    path: String,
}

impl Written {
    /// With shapes, and without.
    fn both(batches: &[Spans]) -> [Self; 2] {
        let layout = Layout { shape_bytes: Some(0), ..Layout::default() };
        [Self::of(batches, layout), Self::of(batches, layout.without_shapes())]
    }

    fn of(batches: &[Spans], layout: Layout) -> Self {
        let disk = SimDisk::new();
        let store: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(disk.clone()), Path::new("/blocks")));
        let spec = Spec::new(Uuid::from_u128(1), Tenant::default());
        let path = spec.path();
        let inputs: Vec<_> = batches.iter().map(|spans| spans.batch.clone()).collect();
        let resources: HashMap<u64, _> =
            batches.iter().flat_map(|spans| &spans.resources).map(|resource| (resource.id, resource.clone())).collect();
        let resources: Vec<_> = resources.into_values().collect();
        BlockWriter::write_all(&store, &spec, &inputs, &resources, layout).unwrap();
        Self { disk, store, path }
    }

    fn open(&self) -> Result<Block, BlockError> {
        Block::open(self.store.clone(), &self.path, Arc::new(Cache::new(1 << 20)))
    }
}

/// Without duplicates: those whose attributes are in another order may both be there.
fn once(mut spans: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    spans.sort();
    spans.dedup();
    spans
}

/// All spans of a block, read in order.
fn scanned(block: &Block, rows: usize) -> Vec<Vec<u8>> {
    let resources = block.resources().unwrap();
    let mut out = Vec::new();
    for batch in block.batches(rows) {
        let batch = batch.unwrap();
        let rows: Vec<usize> = (0..batch.num_rows()).collect();
        write_otlp(&batch, &rows, |id| resources.get(&id).cloned(), &mut out).unwrap();
    }
    spans(&out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lookups_and_scans_of_a_block_find_what_was_written(
        requests in prop::collection::vec(arbitrary::request(), 1..4), rows in 1usize..20
    ) {
        let requests: Vec<Vec<u8>> = requests.iter().map(Message::encode_to_vec).collect();
        let batches: Vec<Spans> = requests.iter().map(|request| columns(request)).collect();
        // Traces go on in the next page, and row group.
        let short = Layout { group_rows: 16, page_rows: 8, least_page_rows: 8, level: 1, shape_bytes: Some(0) };
        for written in Written::both(&batches).into_iter().chain([Written::of(&batches, short)]) {
            let block = written.open().unwrap();
            prop_assert_eq!(once(scanned(&block, rows)), once(spans(&requests.concat())));
            for id in 1..6u8 {
                let trace = TraceId::new([id; 16]).unwrap();
                let expected = once(spans(&filter::of_trace(&requests.concat(), trace.as_bytes())));
                let found = block.trace(&trace).unwrap().unwrap_or_default();
                prop_assert_eq!(once(spans(&found)), expected.clone());
                prop_assert!(expected.is_empty() || block.may_hold(&trace));
            }
        }
    }
}

/// Requests that have spans enough for shapes.
fn many() -> Vec<u8> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut requests = Vec::new();
    while spans(&requests).len() < 60 {
        requests.extend(arbitrary::request().new_tree(&mut runner).unwrap().current().encode_to_vec());
    }
    requests
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_that_names_the_file_and_never_another_answer() {
    let [written, _] = Written::both(&[columns(&many())]);
    assert!(written.open().unwrap().meta().files.contains_key(SHAPES));
    let good = scanned(&written.open().unwrap(), 10);
    let mut noticed = 0;
    for file in written.store.list("").unwrap() {
        let place = Path::new("/blocks").join(&file.path);
        for byte in (0..file.bytes).step_by(61) {
            written.disk.flip(&place, byte, 4);
            let read = written.open().and_then(|block| {
                block.resources()?;
                block.batches(10).collect::<Result<Vec<_>, _>>()?;
                Ok(block)
            });
            match read {
                Err(error) => {
                    noticed += 1;
                    assert!(error.is_damage() && file.path.starts_with(&written.path), "{error}");
                    assert_eq!(error.path, file.path, "{error}");
                }
                // A byte that nothing reads, such as the magic at the start.
                Ok(block) => assert_eq!(scanned(&block, 10), good, "byte {byte} of {}", file.path),
            }
            written.disk.flip(&place, byte, 4);
        }
    }
    assert!(noticed > 100, "{noticed}");
}

/// A store each of whose reads is a request.
struct Far(Arc<dyn Store>, Arc<AtomicUsize>);

impl Store for Far {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.0.put(path, bytes)
    }
    fn create(&self, path: &str) -> Result<Box<dyn Sink>, StoreError> {
        self.0.create(path)
    }
    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read(path, range)
    }
    fn open(&self, path: &str) -> Result<Arc<dyn Source>, StoreError> {
        Ok(Arc::new(FarFile(self.0.open(path)?, self.1.clone())))
    }
    fn size(&self, path: &str) -> Result<u64, StoreError> {
        self.0.size(path)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.0.list(prefix)
    }
    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.0.delete(path)
    }
}

struct FarFile(Arc<dyn Source>, Arc<AtomicUsize>);

impl Source for FarFile {
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read(range)
    }
    fn read_all(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, StoreError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_all(ranges)
    }
    fn is_remote(&self) -> bool {
        true
    }
}

#[test]
fn far_away_a_lookup_takes_few_requests_and_the_same_one_again_none() {
    let requests = many();
    for written in Written::both(&[columns(&requests)]) {
        let asked = Arc::new(AtomicUsize::new(0));
        let far = Arc::new(Far(written.store.clone(), asked.clone()));
        let block = Block::open(far, &written.path, Arc::new(Cache::new(16 << 20))).unwrap();
        let near = written.open().unwrap();
        for id in 1..6u8 {
            let trace = TraceId::new([id; 16]).unwrap();
            let before = asked.load(Ordering::Relaxed);
            let found = block.trace(&trace).unwrap();
            assert_eq!(found, near.trace(&trace).unwrap());
            let first = asked.load(Ordering::Relaxed) - before;
            // The footer, shapes and resources, then the ids, then all pages.
            assert!(first <= if id == 1 { 6 } else { 2 }, "{first}");
            assert_eq!(block.trace(&trace).unwrap(), found);
            assert_eq!(asked.load(Ordering::Relaxed) - before, first);
        }
        let before = asked.load(Ordering::Relaxed);
        assert_eq!(scanned(&block, 10), scanned(&near, 10));
        // One for all, and one for the ids if there are parents.
        assert!(asked.load(Ordering::Relaxed) - before <= 2);
    }
}

#[test]
fn a_flipped_bit_is_never_another_answer_of_a_lookup() {
    let [written, _] = Written::both(&[columns(&many())]);
    let traces: Vec<TraceId> = (1..6u8).map(|id| TraceId::new([id; 16]).unwrap()).collect();
    let found = |block: &Block| traces.iter().map(|trace| block.trace(trace)).collect::<Result<Vec<_>, _>>();
    let good = found(&written.open().unwrap()).unwrap();
    let spans = format!("{}/{SPANS}", written.path);
    let place = Path::new("/blocks").join(&spans);
    let mut noticed = 0;
    for byte in (0..written.store.size(&spans).unwrap()).step_by(17) {
        written.disk.flip(&place, byte, 4);
        match written.open().and_then(|block| found(&block)) {
            Ok(answers) => assert_eq!(answers, good, "byte {byte}"),
            Err(error) => noticed += u32::from(error.is_damage()),
        }
        written.disk.flip(&place, byte, 4);
    }
    assert!(noticed > 100, "{noticed}");
}

#[test]
fn a_trace_is_found_in_several_blocks_in_their_order_and_one_that_cannot_be_read_hides_no_other() {
    let requests = columns(&many());
    let written: Vec<_> = (0..5).map(|_| Written::of(std::slice::from_ref(&requests), Layout::default())).collect();
    let blocks: Vec<Block> = written.iter().map(|written| written.open().unwrap()).collect();
    let blocks: Vec<&Block> = blocks.iter().collect();
    let trace = TraceId::new([1; 16]).unwrap();
    let alone = written[0].open().unwrap().trace(&trace).unwrap().unwrap();
    written[3].disk.remove(&Path::new("/blocks").join(&written[3].path).join(SPANS)).unwrap();
    let found = trace_in(&blocks, &trace, Work::Threads, &|_| true);
    assert_eq!(found.len(), 5);
    for (at, found) in found.into_iter().enumerate() {
        match found {
            Ok(found) => assert!(at != 3 && found == alone, "block {at}"),
            Err(error) => assert!(at == 3 && error.path.ends_with(SPANS), "block {at}: {error}"),
        }
    }
    assert!(trace_in(&blocks, &TraceId::new([99; 16]).unwrap(), Work::Inline, &|_| true).iter().all(Result::is_err));
    assert!(trace_in(&blocks, &trace, Work::Threads, &|_| false).is_empty(), "nobody waits for it");
    assert!(trace_in(&[], &trace, Work::Threads, &|_| true).is_empty());
}

#[test]
fn a_block_that_goes_while_it_is_read_is_an_error_that_says_so() {
    let written = Written::of(&[], Layout::default());
    let block = written.open().unwrap();
    let spans = Path::new("/blocks").join(&written.path).join(SPANS);
    written.disk.remove(&spans).unwrap();
    let error = block.trace(&TraceId::new([1; 16]).unwrap()).unwrap_err();
    assert!(!error.is_damage() && error.path.ends_with(SPANS), "{error}");
    let meta = Path::new("/blocks").join(&written.path).join(META);
    written.disk.remove(&meta).unwrap();
    assert!(written.open().err().unwrap().path.ends_with(META));
}

/// The strings of a column that has some.
fn strings(array: Option<&ArrayRef>) -> Option<Vec<Option<String>>> {
    let array = array?;
    if let Some(views) = array.as_string_view_opt() {
        return Some(views.iter().map(|text| Some(text?.to_owned())).collect());
    }
    let strings = array.as_dictionary_opt::<UInt32Type>()?.downcast_dict::<StringArray>().unwrap();
    Some(strings.into_iter().map(|text| Some(text?.to_owned())).collect())
}

#[test]
fn columns_are_the_same_with_shapes_and_without() {
    let [with, without] = Written::both(&[columns(&many())]).map(|written| written.open().unwrap());
    assert!(with.meta().files.contains_key(SHAPES) && !without.meta().files.contains_key(SHAPES));
    let fields = |block: &Block| {
        let fields = block.schema().unwrap().fields().clone();
        fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    assert_eq!(fields(&with), fields(&without));
    assert_eq!(with.groups().unwrap(), without.groups().unwrap());
    for column in 0..fields(&with).len() {
        let [a, b] = [&with, &without].map(|block| block.column(0, column).unwrap());
        match (strings(a.as_ref()), strings(b.as_ref())) {
            (None, None) => assert_eq!(a, b, "column {column}"),
            (a, b) => assert_eq!(a, b, "column {column}"),
        }
        assert!(with.has_values(0, column).unwrap() >= without.has_values(0, column).unwrap());
    }
}

#[test]
fn a_text_is_found_in_the_rows_that_have_it() {
    // No two are alike, one has another one with its length in it, some have none.
    let mut builder = Builder::new();
    let text = |at: u64| match at {
        7 => "x\u{4}\0\0\0t512".to_owned(),
        at => format!("t{at}"),
    };
    let spans = (0..3_000u64).map(|at| Span {
        trace_id: vec![1; 16],
        span_id: (at + 1).to_be_bytes().to_vec(),
        start_time_unix_nano: at,
        attributes: (at % 3 > 0).then(|| pair("k", &text(at))).into_iter().collect(),
        ..Span::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    builder.add(&TracesData { resource_spans }.encode_to_vec()).unwrap();
    let written = Written::of(&[builder.finish().unwrap()], Layout { page_rows: 64, ..Layout::default() });
    let block = written.open().unwrap();
    let column = block.schema().unwrap().index_of("span.k").unwrap();
    let rows = |text: &str| block.rows_with(0, column, text).unwrap().unwrap();
    assert_eq!(rows("t512"), [512]);
    assert_eq!(rows(&text(7)), [7]);
    assert_eq!(rows("t2999"), [2999]);
    assert_eq!(rows("t3"), [0u32; 0]);
    assert_eq!(rows(""), [0u32; 0]);
    assert_eq!(block.rows_with(0, core::NAME, "").unwrap(), None);
    assert_eq!(block.rows_with(0, core::TRACE_ID, "t").unwrap(), None);
}

#[test]
fn whether_a_text_is_anywhere_in_a_list_is_known_without_reading_the_list() {
    // Events of all spans have texts: of few kinds in one block, each its own in the other. Some are in arrays.
    for kinds in [10, 3_000] {
        let spans = (0..3_000u64).map(|at| {
            let text = format!("text {};", at % kinds);
            let in_array = AnyValue { value: Some(Value::StringValue(text.clone())) };
            let array = Value::ArrayValue(ArrayValue { values: vec![in_array] });
            let attributes = match at % 2 {
                0 => vec![pair("k", &text)],
                _ => vec![KeyValue {
                    key: "k".to_owned(),
                    value: Some(AnyValue { value: Some(array) }),
                    ..KeyValue::default()
                }],
            };
            Span {
                trace_id: vec![1; 16],
                span_id: (at + 1).to_be_bytes().to_vec(),
                events: vec![Event { attributes, ..Event::default() }],
                ..Span::default()
            }
        });
        let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let batch = columns(&TracesData { resource_spans }.encode_to_vec());
        let written = Written::of(&[batch], Layout { page_rows: 64, ..Layout::default() });
        let block = written.open().unwrap();
        let may_have = |text: &str| block.may_have_text(0, core::EVENTS, text).unwrap();
        for known in [0, 1, 7, kinds - 1, kinds - 2] {
            assert!(may_have(&format!("text {known};")), "{known} of {kinds}");
        }
        assert!(!may_have(&format!("text {kinds};")) && !may_have("other"));
        assert!(!block.may_have_text(0, core::LINKS, "text 1;").unwrap());
    }
}

fn pair(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

#[test]
fn blocks_of_former_versions_can_be_read_and_merged() {
    let first: [(&str, &[u8]); 4] = [
        (SPANS, include_bytes!("../fixtures/version-1/spans.parquet")),
        (RESOURCES, include_bytes!("../fixtures/version-1/resources.parquet")),
        (FILTER, include_bytes!("../fixtures/version-1/filter.bin")),
        (META, include_bytes!("../fixtures/version-1/meta.json")),
    ];
    let second: [(&str, &[u8]); 5] = [
        (SPANS, include_bytes!("../fixtures/version-2/spans.parquet")),
        (SHAPES, include_bytes!("../fixtures/version-2/shapes.parquet")),
        (RESOURCES, include_bytes!("../fixtures/version-2/resources.parquet")),
        (FILTER, include_bytes!("../fixtures/version-2/filter.bin")),
        (META, include_bytes!("../fixtures/version-2/meta.json")),
    ];
    for (version, files, count) in [(1, &first[..], 120), (2, &second[..], 2500)] {
        let store: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(SimDisk::new()), Path::new("/blocks")));
        let meta = crate::block::Meta::from_bytes(&Bytes::from_static(files[files.len() - 1].1)).unwrap();
        let path = &meta.spec(Tenant::new(&meta.tenant).unwrap()).path();
        for (name, bytes) in files {
            store.put(&format!("{path}/{name}"), Bytes::from_static(bytes)).unwrap();
        }
        let old = Block::open(store.clone(), path, Arc::new(Cache::new(1 << 20))).unwrap();
        assert_eq!((old.meta().version, old.meta().spans), (version, count));
        let said = scanned(&old, 10);
        assert_eq!(said.len() as u64, count);
        // A copy elsewhere would be there twice, or be shown to another tenant.
        let elsewhere = path.replacen(&meta.tenant, "other", 1);
        for (name, bytes) in files {
            store.put(&format!("{elsewhere}/{name}"), Bytes::from_static(bytes)).unwrap();
        }
        let refused = Block::open(store.clone(), &elsewhere, Arc::new(Cache::new(1 << 20))).err().unwrap();
        assert!(refused.is_damage() && refused.to_string().contains("belongs to"), "{refused}");
        let spec = Spec { level: 1, replaces: vec![old.meta().id], ..Spec::new(Uuid::from_u128(2), Tenant::default()) };
        let layout = Layout { shape_bytes: Some(0), ..Layout::default() };
        let mut writer = BlockWriter::create(store.clone(), &spec, [&**old.meta()], layout).unwrap();
        let sizes = (1000, layout.group_rows);
        crate::block::merge(&mut writer, std::iter::once(&old), sizes, || Ok::<_, WriteError>(())).unwrap();
        writer.finish(old.resources().unwrap().values()).unwrap();
        let new = Block::open(store, &spec.path(), Arc::new(Cache::new(1 << 20))).unwrap();
        assert!(new.meta().version > 2 && new.meta().files.contains_key(SHAPES));
        assert_eq!(scanned(&new, 10), said);
        let ids: Vec<[u8; 16]> = new
            .batches(1000)
            .flat_map(|rows| {
                rows.unwrap().column(core::TRACE_ID).as_fixed_size_binary().value_data().as_chunks().0.to_vec()
            })
            .collect();
        for id in ids.chunk_by(|a, b| a == b).map(|run| TraceId::new(run[0]).unwrap()) {
            let found = |block: &Block| once(spans(&block.trace(&id).unwrap().unwrap()));
            assert_eq!(found(&new), found(&old));
        }
    }
}
