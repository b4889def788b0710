use std::{collections::HashMap, path::Path, sync::Arc};

use arrow_array::{ArrayRef, StringArray, cast::AsArray, types::UInt32Type};
use clew_common::{
    ids::{Tenant, TraceId},
    log::{Disk, SimDisk},
    otlp::filter,
};
use proptest::{prelude::*, strategy::ValueTree};
use prost::Message;
use uuid::Uuid;

use super::{Block, BlockError, Cache};
use crate::{
    block::{BlockWriter, FILTER, Layout, META, RESOURCES, SHAPES, SPANS, Spec},
    columns::{
        Spans,
        tests::{arbitrary, columns, spans},
        write_otlp,
    },
    store::{Folder, Store},
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
        let spec = Spec {
            id: Uuid::from_u128(1),
            tenant: Tenant::default(),
            level: 0,
            created_ms: 0,
            wal: Vec::new(),
            replaces: Vec::new(),
            may_duplicate: false,
            owner: None,
        };
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
        for written in Written::both(&batches) {
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
fn a_block_of_the_first_version_can_be_read_and_merged() {
    let disk = SimDisk::new();
    let store: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(disk), Path::new("/blocks")));
    let path = "default/blocks/1970-01-01/00000000-0000-0000-0000-000000000001";
    let files: [(&str, &[u8]); 4] = [
        (SPANS, include_bytes!("../fixtures/version-1/spans.parquet")),
        (RESOURCES, include_bytes!("../fixtures/version-1/resources.parquet")),
        (FILTER, include_bytes!("../fixtures/version-1/filter.bin")),
        (META, include_bytes!("../fixtures/version-1/meta.json")),
    ];
    for (name, bytes) in files {
        store.put(&format!("{path}/{name}"), bytes.into()).unwrap();
    }
    let old = Block::open(store.clone(), path, Arc::new(Cache::new(1 << 20))).unwrap();
    assert_eq!((old.meta().version, old.meta().spans), (1, FIXTURE_SPANS));
    let said = scanned(&old, 10);
    assert_eq!(said.len() as u64, FIXTURE_SPANS);
    let inputs: Vec<_> = old.batches(10).map(Result::unwrap).collect();
    let resources: Vec<_> = old.resources().unwrap().values().cloned().collect();
    let spec = Spec {
        id: Uuid::from_u128(2),
        tenant: Tenant::default(),
        level: 1,
        created_ms: 0,
        wal: Vec::new(),
        replaces: vec![old.meta().id],
        may_duplicate: false,
        owner: None,
    };
    let layout = Layout { shape_bytes: Some(0), ..Layout::default() };
    BlockWriter::write_all(&store, &spec, &inputs, &resources, layout).unwrap();
    let new = Block::open(store, &spec.path(), Arc::new(Cache::new(1 << 20))).unwrap();
    assert!(new.meta().version > 1 && new.meta().files.contains_key(SHAPES));
    assert_eq!(scanned(&new, 10), said);
}

const FIXTURE_SPANS: u64 = 120;
