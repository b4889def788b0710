//! Attributes while a batch is built: a column for each key, and lists for what fits no column.

use std::{hash::BuildHasher, sync::Arc};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_schema::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    lists::Pairs,
    pair::{Pair, Value},
    sparse::Sparse,
    strings::{Strings, Texts},
};
use crate::schema::Type;

/// Further keys have no columns in a batch.
pub(super) const MAX_COLUMNS: usize = 512;

/// A column that fewer rows than one in so many have is thin. What a column takes is in proportion to all rows, so thin ones
/// can take far more than what came: together they may take so many times that, or a little. The others go into the lists.
const THIN: usize = 8;
const THIN_BYTES_TIMES: usize = 4;
const THIN_BYTES: usize = 256 << 10;

/// With more columns or keys than this after a batch the next one starts with none.
const KEPT_COLUMNS: usize = MAX_COLUMNS / 2;
const KEPT_KEYS: usize = 2048;

/// The attributes of a batch.
#[derive(Debug)]
pub(super) struct Attributes {
    /// The first is none: it stands for the start of a span.
    keys: Vec<Key>,
    /// Of the keys.
    names: Texts,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Of the keys that have one. The first is none.
    columns: Vec<Column>,
    rest: Pairs,
    /// The key of the last attribute of this row.
    previous: u32,
}

/// Small: a request may have as many keys as it has room for.
#[derive(Debug, Default)]
struct Key {
    /// One more than the last row that had it.
    seen: u32,
    /// Keys that came after this one, the later one first. Spans that are alike follow each other, and their attributes
    /// come in the same order: nearly always it is one of these, and no hash is needed.
    next: [u32; 2],
    /// The place of its column, 0 for none. The column may be empty.
    column: u32,
}

#[derive(Debug, Default)]
enum Column {
    #[default]
    None,
    String(Strings),
    Int(Sparse<i64>),
    Double(Sparse<f64>),
    Bool(Sparse<bool>),
}

/// The attributes of all rows.
#[derive(Debug)]
pub(super) struct Columns {
    /// By key, sorted.
    pub(super) columns: Vec<(String, Type, ArrayRef)>,
    /// Lists of the others.
    pub(super) rest: ArrayRef,
}

impl Default for Attributes {
    fn default() -> Self {
        let mut names = Texts::default();
        names.push(&[]);
        Self {
            keys: vec![Key::default()],
            names,
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            columns: vec![Column::None],
            rest: Pairs::default(),
            previous: 0,
        }
    }
}

impl Attributes {
    /// Starts with the next row's attributes.
    #[inline]
    pub(super) fn start(&mut self) {
        self.previous = 0;
    }

    /// Adds an attribute. False when the row has one with this key already: the columns do not say which came first.
    #[inline(always)]
    pub(super) fn push(&mut self, row: u32, pair: &Pair<'_>) -> bool {
        let at = self.find(pair.key);
        let key = &mut self.keys[at as usize];
        if key.seen == row + 1 {
            self.rest.push(row, pair.key, pair.value);
            return false;
        }
        key.seen = row + 1;
        match (&mut self.columns[key.column as usize], pair.value) {
            (Column::String(column), Value::String(text)) => column.push(row, text),
            (Column::Int(column), Value::Int(value)) => column.push(row, value),
            (Column::Double(column), Value::Double(value)) => column.push(row, value),
            (Column::Bool(column), Value::Bool(value)) => column.push(row, value),
            _ => self.push_other(row, at, pair),
        }
        true
    }

    /// Adds an attribute that has no column of its type yet.
    #[cold]
    fn push_other(&mut self, row: u32, at: u32, pair: &Pair<'_>) {
        let key = &mut self.keys[at as usize];
        let is_new = key.column == 0;
        if self.columns[key.column as usize].len() > 0 || is_new && self.columns.len() > MAX_COLUMNS {
            return self.rest.push(row, pair.key, pair.value);
        }
        let column = match pair.value {
            Value::String(text) => {
                let mut column = Strings::default();
                column.push(row, text);
                Column::String(column)
            }
            Value::Int(value) => Column::Int(one(row, value)),
            Value::Double(value) => Column::Double(one(row, value)),
            Value::Bool(value) => Column::Bool(one(row, value)),
            Value::Empty | Value::Other(_) => return self.rest.push(row, pair.key, pair.value),
        };
        if is_new {
            key.column = self.columns.len() as u32;
            self.columns.push(column);
        } else {
            self.columns[key.column as usize] = column;
        }
    }

