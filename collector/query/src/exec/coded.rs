//! A field as small numbers, one for each of its values: what spans are grouped by.

use std::hash::{Hash, Hasher};

use arrow_array::{Array, StringArray, StringViewArray, cast::AsArray};
use hashbrown::{Equivalent, HashMap};

use super::field::{Source, first};
use crate::traceql::value::Value;

/// For each row a place among the values.
pub struct Coded {
    pub codes: Vec<u32>,
    /// Of different places different ones, but where a dictionary has one twice.
    pub values: Vec<Value>,
}

impl Coded {
    /// Of the first source that has a value in each row.
    pub fn of(sources: &[Source], rows: usize) -> Self {
        match sources {
            [] => Self { codes: vec![0; rows], values: vec![Value::Nil] },
            [source] => Self::of_one(source, rows),
            [rest @ .., last] if rest.iter().all(|source| matches!(source, Source::Sparse(..))) => {
                // Some rows have another one.
                let mut coded = Self::of_one(last, rows);
                for source in rest.iter().rev() {
                    let Source::Sparse(found, _) = source else { continue };
                    for (row, value) in found {
                        coded.codes[*row as usize] = coded.values.len() as u32;
                        coded.values.push(value.clone());
                    }
                }
                coded
            }
            _ => Self::of_values((0..rows).map(|row| first(sources, row))),
        }
    }

    fn of_one(source: &Source, rows: usize) -> Self {
        let column = Column::of(source, rows);
        let values = (0..column.len()).map(|at| column.value(at)).collect();
        Self { codes: column.codes, values }
    }

    /// Of the values of all rows.
    pub fn of_values(rows: impl Iterator<Item = Value>) -> Self {
        let mut places: HashMap<Key, u32> = HashMap::new();
        let mut values = Vec::new();
        let code = |value: Value| {
            *places.entry(Key(value)).or_insert_with_key(|key| {
                values.push(key.0.clone());
                values.len() as u32 - 1
            })
        };
        let codes = rows.map(code).collect();
        Self { codes, values }
    }
}

/// The same of one source. Texts are made into values only when these are asked for: they may be many.
pub struct Column<'a> {
    pub codes: Vec<u32>,
    values: Values<'a>,
}

enum Values<'a> {
    Made(Vec<Value>),
    /// Of a dictionary; what comes after it is nil.
    Dictionary(&'a StringArray, usize),
    /// The rows where they are first.
    Rows(&'a StringViewArray, Vec<u32>),
}

impl From<Coded> for Column<'_> {
    fn from(Coded { codes, values }: Coded) -> Self {
        Self { codes, values: Values::Made(values) }
    }
}

impl<'a> Column<'a> {
    /// Of a source.
    pub fn of(source: &'a Source, rows: usize) -> Self {
        match source {
            Source::Strings(array) => {
                let texts = array.values().as_string::<i32>();
                let keys = array.keys().values();
                let nil = texts.len() as u32;
                let codes = match array.nulls() {
                    None => keys.to_vec(),
                    Some(nulls) => {
                        keys.iter().enumerate().map(|(row, key)| if nulls.is_valid(row) { *key } else { nil }).collect()
                    }
                };
                Self { codes, values: Values::Dictionary(texts, texts.len() + usize::from(array.nulls().is_some())) }
            }
            Source::Views(array) => {
                let (codes, rows) = coded(rows, |row| array.is_valid(row).then(|| array.value(row)));
                Self { codes, values: Values::Rows(array, rows) }
            }
            Source::Codes(codes, values) => Self { codes: codes.codes.clone(), values: Values::Made(values.clone()) },
            Source::Int(array) | Source::Duration(array) => {
                let number = |row| array.is_valid(row).then(|| array.value(row) as u64);
                Self::made(source, numbered(rows, number))
            }
            Source::Float(array) => {
                Self::made(source, numbered(rows, |row| array.is_valid(row).then(|| array.value(row).to_bits())))
            }
            Source::Bool(array) => {
                Self::made(source, numbered(rows, |row| array.is_valid(row).then(|| array.value(row).into())))
            }
            Source::Kind(array) => {
                Self::made(source, numbered(rows, |row| array.is_valid(row).then(|| array.value(row) as u64)))
            }
            Source::Status(statuses, _) => {
                let status = |row| Some(super::field::status(statuses.as_ref(), row) as u64);
                Self::made(source, numbered(rows, status))
            }
            Source::Sparse(found, _) => {
                let mut values = vec![Value::Nil];
                let mut codes = vec![0; rows];
                for (row, value) in found {
                    codes[*row as usize] = values.len() as u32;
                    values.push(value.clone());
                }
                Self { codes, values: Values::Made(values) }
            }
            Source::Hex(_) => Coded::of_values((0..rows).map(|row| source.value(row))).into(),
        }
    }

