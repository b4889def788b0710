//! Which attributes of which rows go to columns of their own, and which to lists.

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{Float64Type, Int64Type, UInt32Type},
};
use hashbrown::HashMap;

use super::{
    WriteError,
    flat::Flat,
    lists::{Entry, Pairs, Value},
    strings::{FlatStrings, NULL},
    wrong,
};
use crate::schema::{self, Type, core};

/// The attributes of some inputs, one input after the other.
pub struct Attributes<'a> {
    inputs: &'a [RecordBatch],
    columns: &'a [(String, Type)],
    /// For each input, its own arrays of `columns`.
    own: Vec<Vec<Option<&'a dyn Array>>>,
    /// Where the lists of rows end in `entries`.
    ends: Vec<u32>,
    entries: Vec<Entry<'a>>,
    /// Rows without a list at all are told from empty ones by nobody, so that there are none.
    moved: Vec<Vec<(usize, Value<'a>)>>,
}

impl<'a> Attributes<'a> {
    /// Sorts them out. `columns` are those of the block.
    pub fn of(inputs: &'a [RecordBatch], columns: &'a [(String, Type)]) -> Result<Self, WriteError> {
        let places: HashMap<&str, usize> =
            columns.iter().enumerate().map(|(at, (key, _))| (key.as_str(), at)).collect();
        let rows = inputs.iter().map(RecordBatch::num_rows).sum();
        let mut all = Self {
            inputs,
            columns,
            own: Vec::with_capacity(inputs.len()),
            ends: Vec::with_capacity(rows),
            entries: Vec::new(),
            moved: columns.iter().map(|_| Vec::new()).collect(),
        };
        for input in inputs {
            all.input(input, &places)?;
        }
        Ok(all)
    }

    fn input(&mut self, input: &'a RecordBatch, places: &HashMap<&str, usize>) -> Result<(), WriteError> {
        let lists = Pairs::new(input.column(core::ATTRIBUTES)).ok_or_else(|| wrong(core::ATTRIBUTES))?;
        let mut own = vec![None; self.columns.len()];
        let mut demoted = Vec::new();
        for (key, kind, at) in schema::attributes(input.schema_ref()) {
            let array = input.column(at).as_ref();
            match places.get(key) {
                Some(place) if self.columns[*place].1 == kind => own[*place] = Some(array),
                _ if array.null_count() == array.len() => {}
                _ => demoted.push(Demoted { key, array, kind }),
            }
        }
        self.own.push(own);
        if lists.is_empty() && demoted.is_empty() {
            self.ends.resize(self.ends.len() + input.num_rows(), self.entries.len() as u32);
            return Ok(());
        }
        let at = self.own.len() - 1;
        for row in 0..input.num_rows() {
            let flat = self.ends.len();
            for entry in lists.row(row).into_iter().flatten() {
                match self.place(&entry, places) {
                    Some(place)
                        if self.own[at][place].is_none_or(|own| own.is_null(row))
                            && self.moved[place].last().is_none_or(|(last, _)| *last != flat) =>
                    {
                        self.moved[place].push((flat, entry.value));
                    }
                    _ => self.entries.push(entry),
                }
            }
            self.entries.extend(demoted.iter().filter_map(|column| column.entry(row)));
            self.ends.push(u32::try_from(self.entries.len()).map_err(|_| WriteError::TooMany)?);
        }
        Ok(())
    }

    /// The column that an entry of a list may move to.
    fn place(&self, entry: &Entry<'_>, places: &HashMap<&str, usize>) -> Option<usize> {
        let place = *places.get(entry.key)?;
        let fits = matches!(
            (self.columns[place].1, entry.value),
            (Type::String, Value::String(_))
                | (Type::Int, Value::Int(_))
                | (Type::Double, Value::Double(_))
                | (Type::Bool, Value::Bool(_))
        );
        fits.then_some(place)
    }

    /// The attributes of a row that have no column; None without any.
    pub fn list(&self, row: usize) -> Option<&[Entry<'a>]> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        let end = self.ends[row] as usize;
        (start < end).then(|| &self.entries[start..end])
    }

