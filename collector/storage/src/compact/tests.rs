//! Whether merges keep every span, in order, however long the traces are.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::{concat::concat_batches, take::take_record_batch};
use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::{SimDisk, Work},
    world::{Clock, Random, World},
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use proptest::{prelude::*, strategy::ValueTree};
use prost::Message;
use uuid::Uuid;

use super::{streams::Batches, *};
use crate::{
    block::{BlockWriter, Layout, Spec},
    columns::{
        Spans,
        tests::{arbitrary, columns},
    },
    merge::{described, locate, order, starts},
    store::Folder,
    verify::{check_block, folders},
};

/// Trace, start, span, and which of several that have these in common.
type Row = (u8, u64, u8, u8);

fn spans(rows: &[Row]) -> Spans {
    let span = |(trace, start, span, other): &Row| Span {
        trace_id: vec![*trace; 16],
        span_id: vec![*span; 8],
        start_time_unix_nano: *start,
        end_time_unix_nano: *start,
        name: format!("{other}"),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: rows.iter().map(span).collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    columns(&TracesData { resource_spans }.encode_to_vec())
}

/// All rows of some batches, in the order of blocks and without duplicates.
fn sorted(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let (order, starts) = (order(batches).unwrap(), starts(batches));
    let row = |row: &u32| {
        let (batch, row) = locate(&starts, *row);
        take_record_batch(&batches[batch], &UInt32Array::from(vec![row as u32])).unwrap()
    };
    order.rows.iter().map(row).collect()
}

/// A block of these rows, read so many at a time.
fn input(rows: &[RecordBatch], at_once: usize) -> Batches {
    let batches: Vec<_> =
        rows.chunks(at_once).map(|rows| Ok(concat_batches(&rows[0].schema(), rows).unwrap())).collect();
    Box::new(batches.into_iter())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // Few values: traces go on over many batches, rows are equal in part or in all.
    proptest::collection::vec((1..4u8, 0..6u64, 1..4u8, 0..2u8), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_hold_each_row_in_order_with_all_that_may_be_its_duplicates(
        inputs in proptest::collection::vec((rows(), 1..8usize), 1..5),
    ) {
        let inputs: Vec<_> = inputs.iter().map(|(rows, at_once)| (sorted(&[spans(rows).batch]), *at_once)).collect();
        let all: Vec<RecordBatch> = inputs.iter().flat_map(|(rows, _)| rows.clone()).collect();
        let mut streams = Streams::open(inputs.iter().map(|(rows, at_once)| input(rows, *at_once)));
        let (mut merged, mut read) = (Vec::new(), 0);
        while let Some(window) = streams.next().unwrap() {
            read += window.iter().map(RecordBatch::num_rows).sum::<usize>();
            merged.extend(sorted(&window));
        }
        prop_assert_eq!(read, all.len());
        prop_assert!(described(&merged) == described(&sorted(&all)));
    }

    #[test]
    fn of_inputs_in_the_order_of_traces_alone_no_row_is_lost(
        inputs in proptest::collection::vec((rows(), 1..4usize), 1..5),
    ) {
        let by_trace = |rows: &[Row]| {
            let mut rows = rows.to_vec();
            rows.sort_by_key(|row| row.0);
            rows.iter().map(|row| spans(&[*row]).batch).collect::<Vec<_>>()
        };
        let inputs: Vec<_> = inputs.iter().map(|(rows, at_once)| (by_trace(rows), *at_once)).collect();
        let mut all: Vec<RecordBatch> = inputs.iter().flat_map(|(rows, _)| rows.clone()).collect();
        let mut streams = Streams::open(inputs.iter().map(|(rows, at_once)| input(rows, *at_once)));
        let (mut given, mut last) = (Vec::new(), Vec::new());
        while let Some(window) = streams.next().unwrap() {
            let traces: Vec<Vec<u8>> = window.iter().flat_map(traces).collect();
            prop_assert!(traces.iter().all(|trace| *trace >= last));
            last = traces.into_iter().max().unwrap_or(last);
            given.extend(window);
        }
        let said = |batches: &mut Vec<RecordBatch>| {
            let mut said = described(batches);
            said.sort();
            said
        };
        prop_assert!(said(&mut given) == said(&mut all));
    }
}

fn traces(rows: &RecordBatch) -> Vec<Vec<u8>> {
    use arrow_array::cast::AsArray;
    let ids = rows.column(crate::schema::core::TRACE_ID).as_fixed_size_binary();
    (0..rows.num_rows()).map(|row| ids.value(row).to_vec()).collect()
}

/// Blocks, and what merges them a few rows at a time.
struct Merging {
    disk: SimDisk,
    store: Arc<dyn Store>,
    compactor: Compactor,
}

const SIZES: Sizes =
    Sizes { window_rows: 160, layout: Layout { group_rows: 64, page_rows: 16, level: 1, shape_bytes: None } };

fn spec(tenant: Tenant, number: u128) -> Spec {
    Spec {
        id: Uuid::from_u128(number),
        tenant,
        level: 0,
        created_ms: 10 * DAY_MS,
        wal: Vec::new(),
        replaces: Vec::new(),
        may_duplicate: false,
        owner: None,
    }
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
    pieces.iter().for_each(|piece| writer.write(std::slice::from_ref(&piece.batch)).unwrap());
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
