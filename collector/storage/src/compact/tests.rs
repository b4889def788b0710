//! Whether merges take the place of blocks, whatever happens to them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use arrow_array::RecordBatch;
use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::{SimDisk, Work},
    world::{Clock, Random, World},
};
use proptest::strategy::{Strategy, ValueTree};
use prost::Message;
use uuid::Uuid;

use super::*;
use crate::{
    block::{
        BlockWriter, Layout, Spec,
        merge::tests::{Row, sorted, spans},
    },
    columns::{
        Spans,
        tests::{arbitrary, columns},
    },
    merge::{Batches, described},
    store::Folder,
    verify::{check_block, folders},
};

/// Blocks, and what merges them a few rows at a time.
struct Merging {
    disk: SimDisk,
    store: Arc<dyn Store>,
    compactor: Compactor,
}

const SIZES: Sizes = Sizes {
    window_rows: 160,
    layout: Layout { group_rows: 64, page_rows: 16, least_page_rows: 8, level: 1, shape_bytes: None },
};

fn spec(tenant: Tenant, number: u128) -> Spec {
    Spec { created_ms: 10 * DAY_MS, ..Spec::new(Uuid::from_u128(number), tenant) }
}

impl Merging {
    fn new() -> Self {
        let disk = SimDisk::new();
        let store: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(disk.clone()), Path::new("/blocks")));
        let world = World {
            disk: Arc::new(disk.clone()),
            work: Work::Inline,
            clock: Clock::Tokio { epoch_ms: 10 * DAY_MS, zero: tokio::time::Instant::now() },
            random: Random::seeded(1),
        };
        let compactor = Compactor {
            contents: Arc::new(Contents::new(HashMap::new())),
            store: store.clone(),
            cache: Arc::new(Cache::new(1 << 20)),
            sweeper: Sweeper::new(store.clone(), Duration::from_secs(600)),
            world,
            owner: Owner::new(Uuid::from_u128(1), Vec::new(), true),
            sizes: SIZES,
            unsettled: Arc::default(),
            left_out: Arc::default(),
            counts: Arc::default(),
            room: Room::beside(0),
        };
        Self { disk, store, compactor }
    }

    /// Adds a block.
    fn add(&self, tenant: &str, number: u128, rows: &[Row]) {
        let (tenant, spans) = (Tenant::new(tenant).unwrap(), spans(rows));
        let spec = spec(tenant.clone(), number);
        BlockWriter::write_all(&self.store, &spec, &[spans.batch], &spans.resources, SIZES.layout).unwrap();
        let block = Block::open(self.store.clone(), &spec.path(), self.compactor.cache.clone()).unwrap();
        self.compactor.contents.replace(&tenant, &[], Some(Arc::new(block)));
    }

    fn step(&self) -> Result<bool, CompactError> {
        self.compactor.step(|| Ok(()))
    }

    fn blocks(&self, tenant: &str) -> Vec<Arc<Block>> {
        self.compactor.contents.instant(&Tenant::new(tenant).unwrap()).blocks.whole.clone()
    }
}

/// Rows of one trace that no two blocks have in common, but for one that all of them have.
fn long_trace(block: u64) -> Vec<Row> {
    let rows = (0..300u64).map(|n| (7, 8 * n + block, (n % 250) as u8 + 1, block as u8));
    rows.chain([(7, 1000, 255, 0), (1, 0, 1, block as u8), (9, 0, 1, block as u8)]).collect()
}

#[tokio::test(start_paused = true)]
async fn traces_longer_than_what_is_read_at_a_time_are_merged_whole_and_in_order() {
    let merging = Merging::new();
    for block in 0..8 {
        merging.add("a", u128::from(block) + 1, &long_trace(block));
    }
    let inputs: Vec<RecordBatch> =
        merging.blocks("a").iter().flat_map(|block| block.batches(1000)).map(Result::unwrap).collect();
    assert!(merging.step().unwrap());
    let blocks = merging.blocks("a");
    assert_eq!((blocks.len(), blocks[0].meta().spans), (1, 8 * 302 + 1));
    let merged: Vec<RecordBatch> = blocks[0].batches(1000).map(Result::unwrap).collect();
    assert!(described(&merged) == described(&sorted(&inputs)));
    let merged = folders(&merging.store).unwrap().pop().unwrap();
    let damage = check_block(&*merging.store, &merged, merged.block.as_ref().unwrap().as_ref().unwrap()).unwrap();
    assert_eq!(damage, []);
}

