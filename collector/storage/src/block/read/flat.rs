//! Arrays of the pieces of a column that is no list. The parquet crate's readers would do, but to set sixty of them up takes longer than
//! a trace's few rows.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, PrimitiveArray,
    StringArray, UInt32Array,
    types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use arrow_buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field};
use parquet::{basic::Type, schema::types::ColumnDescriptor};

use super::{
    Why,
    cut::{Piece, string, width},
};
use crate::schema::TIME;

/// The values of a column as an array of a field's type.
pub fn array(field: &Field, column: &ColumnDescriptor, pieces: &[Piece]) -> Result<ArrayRef, Why> {
    let rows: usize = pieces.iter().map(|piece| piece.rows).sum();
    let levels = pieces.iter().flat_map(|piece| &piece.definitions);
    let nulls = (column.max_def_level() > 0).then(|| levels.map(|level| *level > 0).collect::<NullBuffer>());
    if nulls.as_ref().is_some_and(|nulls| nulls.len() != rows) {
        return Err(too_few());
    }
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let made = match (column.physical_type(), width(column)) {
        (Type::BOOLEAN, _) if *field.data_type() == DataType::Boolean => {
            let bits = values(pieces, |plain, at| Some(plain.get(at / 8)? >> (at % 8) & 1 == 1));
            let bits = bits.ok_or_else(too_few)?.into_iter().map(Option::unwrap_or_default).collect();
            Ok(Arc::new(BooleanArray::new(bits, nulls)) as ArrayRef)
        }
        (Type::BYTE_ARRAY, _) => return strings(field, pieces, nulls),
        (_, Some(width)) => {
            let mut all = MutableBuffer::with_capacity(rows * width);
            for value in values(pieces, |plain, at| plain.get(at * width..(at + 1) * width)).ok_or_else(too_few)? {
                match value {
                    Some(value) => all.extend_from_slice(value),
                    None => all.extend_zeros(width),
                }
            }
            let all = all.into();
            match (field.data_type(), width) {
                (DataType::Int32, 4) => primitive::<Int32Type>(all, nulls),
                (DataType::UInt32, 4) => primitive::<UInt32Type>(all, nulls),
                (DataType::Int64, 8) => primitive::<Int64Type>(all, nulls),
                (DataType::UInt64, 8) => primitive::<UInt64Type>(all, nulls),
                (DataType::Float64, 8) => primitive::<Float64Type>(all, nulls),
                (kind, 8) if *kind == TIME => primitive::<TimestampNanosecondType>(all, nulls),
                (DataType::FixedSizeBinary(size), _) if *size as usize == width => {
                    FixedSizeBinaryArray::try_new(*size, all, nulls).map(|array| Arc::new(array) as _)
                }
                _ => return Err(wrong(field)),
            }
        }
        _ => return Err(wrong(field)),
    };
    made.map_err(|error| Why::Columns(error.to_string()))
}

fn primitive<T: ArrowPrimitiveType>(values: Buffer, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls).map(|array| Arc::new(array) as _)
}

/// The value of each row, by the place that it has among those of its piece that are not null. None when they are fewer.
fn values<'a, T>(pieces: &'a [Piece], value: impl Fn(&'a [u8], usize) -> Option<T>) -> Option<Vec<Option<T>>> {
    let mut all = Vec::with_capacity(pieces.iter().map(|piece| piece.rows).sum());
    for piece in pieces {
        let mut next = 0;
        for row in 0..piece.rows {
            if piece.definitions.get(row).is_some_and(|level| *level == 0) {
                all.push(None);
            } else {
                all.push(Some(value(&piece.plain, next)?));
                next += 1;
            }
        }
    }
    Some(all)
}

/// Strings, or bytes. Of a dictionary each row has a value of its own.
fn strings(field: &Field, pieces: &[Piece], nulls: Option<NullBuffer>) -> Result<ArrayRef, Why> {
    let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = &piece.plain[..];
        for row in 0..piece.rows {
            let is_null = piece.definitions.get(row).is_some_and(|level| *level == 0);
            let value = if is_null { &[] } else { string(&mut rest).ok_or_else(too_few)? };
            bytes.extend_from_slice(value);
            lengths.push(value.len());
        }
    }
    if i32::try_from(bytes.len()).is_err() {
        return Err(Why::Columns(format!("a trace has {} bytes in a column, the limit is 2 GiB", bytes.len())));
    }
    let (keys, offsets) = (UInt32Array::from_iter_values(0..lengths.len() as u32), OffsetBuffer::from_lengths(lengths));
    let bytes = Buffer::from_vec(bytes);
    let made = match field.data_type() {
        DataType::Binary => BinaryArray::try_new(offsets, bytes, nulls).map(|array| Arc::new(array) as _),
        DataType::Utf8 => StringArray::try_new(offsets, bytes, nulls).map(|array| Arc::new(array) as _),
        DataType::Dictionary(..) => StringArray::try_new(offsets, bytes, None).and_then(|texts| {
            let keys = UInt32Array::try_new(keys.values().clone(), nulls)?;
            DictionaryArray::<UInt32Type>::try_new(keys, Arc::new(texts)).map(|array| Arc::new(array) as _)
        }),
        _ => return Err(wrong(field)),
    };
    made.map_err(|error| Why::Columns(error.to_string()))
}

fn too_few() -> Why {
    Why::Columns("it has fewer rows than it says".to_owned())
}

fn wrong(field: &Field) -> Why {
    Why::Columns(format!("column {} is not of the type that it says", field.name()))
}
