//! Values in lists: attributes without a column, events and links.

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampNanosecondArray, cast::AsArray, types::TimestampNanosecondType,
};
use opentelemetry_proto::tonic::common::v1::AnyValue;
use prost::Message;

use super::Source;
use crate::traceql::value::Value;

/// The columns of lists of attributes.
struct Pairs<'a> {
    keys: &'a StringArray,
    strings: &'a StringArray,
    ints: &'a Int64Array,
    doubles: &'a Float64Array,
    bools: &'a BooleanArray,
    others: &'a BinaryArray,
}

impl<'a> Pairs<'a> {
    fn of(values: &'a StructArray) -> Option<Self> {
        Some(Self {
            keys: values.column(0).as_string_opt()?,
            strings: values.column(1).as_string_opt()?,
            ints: values.column(2).as_any().downcast_ref()?,
            doubles: values.column(3).as_any().downcast_ref()?,
            bools: values.column(4).as_any().downcast_ref()?,
            others: values.column(5).as_binary_opt()?,
        })
    }

    fn value(&self, at: usize) -> Value {
        if self.strings.is_valid(at) {
            Value::String(self.strings.value(at).to_owned())
        } else if self.ints.is_valid(at) {
            Value::Int(self.ints.value(at))
        } else if self.doubles.is_valid(at) {
            Value::Float(self.doubles.value(at))
        } else if self.bools.is_valid(at) {
            Value::Bool(self.bools.value(at))
        } else if self.others.is_valid(at) {
            AnyValue::decode(self.others.value(at)).map_or(Value::Opaque, |any| Value::from(&any))
        } else {
            Value::Nil
        }
    }

    /// The entries with this key, with their values.
    fn with_key<'k>(&'k self, key: &'k str) -> impl Iterator<Item = (usize, Value)> + 'k {
        (0..self.keys.len()).filter(move |at| self.keys.value(*at) == key).map(|at| (at, self.value(at)))
    }
}

/// The row of each entry, for entries in order.
struct Rows<'a> {
    offsets: &'a [i32],
    row: usize,
}

impl<'a> Rows<'a> {
    fn of(lists: &'a ListArray) -> Self {
        Self { offsets: lists.value_offsets(), row: 0 }
    }

    fn of_entry(&mut self, entry: usize) -> u32 {
        let rest = &self.offsets[self.row..];
        self.row += rest.partition_point(|start| *start as usize <= entry).saturating_sub(1);
        self.row as u32
    }
}

/// Span attributes that have no column of their own.
pub fn listed(lists: Option<&ListArray>, key: &str) -> Option<Source> {
    let lists = lists?;
    let pairs = Pairs::of(lists.values().as_struct_opt()?)?;
    let mut rows = Rows::of(lists);
    let mut found: Vec<(u32, Value)> = Vec::new();
    for (entry, value) in pairs.with_key(key) {
        let row = rows.of_entry(entry);
        // The first of the same key counts.
        if !value.is_nil() && found.last().is_none_or(|(last, _)| *last != row) {
            found.push((row, value));
        }
    }
    (!found.is_empty()).then_some(Source::Sparse(found, lists.len()))
}

/// A span attribute that has no column of its own.
pub struct Listed {
    pub row: u32,
    pub key: String,
    pub value: Value,
}

/// The span attributes with wanted keys that have no column of their own, in order of their rows; of several with the same key
/// the first.
pub fn listed_entries(array: Option<ArrayRef>, wanted: impl Fn(&str) -> bool) -> Vec<Listed> {
    let lists = array.as_ref().and_then(|array| array.as_list_opt::<i32>());
    let Some((lists, values)) = lists.and_then(|lists| Some((lists, lists.values().as_struct_opt()?))) else {
        return Vec::new();
    };
    let Some(pairs) = Pairs::of(values) else { return Vec::new() };
    let mut rows = Rows::of(lists);
    let mut entries: Vec<Listed> = Vec::new();
    for at in (0..values.len()).filter(|at| wanted(pairs.keys.value(*at))) {
        let (row, key) = (rows.of_entry(at), pairs.keys.value(at));
        let mut of_row = entries.iter().rev().take_while(|entry| entry.row == row);
        if !of_row.any(|entry| entry.key == key) {
            entries.push(Listed { row, key: key.to_owned(), value: pairs.value(at) });
        }
    }
    entries
}

/// Attributes of what spans have several of, events or links, whose attributes are in the column `at` of their struct.
pub fn nested(array: Option<ArrayRef>, at: usize, key: &str) -> Option<Source> {
    let lists = array.as_ref()?.as_list_opt::<i32>()?;
    let attributes = lists.values().as_struct_opt()?.column(at).as_list_opt::<i32>()?;
    let pairs = Pairs::of(attributes.values().as_struct_opt()?)?;
    let (mut of_pair, mut of_entry) = (Rows::of(attributes), Rows::of(lists));
    let mut found = Gathered::default();
    let mut last = None;
    for (pair, value) in pairs.with_key(key) {
        let entry = of_pair.of_entry(pair);
        if !value.is_nil() && last != Some(entry) {
            last = Some(entry);
            found.add(of_entry.of_entry(entry as usize), value);
        }
    }
    found.source(lists.len())
}

/// Values of which a row can have several.
#[derive(Default)]
struct Gathered(Vec<(u32, Vec<Value>)>);

impl Gathered {
    fn add(&mut self, row: u32, value: Value) {
        let elements = match value {
            Value::Array(elements) => elements,
            one => vec![one],
        };
        match self.0.last_mut() {
            Some((last, values)) if *last == row => values.extend(elements),
            _ => self.0.push((row, elements)),
        }
    }

    fn source(self, rows: usize) -> Option<Source> {
        let all = self.0.into_iter().map(|(row, values)| (row, Value::Array(values)));
        (all.len() > 0).then(|| Source::Sparse(all.collect(), rows))
    }
}

/// One value of each event or link.
pub fn entries(array: Option<ArrayRef>, value: impl Fn(&StructArray, usize) -> Value) -> Option<Source> {
    let lists = array.as_ref()?.as_list_opt::<i32>()?;
    let values = lists.values().as_struct_opt()?;
    let mut rows = Rows::of(lists);
    let mut found = Gathered::default();
    for entry in 0..values.len() {
        let value = value(values, entry);
        if !value.is_nil() {
            found.add(rows.of_entry(entry), value);
        }
    }
    found.source(lists.len())
}

pub fn since_start(array: Option<ArrayRef>, starts: Option<TimestampNanosecondArray>) -> Option<Source> {
    let (array, starts) = (array?, starts?);
    let lists = array.as_list_opt::<i32>()?;
    let times = lists.values().as_struct_opt()?.column(0).as_primitive_opt::<TimestampNanosecondType>()?;
    let mut rows = Rows::of(lists);
    let mut found = Gathered::default();
    for entry in 0..times.len() {
        let row = rows.of_entry(entry);
        found.add(row, Value::Duration(times.value(entry).wrapping_sub(starts.value(row as usize))));
    }
    found.source(lists.len())
}