#[tokio::test(start_paused = true)]
async fn a_large_trace_in_pieces_as_former_versions_merged_it_is_no_damage() {
    let merging = Merging::new();
    let spec = spec(Tenant::default(), 1);
    let pieces = [0, 1].map(|piece| spans(&(0..100).map(|n| (7, n, n as u8 + 1, piece)).collect::<Vec<_>>()));
    let counts = crate::merge::Counts::default();
    let mut writer = BlockWriter::with_counts(merging.store.clone(), &spec, counts, SIZES.layout).unwrap();
    pieces.iter().for_each(|piece| writer.write(&mut Batches(std::slice::from_ref(&piece.batch))).unwrap());
    writer.finish(&pieces[0].resources).unwrap();
    let found = folders(&merging.store).unwrap().pop().unwrap();
    let damage = check_block(&*merging.store, &found, found.block.as_ref().unwrap().as_ref().unwrap()).unwrap();
    assert_eq!(damage, []);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_page_stops_no_merge_of_other_blocks_and_makes_answers_partial() {
    let merging = Merging::new();
    for number in 0..9 {
        for (tenant, first) in [("a", 1), ("b", 100)] {
            merging.add(tenant, first + number, &long_trace(number as u64));
        }
    }
    let damaged = format!("{}/{}", merging.blocks("a")[2].path(), crate::block::SPANS);
    merging.disk.flip(&Path::new("/blocks").join(damaged), 1000, 3);
    let mut steps = 0;
    while merging.step().unwrap() {
        steps += 1;
        assert!(steps < 10);
    }
    let left = |tenant| {
        let blocks = merging.compactor.contents.instant(&Tenant::new(tenant).unwrap()).blocks;
        (blocks.whole.len(), blocks.damaged.len())
    };
    // What can be read of the damaged one is still found.
    assert_eq!((left("a"), left("b")), ((2, 1), (1, 0)));
    assert_eq!(merging.compactor.counts.get(Event::MergeFailure, "damaged"), 1);
}

#[test]
fn the_same_spans_make_the_same_bytes() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let request = |_| arbitrary::request().new_tree(&mut runner).unwrap().current().encode_to_vec();
    let batches: Vec<Spans> = (0..60).map(request).map(|request| columns(&request)).collect();
    let write = |layout| {
        let store: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(SimDisk::new()), Path::new("/blocks")));
        let inputs: Vec<_> = batches.iter().map(|spans| spans.batch.clone()).collect();
        // In another order each time.
        let resources: HashMap<u64, _> =
            batches.iter().flat_map(|spans| &spans.resources).map(|resource| (resource.id, resource.clone())).collect();
        let resources: Vec<_> = resources.into_values().collect();
        BlockWriter::write_all(&store, &spec(Tenant::default(), 1), &inputs, &resources, layout).unwrap();
        let files = store.list("").unwrap().into_iter();
        files.map(|file| store.read(&file.path, 0..file.bytes).map(|bytes| (file.path, bytes)).unwrap()).collect()
    };
    for layout in [Layout::default(), Layout { shape_bytes: Some(0), ..SIZES.layout }] {
        let first: BTreeMap<String, Bytes> = write(layout);
        assert!(first.len() >= 4);
        for _ in 0..4 {
            let again = write(layout);
            let differ: Vec<_> = first.keys().filter(|path| first.get(*path) != again.get(*path)).collect();
            assert!(differ.is_empty(), "{differ:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn merges_give_way_until_too_many_blocks_wait_for_one() {
    let merging = Merging::new();
    for number in 1..=MANY as u128 {
        merging.add("a", number, &[(1, 0, 1, 0)]);
        // What another tenant has waits beside it.
        merging.add("b", 1000 + number, &[(1, 0, 1, 0)]);
    }
    assert!(!merging.compactor.is_behind());
    merging.add("a", 500, &[(1, 0, 1, 0)]);
    assert!(merging.compactor.is_behind());
    while merging.compactor.is_behind() {
        assert!(merging.step().unwrap());
    }
}
