//! Whether merges keep every span, in order, however long the traces are.

use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::{concat::concat_batches, take::take_record_batch};
use clew_common::{ids::Tenant, log::SimDisk};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

use super::{
    streams::{Batches, Streams},
    *,
};
use crate::{
    block::{Cache, Layout, Spec},
    columns::{
        Spans,
        tests::{arbitrary, columns},
    },
    merge::{self, described, locate, order, starts},
    store::{Folder, Store},
};

/// Trace, start, span, and which of several that have these in common.
pub(crate) type Row = (u8, u64, u8, u8);

pub(crate) fn spans(rows: &[Row]) -> Spans {
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
pub(crate) fn sorted(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let order = order(&mut merge::Batches(batches)).unwrap();
    let starts = starts(batches.iter().map(RecordBatch::num_rows));
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
            let window = window.concat();
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
            let window = window.concat();
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

    #[test]
    fn a_merge_says_what_its_inputs_say_each_once_and_in_order(
        inputs in proptest::collection::vec(proptest::collection::vec(input_rows(), 0..3), 1..5),
        (window, group_rows, page_rows) in (1..40usize, 1..60usize, 1..4usize),
        (before, after) in (any::<bool>(), any::<bool>()),
    ) {
        let layout = |shapes: bool| Layout { group_rows, page_rows: 8 * page_rows, least_page_rows: 4 * page_rows, level: 1, shape_bytes: shapes.then_some(0) };
        let store: Arc<dyn Store> = Arc::new(Folder::new(Arc::new(SimDisk::new()), std::path::Path::new("/blocks")));
        let cache = Arc::new(Cache::new(1 << 20));
        let open = |number| Block::open(store.clone(), &spec(number).path(), cache.clone()).unwrap();
        let write = |(number, inputs): (usize, &Vec<Spans>)| {
            let batches: Vec<_> = inputs.iter().map(|spans| spans.batch.clone()).collect();
            let resources: Vec<_> = inputs.iter().flat_map(|spans| spans.resources.clone()).collect();
            BlockWriter::write_all(&store, &spec(number), &batches, &resources, layout(before)).unwrap();
            open(number)
        };
        let blocks: Vec<Block> = inputs.iter().enumerate().map(write).collect();
        let rows = |block: &Block| block.batches(7).map(Result::unwrap).collect::<Vec<_>>();
        let all: Vec<RecordBatch> = blocks.iter().flat_map(rows).collect();
        let new = || {
            let metas = blocks.iter().map(|block| &**block.meta());
            BlockWriter::create(store.clone(), &spec(100), metas, layout(after)).unwrap()
        };

        let (mut writer, mut reads) = (new(), 0u32);
        let counting = || {
            reads += 1;
            Ok::<_, WriteError>(())
        };
        super::merge(&mut writer, blocks.iter(), (window, group_rows), counting).unwrap();
        writer.finish(&[]).unwrap();
        let merged = rows(&open(100));
        prop_assert!(described(&merged) == described(&sorted(&all)));

        // Whoever pauses it can end it, at any column.
        if reads > 0 {
            let mut left = reads / 2;
            let stopping = || {
                left = left.checked_sub(1).ok_or(WriteError::TooMany)?;
                Ok(())
            };
            let stopped = super::merge(&mut new(), blocks.iter(), (window, group_rows), stopping);
            prop_assert!(matches!(stopped, Err(WriteError::TooMany)));
        }
    }
}

/// Spans of all kinds, or many that are alike.
fn input_rows() -> impl Strategy<Value = Spans> {
    prop_oneof![
        arbitrary::request().prop_map(|request| columns(&request.encode_to_vec())),
        rows().prop_map(|rows| spans(&rows)),
    ]
}

fn spec(number: usize) -> Spec {
    Spec::new(Uuid::from_u128(number as u128 + 1), Tenant::default())
}

fn traces(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let ids = rows.column(crate::schema::core::TRACE_ID).as_fixed_size_binary();
    (0..rows.num_rows()).map(|row| ids.value(row).to_vec()).collect()
}
