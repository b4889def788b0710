//! How long the result of a function may be, before it is known.

use arrow_array::{Array, ArrayRef, cast::AsArray};
use arrow_schema::DataType;
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::ColumnarValue,
};

/// What a number or time takes as text, at most: with the digits of the smallest double.
const NUMBER_BYTES: usize = 330;

/// An argument of a call on some rows.
pub struct Argument {
    values: ArrayRef,
    /// Of all rows; a constant's counts for each of them.
    pub bytes: usize,
    is_constant: bool,
}

impl Argument {
    pub fn of(value: &ColumnarValue, rows: usize) -> Result<Self> {
        let (values, is_constant) = match value {
            ColumnarValue::Array(values) => (values.clone(), false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        let times = if is_constant { rows } else { 1 };
        Ok(Self { bytes: bytes_of(&values).saturating_mul(times), values, is_constant })
    }

    /// The bytes of a row's text; 0 when it is none.
    fn text(&self, row: usize) -> &[u8] {
        let row = if self.is_constant { 0 } else { row };
        if self.values.is_null(row) {
            return &[];
        }
        match self.values.data_type() {
            DataType::Utf8 => self.values.as_string::<i32>().value(row).as_bytes(),
            DataType::LargeUtf8 => self.values.as_string::<i64>().value(row).as_bytes(),
            DataType::Utf8View => self.values.as_string_view().value(row).as_bytes(),
            _ => &[],
        }
    }

    /// The values of a row's list; 0 when it is none.
    fn values(&self, row: usize) -> usize {
        let row = if self.is_constant { 0 } else { row };
        fn leaves(list: ArrayRef) -> usize {
            match list.data_type() {
                DataType::List(_) => list.as_list::<i32>().iter().flatten().map(leaves).sum(),
                DataType::LargeList(_) => list.as_list::<i64>().iter().flatten().map(leaves).sum(),
                DataType::FixedSizeList(..) => list.as_fixed_size_list().iter().flatten().map(leaves).sum(),
                _ => list.len(),
            }
        }
        leaves(self.values.slice(row, 1))
    }
}

/// What the rows of an array say, without what other rows do.
pub fn bytes_of(values: &ArrayRef) -> usize {
    match values.data_type() {
        DataType::Utf8View => values.as_string_view().lengths().map(|length| length as usize).sum(),
        DataType::BinaryView => values.as_binary_view().lengths().map(|length| length as usize).sum(),
        DataType::List(_) => {
            let (offsets, all) = (values.as_list::<i32>().offsets(), values.as_list::<i32>().values());
            let (start, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
            size_of_val(&offsets[..]) + bytes_of(&all.slice(start, end - start))
        }
        DataType::Map(..) => {
            let (offsets, entries) = (values.as_map().offsets(), values.as_map().entries());
            let (start, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
            let columns = entries.columns().iter().map(|column| bytes_of(&column.slice(start, end - start)));
            size_of_val(&offsets[..]) + columns.sum::<usize>()
        }
        DataType::Struct(_) => values.as_struct().columns().iter().map(bytes_of).sum(),
        _ => values.to_data().get_slice_memory_size().unwrap_or_else(|_| values.get_array_memory_size()),
    }
}

/// What a constant takes.
pub fn bytes_of_constant(value: &ScalarValue) -> Result<usize> {
    Ok(bytes_of(&value.to_array()?))
}

/// Bytes that the result of a function on so many rows takes at most.
pub fn longest(function: &str, arguments: &[Argument], rows: usize) -> usize {
    let all = arguments.iter().fold(0usize, |all, argument| all.saturating_add(argument.bytes));
    let each = |longest: &dyn Fn(usize) -> usize| (0..rows).map(longest).fold(0usize, usize::saturating_add);
    match (function, arguments) {
        ("replace", [text, from, to]) => each(&|row| {
            let (text, from, to) = (text.text(row).len(), from.text(row).len(), to.text(row).len());
            // An empty text is found before each character and behind the last one.
            let found = text.checked_div(from).unwrap_or(text + 1);
            text.saturating_add(found.saturating_mul(to))
        }),
        ("regexp_replace", [text, _, to, ..]) => each(&|row| {
            let (text, to) = (text.text(row).len(), to.text(row));
            // Each match may be empty, and the replacement may repeat it.
            let repeated = 1 + to.iter().filter(|byte| matches!(byte, b'\\' | b'$')).count();
            (text + 1).saturating_mul(to.len()).saturating_add(repeated.saturating_mul(text))
        }),
        // Each group may have all of the text.
        ("regexp_match", [text, pattern, ..]) => each(&|row| {
            let groups = 1 + pattern.text(row).iter().filter(|byte| **byte == b'(').count();
            groups.saturating_mul(text.text(row).len() + 16)
        }),
        ("array_to_string", [list, between @ ..]) => each(&|row| {
            let value = NUMBER_BYTES + between.iter().map(|text| text.text(row).len()).sum::<usize>();
            list.values(row).saturating_mul(value)
        })
        .saturating_add(all),
        // A part of a format is two characters and becomes a date and a time; a text a list of its characters.
        ("to_char" | "string_to_array", _) => all.saturating_mul(20),
        // The longest upper and lower case has three times the bytes, and the longest character four.
        ("lower" | "upper" | "initcap" | "translate", _) => all.saturating_mul(4),
        ("concat" | "concat_ws" | "overlay" | "reverse", _) => all,
        // A part of what they are given, or all of it in another order; and offsets.
        _ => all.saturating_mul(2),
    }
}
