use std::{collections::HashMap, path::Path, sync::Arc};

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
    block::{BlockWriter, META, SPANS, Spec},
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
    fn of(batches: &[Spans]) -> Self {
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
        };
        let path = spec.path();
        let inputs: Vec<_> = batches.iter().map(|spans| spans.batch.clone()).collect();
        let resources: HashMap<u64, _> =
            batches.iter().flat_map(|spans| &spans.resources).map(|resource| (resource.id, resource.clone())).collect();
        let resources: Vec<_> = resources.into_values().collect();
        BlockWriter::write_all(store.clone(), spec, &inputs, &resources).unwrap();
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
        let block = Written::of(&batches).open().unwrap();
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

#[test]
fn a_flipped_bit_anywhere_is_an_error_that_names_the_file_and_never_another_answer() {
    let requests = {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let request = arbitrary::request().prop_filter("few spans", |request| request.encoded_len() > 2000);
        request.new_tree(&mut runner).unwrap().current().encode_to_vec()
    };
    let written = Written::of(&[columns(&requests)]);
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
    let written = Written::of(&[]);
    let block = written.open().unwrap();
    let spans = Path::new("/blocks").join(&written.path).join(SPANS);
    written.disk.remove(&spans).unwrap();
    let error = block.trace(&TraceId::new([1; 16]).unwrap()).unwrap_err();
    assert!(!error.is_damage() && error.path.ends_with(SPANS), "{error}");
    let meta = Path::new("/blocks").join(&written.path).join(META);
    written.disk.remove(&meta).unwrap();
    assert!(written.open().err().unwrap().path.ends_with(META));
}