    /// The place of a key.
    #[inline(always)]
    fn find(&mut self, name: &[u8]) -> u32 {
        let previous = self.previous as usize;
        let [first, second] = self.keys[previous].next;
        let at = if first != 0 && self.names.get(first) == name {
            first
        } else {
            let at = if second != 0 && self.names.get(second) == name { second } else { self.look_up(name) };
            self.keys[previous].next = [at, first];
            at
        };
        self.previous = at;
        at
    }

    #[inline(never)]
    fn look_up(&mut self, name: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(name);
        let (names, hasher) = (&self.names, &self.hasher);
        if let Some(&found) = self.table.find(hash, |&at| names.get(at) == name) {
            return found;
        }
        let at = self.keys.len() as u32;
        self.keys.push(Key::default());
        self.names.push(name);
        let names = &self.names;
        self.table.insert_unique(hash, at, |&at| hasher.hash_one(names.get(at)));
        at
    }

    /// Forgets the rows.
    pub(super) fn clear(&mut self) {
        if self.keys.len() > KEPT_KEYS || self.columns.len() > KEPT_COLUMNS {
            *self = Self::default();
            return;
        }
        self.rest.clear();
        self.previous = 0;
        self.keys.iter_mut().for_each(|key| key.seen = 0);
        self.columns.iter_mut().for_each(Column::clear);
    }

    /// The attributes of `count` rows, which came in `size` bytes.
    ///
    /// # Errors
    /// When a string is not UTF-8.
    pub(super) fn dense(&self, count: usize, size: usize) -> Result<Columns, ArrowError> {
        let mut left = size.saturating_mul(THIN_BYTES_TIMES).max(THIN_BYTES);
        let mut is_dense = |column: &Column| {
            if column.len() >= count / THIN {
                return true;
            }
            let fits = left.checked_sub(count * size_of::<u64>());
            left = fits.unwrap_or(left);
            fits.is_some()
        };
        let mut columns = Vec::new();
        let mut thin = Vec::new();
        for (at, key) in (0u32..).zip(&self.keys) {
            let column = &self.columns[key.column as usize];
            if column.len() == 0 {
                continue;
            }
            let name = self.names.get(at);
            if is_dense(column) {
                let name = str::from_utf8(name).map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?;
                if let Some((kind, array)) = column.dense(count)? {
                    columns.push((name.to_owned(), kind, array));
                }
            } else {
                column.each(|row, value| thin.push((row, name, value)));
            }
        }
        columns.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        let rest = if thin.is_empty() {
            self.rest.dense(count)?
        } else {
            thin.extend(self.rest.iter());
            thin.sort_by_key(|(row, ..)| *row);
            let mut rest = Pairs::default();
            thin.into_iter().for_each(|(row, name, value)| rest.push(row, name, value));
            rest.dense(count)?
        };
        Ok(Columns { columns, rest })
    }
}

fn one<T: Copy + Default>(row: u32, value: T) -> Sparse<T> {
    let mut column = Sparse::default();
    column.push(row, value);
    column
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::String(column) => column.len(),
            Self::Int(column) => column.len(),
            Self::Double(column) => column.len(),
            Self::Bool(column) => column.len(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::None => {}
            Self::String(column) => column.clear(),
            Self::Int(column) => column.clear(),
            Self::Double(column) => column.clear(),
            Self::Bool(column) => column.clear(),
        }
    }

    fn each<'a>(&'a self, mut push: impl FnMut(u32, Value<'a>)) {
        match self {
            Self::None => {}
            Self::String(column) => column.iter().for_each(|(row, text)| push(row, Value::String(text))),
            Self::Int(column) => column.iter().for_each(|(row, value)| push(row, Value::Int(value))),
            Self::Double(column) => column.iter().for_each(|(row, value)| push(row, Value::Double(value))),
            Self::Bool(column) => column.iter().for_each(|(row, value)| push(row, Value::Bool(value))),
        }
    }

    fn dense(&self, count: usize) -> Result<Option<(Type, ArrayRef)>, ArrowError> {
        let array: (Type, ArrayRef) = match self {
            Self::None => return Ok(None),
            Self::String(column) => (Type::String, column.dense(count)?),
            Self::Int(column) => {
                let (values, nulls) = column.dense(count);
                (Type::Int, Arc::new(Int64Array::try_new(values.into(), nulls)?))
            }
            Self::Double(column) => {
                let (values, nulls) = column.dense(count);
                (Type::Double, Arc::new(Float64Array::try_new(values.into(), nulls)?))
            }
            Self::Bool(column) => {
                let (values, nulls) = column.dense(count);
                (Type::Bool, Arc::new(BooleanArray::new(values.into(), nulls)))
            }
        };
        Ok(Some(array))
    }
}
