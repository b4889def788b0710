//! Arrays of what sources say.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, StringViewArray, TimestampNanosecondArray, UInt32Array,
    builder::{BooleanBuilder, Float64Builder, Int64Builder, StringViewBuilder},
    cast::AsArray,
    new_null_array,
    types::{Int64Type, TimestampNanosecondType},
};
use arrow_cast::cast;
use arrow_schema::ArrowError;
use arrow_select::{filter::filter, take::take};
use clew_query::{
    exec::{Rows, Source, Spans, first},
    traceql::value::Value,
};
use clew_storage::schema::core;
use datafusion::common::Result;

use crate::{
    columns::{Kind, Of, SpanColumn},
    error::{damaged, external},
    maps,
};

/// A column of the rows of a part. Blocking.
pub fn column(spans: &Spans, part: usize, rows: &Rows, column: &SpanColumn, all: &[SpanColumn]) -> Result<ArrayRef> {
    let read = |at: usize| spans.core(part, at).map_err(external);
    let whole: ArrayRef = match &column.of {
        Of::Field { field, .. } => {
            return of_sources(&spans.field(part, field).map_err(external)?, rows, column.kind);
        }
        Of::Core(at) => match read(*at)? {
            Some(array) => cast(&array, &column.kind.data_type())?,
            None => return Ok(new_null_array(&column.kind.data_type(), rows.len())),
        },
        Of::Count(at) => match read(*at)? {
            Some(array) => {
                let counts = cast(&array, &Kind::Int.data_type())?;
                let counts = counts.as_primitive::<Int64Type>();
                Arc::new(counts.iter().map(|count| Some(count.unwrap_or(0))).collect::<Int64Array>())
            }
            None => return Ok(Arc::new(Int64Array::from_value(0, rows.len()))),
        },
        Of::Parent => {
            let parents = spans.parents(part).map_err(external)?;
            let mut ids = StringViewBuilder::with_capacity(parents.len());
            let mut text = [0; 16];
            for parent in parents {
                ids.append_option(parent.and_then(|id| hex_of(&id, &mut text)));
            }
            Arc::new(ids.finish())
        }
        Of::End => {
            let (Some(starts), Some(durations)) = (read(core::START_TIME)?, read(core::DURATION)?) else {
                return Ok(new_null_array(&column.kind.data_type(), rows.len()));
            };
            let (starts, durations) =
                (starts.as_primitive::<TimestampNanosecondType>(), durations.as_primitive::<Int64Type>());
            let ends = starts.values().iter().zip(durations.values()).map(|(start, took)| start.wrapping_add(*took));
            Arc::new(TimestampNanosecondArray::from_iter_values(ends))
        }
        Of::Attributes => {
            let Some(lists) = read(core::ATTRIBUTES)? else {
                return Ok(new_null_array(&column.kind.data_type(), rows.len()));
            };
            return maps::of_rest(&only(&lists, rows)?, all);
        }
    };
    Ok(only(&whole, rows)?)
}

/// The rows of an array.
pub fn only(array: &ArrayRef, rows: &Rows) -> Result<ArrayRef, ArrowError> {
    match rows.bits() {
        None => Ok(array.clone()),
        Some(bits) => filter(array, &BooleanArray::new(bits, None)),
    }
}

fn hex_of<'a>(id: &[u8], text: &'a mut [u8]) -> Option<&'a str> {
    hex::encode_to_slice(id, text).ok()?;
    std::str::from_utf8(text).ok()
}

fn of_sources(sources: &[Source], rows: &Rows, kind: Kind) -> Result<ArrayRef> {
    match sources {
        [] => Ok(new_null_array(&kind.data_type(), rows.len())),
        [source] => match of_one(source, kind)? {
            Some(array) => Ok(only(&array, rows)?),
            None => row_by_row(sources, rows, kind),
        },
        _ => row_by_row(sources, rows, kind),
    }
}

/// All rows of a source that says little of each; None when they have to be looked at one by one.
fn of_one(source: &Source, kind: Kind) -> Result<Option<ArrayRef>> {
    Ok(match (source, kind) {
        (Source::Strings(array), Kind::Text) => Some(cast(array, &kind.data_type())?),
        (Source::Views(array), Kind::Text) => Some(Arc::new(array.clone())),
        (Source::Int(array), Kind::Int) => Some(Arc::new(array.clone())),
        (Source::Int(array), Kind::Double) => Some(cast(array, &kind.data_type())?),
        (Source::Float(array), Kind::Double) => Some(Arc::new(array.clone())),
        (Source::Bool(array), Kind::Bool) => Some(Arc::new(array.clone())),
        (Source::Codes(codes, values), _) => {
            let values = of_values(values.iter(), kind);
            Some(take(&values, &UInt32Array::from(codes.codes.clone()), None)?)
        }
        (Source::Hex(ids), Kind::Text) => Some(hex_column(ids)),
        (Source::Kind(_) | Source::Status(..), Kind::Text) => {
            // Few different ones, short enough to be in the views themselves.
            let texts: StringViewArray =
                (0..source.rows()).map(|row| Some(name_of(&source.value(row)))).collect::<StringViewArray>();
            Some(Arc::new(texts))
        }
        _ => None,
    })
}

fn name_of(value: &Value) -> String {
    maps::text(value).unwrap_or_default()
}

fn row_by_row(sources: &[Source], rows: &Rows, kind: Kind) -> Result<ArrayRef> {
    let all = sources.first().map_or(0, Source::rows);
    let values: Vec<Value> = match rows.bits() {
        None => (0..all).map(|row| first(sources, row)).collect(),
        Some(bits) => bits.set_indices().map(|row| first(sources, row)).collect(),
    };
    if values.len() != rows.len() {
        return Err(damaged("a column has other rows than its part"));
    }
    Ok(of_values(values.iter(), kind))
}

/// Values as a column. What is not of its kind is null.
pub fn of_values<'a>(values: impl Iterator<Item = &'a Value>, kind: Kind) -> ArrayRef {
    match kind {
        Kind::Int => {
            let mut column = Int64Builder::new();
            values.for_each(|value| {
                column.append_option(if let Value::Int(number) = value { Some(*number) } else { None })
            });
            Arc::new(column.finish())
        }
        Kind::Double => {
            let mut column = Float64Builder::new();
            values.for_each(|value| {
                column.append_option(match value {
                    Value::Float(number) => Some(*number),
                    Value::Int(number) => Some(*number as f64),
                    _ => None,
                });
            });
            Arc::new(column.finish())
        }
        Kind::Bool => {
            let mut column = BooleanBuilder::new();
            values.for_each(|value| column.append_option(if let Value::Bool(yes) = value { Some(*yes) } else { None }));
            Arc::new(column.finish())
        }
        Kind::Text | Kind::Unsigned | Kind::Time | Kind::Map => {
            let mut column = StringViewBuilder::new();
            values.for_each(|value| column.append_option(maps::text(value)));
            Arc::new(column.finish())
        }
    }
}

/// Ids in hex.
pub fn hex_column(ids: &arrow_array::FixedSizeBinaryArray) -> ArrayRef {
    let mut texts = StringViewBuilder::with_capacity(ids.len());
    let mut text = vec![0; 2 * ids.value_length() as usize];
    for id in ids {
        texts.append_option(id.and_then(|id| hex_of(id, &mut text)));
    }
    Arc::new(texts.finish())
}
