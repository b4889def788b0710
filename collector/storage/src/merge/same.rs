//! Whether rows are equal in all that they say.

use std::convert::Infallible;

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use arrow_schema::{DataType, Schema, TimeUnit};
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::locate;
use crate::schema::{self, Type, core};

/// Appends those of some rows that say something new, to `to`: numbers, each with a place in the concatenation of the batches.
pub fn push_distinct(
    batches: &[RecordBatch],
    starts: &[usize],
    rows: impl Iterator<Item = (u32, u32)>,
    to: &mut Vec<u32>,
) {
    let mut seen: HashMap<u64, Vec<u32>> = HashMap::new();
    let (mut text, mut other) = (Vec::new(), Vec::new());
    for (number, place) in rows {
        describe_row(batches, starts, place, &mut text);
        let alike = seen.entry(xxh3_64(&text)).or_default();
        let known = alike.iter().any(|alike| {
            describe_row(batches, starts, *alike, &mut other);
            other == text
        });
        if !known {
            alike.push(place);
            to.push(number);
        }
    }
}

/// Puts all that a row of batches in memory form says into bytes: two rows have the same bytes if and only if they say the same.
pub(super) fn describe_row(batches: &[RecordBatch], starts: &[usize], row: u32, to: &mut Vec<u8>) {
    let (batch, row) = locate(starts, row);
    let batch = &batches[batch];
    let column = |at: usize| Ok::<_, Infallible>(Some(batch.column(at).clone()));
    let Ok(()) = describe(batch.schema_ref(), row, column, to);
}

/// Puts all that a row says into bytes, in which form ever its columns are: two rows have the same bytes if and only if they say the same.
/// `column` gives a column by its place in the schema; None says of no row anything. The parent is told by its id alone.
///
/// # Errors
/// Those of `column`.
pub fn describe<E>(
    schema: &Schema,
    row: usize,
    column: impl Fn(usize) -> Result<Option<ArrayRef>, E>,
    to: &mut Vec<u8>,
) -> Result<(), E> {
    to.clear();
    for at in (0..core::COUNT).filter(|at| ![core::PARENT_ROW, core::ATTRIBUTES].contains(at)) {
        match column(at)? {
            Some(array) => value(&array, row, to),
            None => to.push(0),
        }
    }
    // An attribute is the same wherever it is.
    let mut attributes = Vec::new();
    for (key, kind, at) in schema::attributes(schema) {
        if let Some(array) = column(at)?
            && array.is_valid(row)
        {
            let mut attribute = head(key.as_bytes(), kind as u8);
            value(&array, row, &mut attribute);
            attributes.push(attribute);
        }
    }
    let listed = column(core::ATTRIBUTES)?;
    if let Some(lists) = listed.as_ref().and_then(|lists| lists.as_list_opt::<i32>())
        && lists.is_valid(row)
    {
        let list = lists.value(row);
        let list = list.as_struct();
        for entry in 0..list.len() {
            // The fields after the key are in the order of `Type`, then `other`.
            let field = (1..list.num_columns()).find(|field| list.column(*field).is_valid(entry));
            let tag = field.map_or(u8::MAX, |field| (field - 1) as u8);
            let mut attribute = head(list.column(0).as_string::<i32>().value(entry).as_bytes(), tag);
            if let Some(field) = field {
                value(list.column(field), entry, &mut attribute);
            }
            attributes.push(attribute);
        }
    }
    attributes.sort_unstable();
    attributes.iter().for_each(|attribute| bytes(attribute, to));
    Ok(())
}

const _: () =
    assert!(Type::String as u8 == 0 && Type::Int as u8 == 1 && Type::Double as u8 == 2 && Type::Bool as u8 == 3);

fn head(key: &[u8], tag: u8) -> Vec<u8> {
    let mut head = Vec::new();
    bytes(key, &mut head);
    head.push(tag);
    head
}

fn bytes(value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    to.extend_from_slice(value);
}

/// Appends a value so that no other value begins with the same bytes.
fn value(array: &dyn Array, row: usize, to: &mut Vec<u8>) {
    if array.is_null(row) {
        to.push(0);
        return;
    }
    to.push(1);
    match array.data_type() {
        DataType::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().value(row), to),
        DataType::Binary => bytes(array.as_binary::<i32>().value(row), to),
        DataType::Utf8 => bytes(array.as_string::<i32>().value(row).as_bytes(), to),
        DataType::Utf8View => bytes(array.as_string_view().value(row).as_bytes(), to),
        DataType::Boolean => to.push(array.as_boolean().value(row).into()),
        DataType::Int32 => number::<Int32Type, _>(array, row, |n| n.to_le_bytes(), to),
        DataType::Int64 => number::<Int64Type, _>(array, row, |n| n.to_le_bytes(), to),
        DataType::UInt32 => number::<UInt32Type, _>(array, row, |n| n.to_le_bytes(), to),
        DataType::UInt64 => number::<UInt64Type, _>(array, row, |n| n.to_le_bytes(), to),
        DataType::Float64 => number::<Float64Type, _>(array, row, |n| n.to_le_bytes(), to),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            number::<TimestampNanosecondType, _>(array, row, |n| n.to_le_bytes(), to);
        }
        DataType::Dictionary(..) => {
            // A string is the same in a dictionary and without one.
            to.pop();
            let dictionary = array.as_any_dictionary();
            if let Some(keys) = dictionary.keys().as_primitive_opt::<UInt32Type>() {
                value(dictionary.values(), keys.value(row) as usize, to);
            }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            to.extend_from_slice(&(list.len() as u64).to_le_bytes());
            (0..list.len()).for_each(|row| value(&list, row, to));
        }
        DataType::Struct(_) => array.as_struct().columns().iter().for_each(|column| value(column, row, to)),
        // The schema has no other.
        _ => {}
    }
}

fn number<P: ArrowPrimitiveType, const N: usize>(
    array: &dyn Array,
    row: usize,
    bytes: impl Fn(P::Native) -> [u8; N],
    to: &mut Vec<u8>,
) {
    to.extend_from_slice(&bytes(array.as_primitive::<P>().value(row)));
}
