//! Whether spans say the same, wherever they lie: those do that are stored twice.

use std::collections::{HashMap, HashSet};

use arrow_array::{
    Array,
    cast::AsArray,
    types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use arrow_schema::{DataType, TimeUnit};
use clew_storage::{
    block::BlockError,
    schema::{self, core},
};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    scope::Scope,
    trace::{Parent, Span},
};

/// Drops spans that are stored twice: they are in different parts, and the same in all that they say. Of these the first stays.
/// Parents are told by their ids, and what has the same times and id stands together. Blocking.
pub fn drop_repeats(scope: &Scope, spans: &mut Vec<Span>) {
    let alike = |a: &Span, b: &Span| (a.id, a.start, a.duration) == (b.id, b.start, b.duration);
    let suspicious = |pair: &[Span]| alike(&pair[0], &pair[1]) && pair[0].part != pair[1].part;
    if !spans.windows(2).any(suspicious) {
        return;
    }
    let pace = scope.pace();
    let mut repeats = HashSet::new();
    let mut before = 0;
    for run in spans.chunk_by(alike) {
        let first = before;
        before += run.len();
        if run.iter().all(|span| span.part == run[0].part) {
            continue;
        }
        let mut parts: HashMap<(Parent, u128), u32> = HashMap::new();
        for (at, span) in run.iter().enumerate().take_while(|_| pace.goes_on()) {
            // What cannot be compared stays.
            let Some(content) = content(scope, span) else { continue };
            if *parts.entry((span.parent, content)).or_insert(span.part) != span.part {
                repeats.insert(first + at);
            }
        }
    }
    let mut at = 0;
    spans.retain(|_| {
        at += 1;
        !repeats.contains(&(at - 1))
    });
}

/// A hash of all that a span says but for its parent; None when it cannot be read.
fn content(scope: &Scope, span: &Span) -> Option<u128> {
    match describe(scope, span.part, span.row as usize) {
        Ok(text) => Some(xxh3_128(&text)),
        Err(error) => {
            scope.failed(&error);
            None
        }
    }
}

/// All of it as bytes: other bytes say something else. The same as storage compares when it writes blocks.
fn describe(scope: &Scope, part: u32, row: usize) -> Result<Vec<u8>, BlockError> {
    let part = &scope.parts[part as usize].part;
    let mut text = Vec::new();
    for at in (0..core::COUNT).filter(|at| ![core::PARENT_SPAN_ID, core::PARENT_ROW, core::ATTRIBUTES].contains(at)) {
        match part.column(&scope.cache, at)? {
            Some(array) => value(&array, row, &mut text),
            None => text.push(0),
        }
    }
    // An attribute is the same wherever it is.
    let mut attributes = Vec::new();
    for (key, kind, at) in schema::attributes(&part.schema) {
        if let Some(array) = part.column(&scope.cache, at)?
            && array.is_valid(row)
        {
            let mut attribute = head(key.as_bytes(), kind as u8);
            value(&array, row, &mut attribute);
            attributes.push(attribute);
        }
    }
    let listed = part.column(&scope.cache, core::ATTRIBUTES)?;
    if let Some(lists) = listed.as_ref().and_then(|lists| lists.as_list_opt::<i32>())
        && lists.is_valid(row)
    {
        let list = lists.value(row);
        let list = list.as_struct();
        for entry in 0..list.len() {
            // The fields after the key are in the order of `schema::Type`, then `other`.
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
    attributes.iter().for_each(|attribute| bytes(attribute, &mut text));
    Ok(text)
}

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