    /// Those with columns.
    pub fn columns(&self) -> &'a [(String, Type)] {
        self.columns
    }

    /// The value of a row in a column.
    pub fn value(&self, at: usize, (input, row): (usize, usize), flat: usize) -> Option<Value<'a>> {
        if let Some(array) = self.own[input][at].filter(|array| array.is_valid(row)) {
            return value(array, self.columns[at].1, row);
        }
        let moved = &self.moved[at];
        moved.binary_search_by_key(&flat, |(row, _)| *row).ok().map(|found| moved[found].1)
    }

    /// The inputs' own arrays of a column, None where it has none.
    fn arrays(&self, at: usize) -> impl Iterator<Item = (usize, Option<&'a dyn Array>)> {
        self.inputs.iter().zip(&self.own).map(move |(input, own)| (input.num_rows(), own[at]))
    }

    /// The column of a key of strings.
    pub fn strings(&self, at: usize) -> Result<FlatStrings<'a>, WriteError> {
        let mut flat = FlatStrings::new(self.ends.len());
        for (rows, array) in self.arrays(at) {
            match array {
                Some(array) => flat.append(array).ok_or_else(|| self.wrong(at))?,
                None => flat.nulls(rows),
            }
        }
        for (row, value) in &self.moved[at] {
            if let Value::String(value) = value {
                debug_assert_eq!(flat.keys[*row], NULL);
                flat.keys[*row] = flat.table.key(value.as_bytes());
            }
        }
        Ok(flat)
    }

    /// The column of a key of whole numbers.
    pub fn ints(&self, at: usize) -> Result<Flat<i64>, WriteError> {
        self.flat(
            at,
            |flat, array| flat.append::<Int64Type>(array),
            |value| match value {
                Value::Int(value) => Some(value),
                _ => None,
            },
        )
    }

    /// The column of a key of numbers.
    pub fn doubles(&self, at: usize) -> Result<Flat<f64>, WriteError> {
        self.flat(
            at,
            |flat, array| flat.append::<Float64Type>(array),
            |value| match value {
                Value::Double(value) => Some(value),
                _ => None,
            },
        )
    }

    /// The column of a key of truths.
    pub fn bools(&self, at: usize) -> Result<Flat<u8>, WriteError> {
        self.flat(at, Flat::append_bools, |value| match value {
            Value::Bool(value) => Some(value.into()),
            _ => None,
        })
    }

    fn flat<T: Copy + Default>(
        &self,
        at: usize,
        append: impl Fn(&mut Flat<T>, &dyn Array) -> Option<()>,
        of: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Flat<T>, WriteError> {
        let mut flat = Flat::new(self.ends.len());
        for (rows, array) in self.arrays(at) {
            match array {
                Some(array) => append(&mut flat, array).ok_or_else(|| self.wrong(at))?,
                None => flat.nulls(rows),
            }
        }
        for (row, value) in &self.moved[at] {
            if let Some(value) = of(*value) {
                flat.set(*row, value);
            }
        }
        Ok(flat)
    }

    fn wrong(&self, at: usize) -> WriteError {
        WriteError::Column(format!("{}{}", schema::ATTRIBUTE_PREFIX, self.columns[at].0))
    }
}

/// A column of an input that is none in the block.
struct Demoted<'a> {
    key: &'a str,
    array: &'a dyn Array,
    kind: Type,
}

impl<'a> Demoted<'a> {
    fn entry(&self, row: usize) -> Option<Entry<'a>> {
        if self.array.is_null(row) {
            return None;
        }
        Some(Entry { key: self.key, value: value(self.array, self.kind, row)? })
    }
}

/// The value of a row that has one. None if the column is of another type.
fn value(array: &dyn Array, kind: Type, row: usize) -> Option<Value<'_>> {
    Some(match kind {
        Type::String => {
            let strings = array.as_any_dictionary_opt()?;
            let key = array.as_dictionary_opt::<UInt32Type>()?.keys().value(row);
            Value::String(strings.values().as_string_opt::<i32>()?.value(key as usize))
        }
        Type::Int => Value::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
        Type::Double => Value::Double(array.as_primitive_opt::<Float64Type>()?.value(row)),
        Type::Bool => Value::Bool(array.as_boolean_opt()?.value(row)),
    })
}
