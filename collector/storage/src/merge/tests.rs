//! What rows say, for the tests of blocks, which cover the order too.

use arrow_array::RecordBatch;

use super::{locate, same::describe_row, starts};

/// What each row says, as bytes.
pub(crate) fn described(batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let starts = starts(batches.iter().map(RecordBatch::num_rows));
    let of = |row: u32| {
        let mut said = Vec::new();
        describe_row(batches, &starts, row, &mut said);
        said
    };
    (0..rows as u32).map(of).collect()
}

#[test]
fn a_row_is_found_in_its_batch_though_some_are_empty() {
    // Batches of 0, 2, 0, 3 rows.
    let starts = [0, 0, 2, 2];
    assert_eq!((0..5).map(|row| locate(&starts, row)).collect::<Vec<_>>(), [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]);
}
