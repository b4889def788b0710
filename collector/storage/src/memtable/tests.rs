use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_array::RecordBatch;
use clew_common::log::Work;

use super::{Arrival, Packed, Table, open_all};
use crate::{
    columns::{Builder, Spans},
    tests::{batch, trace},
};

fn spans(traces: &[u8]) -> Spans {
    let mut builder = Builder::new();
    builder.add(&batch(traces, "x")).unwrap();
    builder.finish().unwrap()
}

fn rows(batches: &[RecordBatch]) -> Vec<usize> {
    batches.iter().map(RecordBatch::num_rows).collect()
}

/// Spans of these traces, which count when they are opened; of none in `broken` ones.
fn packed(traces: &'static [u8], opened: &Arc<AtomicUsize>, broken: bool) -> Arrival {
    let opened = opened.clone();
    let open = Box::new(move || {
        opened.fetch_add(1, Ordering::Relaxed);
        (!broken).then(|| spans(traces))
    });
    Arrival::Packed(Packed { traces: traces.iter().map(|number| [*number; 16]).collect(), bytes: 1, open })
}

#[test]
fn what_is_packed_is_found_and_opened_once_when_somebody_looks_at_it() {
    let (opened, of_all) = (Arc::default(), Arc::<AtomicUsize>::default());
    let table = Table::new(of_all.clone());
    table.insert(1, false, packed(&[1, 2, 2], &opened, false));
    table.insert(2, false, Arrival::Open(spans(&[3])));
    table.insert(3, false, packed(&[4, 2], &opened, false));
    assert_eq!(table.find_places(&trace(2), &(0..3)), [0, 2]);
    assert_eq!(table.first_where(|seq| seq == 3), Some(2));
    let before = table.bytes();
    assert_eq!(opened.load(Ordering::Relaxed), 0);

    let found = table.find(&trace(1), &(0..3));
    assert_eq!(found.iter().map(|batch| batch.rows_of(&trace(1))).collect::<Vec<_>>(), [vec![0]]);
    assert_eq!(table.find(&trace(2), &(0..2))[0].rows_of(&trace(2)), [1, 2]);
    assert_eq!(opened.load(Ordering::Relaxed), 1, "only the one that has the trace, and once");
    assert!(table.bytes() > before + 1000, "columns count: {} and {before}", table.bytes());

    let rows = |work| rows(&open_all(&table.all(), work, &|| true));
    assert_eq!((rows(Work::Threads), rows(Work::Inline)), (vec![3, 1, 2], vec![3, 1, 2]));
    assert_eq!(opened.load(Ordering::Relaxed), 2);
    assert_eq!(table.bytes(), of_all.load(Ordering::Relaxed));
}

#[test]
fn many_are_opened_by_several_threads_each_once() {
    let opened = Arc::default();
    let table = Table::new(Arc::default());
    for seq in 0..200 {
        table.insert(seq, false, packed(&[1, 2], &opened, false));
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(rows(&open_all(&table.all(), Work::Threads, &|| true)), [2; 200]));
        }
    });
    assert_eq!(opened.load(Ordering::Relaxed), 200);
}

#[test]
fn after_a_no_the_rest_stays_packed_and_every_batch_keeps_its_place() {
    let opened = Arc::<AtomicUsize>::default();
    let table = Table::new(Arc::default());
    (1..=5).for_each(|seq| table.insert(seq, false, packed(&[1], &opened, false)));
    let go_on = || opened.load(Ordering::Relaxed) < 2;
    assert_eq!(rows(&open_all(&table.all(), Work::Inline, &go_on)), [1, 1, 0, 0, 0]);
    assert_eq!(rows(&open_all(&table.all(), Work::Inline, &|| true)), [1; 5]);
}

#[test]
fn what_is_counted_is_what_the_columns_take_whatever_was_thought_before() {
    let of_all = Arc::<AtomicUsize>::default();
    let bytes = [1, 10 << 20].map(|guess| {
        let table = Table::new(of_all.clone());
        let open = Box::new(|| Some(spans(&[1])));
        table.insert(1, false, Arrival::Packed(Packed { traces: vec![[1; 16]], bytes: guess, open }));
        assert!((guess..guess + 100).contains(&table.bytes()));
        table.all()[0].columns();
        table.bytes()
    });
    assert_eq!(bytes[0], bytes[1]);
    assert_eq!(of_all.load(Ordering::Relaxed), 2 * bytes[0]);
}

#[test]
fn after_a_panic_the_spans_are_still_there() {
    let tries = AtomicUsize::new(0);
    let table = Table::new(Arc::default());
    let open = Box::new(move || {
        assert!(tries.fetch_add(1, Ordering::Relaxed) > 0, "the first one");
        Some(spans(&[1]))
    });
    table.insert(1, false, Arrival::Packed(Packed { traces: vec![[1; 16]], bytes: 1, open }));
    let batches = table.all();
    assert!(catch_unwind(AssertUnwindSafe(|| batches[0].columns().num_rows())).is_err());
    assert_eq!(batches[0].columns().num_rows(), 1);
}

#[test]
fn what_cannot_be_opened_has_no_spans() {
    let opened = Arc::default();
    let table = Table::new(Arc::default());
    table.insert(1, false, packed(&[1], &opened, true));
    table.insert(2, false, packed(&[1], &opened, false));
    let found = table.find(&trace(1), &(0..2));
    assert_eq!(found.iter().map(|batch| batch.rows_of(&trace(1)).len()).collect::<Vec<_>>(), [0, 1]);
}