    /// With the values of the rows where they are first.
    fn made(source: &Source, (codes, firsts): (Vec<u32>, Vec<u32>)) -> Self {
        let values = firsts.iter().map(|row| source.value(*row as usize)).collect();
        Self { codes, values: Values::Made(values) }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Made(values) => values.len(),
            Values::Dictionary(_, len) => *len,
            Values::Rows(_, rows) => rows.len(),
        }
    }

    /// A value.
    pub fn value(&self, at: usize) -> Value {
        match &self.values {
            Values::Made(values) => values[at].clone(),
            Values::Dictionary(..) | Values::Rows(..) => {
                self.text(at).map_or(Value::Nil, |text| Value::String(text.to_owned()))
            }
        }
    }

    /// A value that is a text.
    pub fn text(&self, at: usize) -> Option<&str> {
        match &self.values {
            Values::Made(values) => match &values[at] {
                Value::String(text) => Some(text),
                _ => None,
            },
            Values::Dictionary(texts, _) => (at < texts.len() && texts.is_valid(at)).then(|| texts.value(at)),
            Values::Rows(texts, rows) => {
                let row = rows[at] as usize;
                texts.is_valid(row).then(|| texts.value(row))
            }
        }
    }
}

/// For each row a number; and for each number the row where it is first.
fn coded<T: Eq + Hash>(rows: usize, of: impl Fn(usize) -> T) -> (Vec<u32>, Vec<u32>) {
    let mut places: HashMap<T, u32> = HashMap::new();
    let mut firsts = Vec::new();
    let code = |row| {
        *places.entry(of(row)).or_insert_with(|| {
            firsts.push(row as u32);
            firsts.len() as u32 - 1
        })
    };
    let codes = (0..rows).map(code).collect();
    (codes, firsts)
}

/// The same of numbers: most columns have few, or the same ones again soon, and those are found by a look at one place.
fn numbered(rows: usize, of: impl Fn(usize) -> Option<u64>) -> (Vec<u32>, Vec<u32>) {
    const UNUSED: u32 = u32::MAX;
    let mut recent = [(0, UNUSED); 256];
    let mut nil = UNUSED;
    let mut places: HashMap<u64, u32> = HashMap::new();
    let mut firsts = Vec::new();
    let mut next = |row: usize| {
        firsts.push(row as u32);
        firsts.len() as u32 - 1
    };
    let code = |row| {
        let Some(number) = of(row) else {
            if nil == UNUSED {
                nil = next(row);
            }
            return nil;
        };
        // Fibonacci hashing: the upper bits of the product depend on all bits.
        let recent = &mut recent[(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize];
        if recent.0 != number || recent.1 == UNUSED {
            *recent = (number, *places.entry(number).or_insert_with(|| next(row)));
        }
        recent.1
    };
    let codes = (0..rows).map(code).collect();
    (codes, firsts)
}

/// A value as a key: floats by their bits.
#[derive(Clone, Debug)]
pub struct Key(pub Value);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Self(a.clone()) == Self(b.clone()))
            }
            (a, b) => a == b,
        }
    }
}

impl Eq for Key {}

/// A text among keys.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&Value::String(String::new())).hash(state);
        self.0.hash(state);
    }
}

impl Equivalent<Key> for Text<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        matches!(&key.0, Value::String(text) if text == self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(&self.0).hash(state);
        match &self.0 {
            Value::Nil | Value::Opaque => {}
            Value::Bool(value) => value.hash(state),
            Value::Int(value) | Value::Duration(value) => value.hash(state),
            Value::Float(value) => value.to_bits().hash(state),
            Value::String(value) => value.hash(state),
            Value::Status(value) => value.hash(state),
            Value::Kind(value) => value.hash(state),
            Value::Array(values) => values.iter().for_each(|value| Self(value.clone()).hash(state)),
        }
    }
}
