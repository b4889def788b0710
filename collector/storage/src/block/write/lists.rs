//! Events, links and lists of attributes, row by row.

use std::ops::Range;

use arrow_array::{
    Array, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray, StringArray,
    StructArray, TimestampNanosecondArray, UInt32Array, cast::AsArray,
};

/// An attribute of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    pub key: &'a str,
    pub value: Value<'a>,
}

/// What an attribute is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An AnyValue without any.
    Empty,
    String(&'a str),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// An AnyValue message: an array, a map, bytes.
    Other(&'a [u8]),
}

/// Lists of attributes.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    lists: &'a ListArray,
    key: &'a StringArray,
    string: &'a StringArray,
    int: &'a Int64Array,
    double: &'a Float64Array,
    bool: &'a BooleanArray,
    other: &'a BinaryArray,
}

impl<'a> Pairs<'a> {
    /// None if the column is of another type.
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        let lists: &ListArray = array.as_list_opt()?;
        let pairs = lists.values().as_struct_opt()?;
        Some(Self {
            lists,
            key: field(pairs, 0)?,
            string: field(pairs, 1)?,
            int: field(pairs, 2)?,
            double: field(pairs, 3)?,
            bool: field(pairs, 4)?,
            other: field(pairs, 5)?,
        })
    }

    /// The attributes of a row; None for a null.
    pub fn row(self, row: usize) -> Option<impl Iterator<Item = Entry<'a>>> {
        Some(range(self.lists, row)?.map(move |at| self.entry(at)))
    }

    /// The attributes of all rows, in order.
    pub fn all(self) -> impl Iterator<Item = Entry<'a>> {
        (0..self.lists.len()).filter_map(move |row| self.row(row)).flatten()
    }

    fn entry(&self, at: usize) -> Entry<'a> {
        let value = if self.string.is_valid(at) {
            Value::String(self.string.value(at))
        } else if self.int.is_valid(at) {
            Value::Int(self.int.value(at))
        } else if self.double.is_valid(at) {
            Value::Double(self.double.value(at))
        } else if self.bool.is_valid(at) {
            Value::Bool(self.bool.value(at))
        } else if self.other.is_valid(at) {
            Value::Other(self.other.value(at))
        } else {
            Value::Empty
        };
        Entry { key: self.key.value(at), value }
    }
}

/// A column of events.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    lists: &'a ListArray,
    pub time: &'a TimestampNanosecondArray,
    pub name: &'a StringArray,
    pub attributes: Pairs<'a>,
    pub dropped: &'a UInt32Array,
}

impl<'a> Events<'a> {
    /// None if the column is of another type.
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        let lists: &ListArray = array.as_list_opt()?;
        let events = lists.values().as_struct_opt()?;
        Some(Self {
            lists,
            time: field(events, 0)?,
            name: field(events, 1)?,
            attributes: Pairs::new(events.columns().get(2)?)?,
            dropped: field(events, 3)?,
        })
    }

    /// The places of a row's events; None for a null.
    pub fn row(self, row: usize) -> Option<Range<usize>> {
        range(self.lists, row)
    }
}

/// A column of links.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    lists: &'a ListArray,
    pub trace_id: &'a FixedSizeBinaryArray,
    pub span_id: &'a FixedSizeBinaryArray,
    pub trace_state: &'a StringArray,
    pub attributes: Pairs<'a>,
    pub dropped: &'a UInt32Array,
    pub flags: &'a UInt32Array,
}

impl<'a> Links<'a> {
    /// None if the column is of another type.
    pub fn new(array: &'a dyn Array) -> Option<Self> {
        let lists: &ListArray = array.as_list_opt()?;
        let links = lists.values().as_struct_opt()?;
        Some(Self {
            lists,
            trace_id: field(links, 0).filter(|ids: &&FixedSizeBinaryArray| ids.value_length() == 16)?,
            span_id: field(links, 1).filter(|ids: &&FixedSizeBinaryArray| ids.value_length() == 8)?,
            trace_state: field(links, 2)?,
            attributes: Pairs::new(links.columns().get(3)?)?,
            dropped: field(links, 4)?,
            flags: field(links, 5)?,
        })
    }

    /// The places of a row's links; None for a null.
    pub fn row(self, row: usize) -> Option<Range<usize>> {
        range(self.lists, row)
    }
}

/// A field of a struct.
fn field<T: Array + 'static>(values: &StructArray, at: usize) -> Option<&T> {
    values.columns().get(at)?.as_any().downcast_ref()
}

fn range(lists: &ListArray, row: usize) -> Option<Range<usize>> {
    let offsets = lists.value_offsets();
    // Offsets never go down and are not negative: whoever made the array has checked them.
    lists.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
}
