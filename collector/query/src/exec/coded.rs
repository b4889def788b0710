//! A field as small numbers, one for each of its values: what spans are grouped by.

use std::{collections::HashMap, hash::Hash};

use arrow_array::{Array, cast::AsArray};

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
        match source {
            Source::Strings(array) => {
                let texts = array.values().as_string::<i32>();
                let mut values: Vec<Value> =
                    (0..texts.len()).map(|at| Value::String(texts.value(at).to_owned())).collect();
                let keys = array.keys().values();
                let codes = match array.nulls() {
                    None => keys.to_vec(),
                    Some(nulls) => {
                        let nil = values.len() as u32;
                        values.push(Value::Nil);
                        keys.iter().enumerate().map(|(row, key)| if nulls.is_valid(row) { *key } else { nil }).collect()
                    }
                };
                Self { codes, values }
            }
            Source::Codes(codes, values) => Self { codes: codes.codes.clone(), values: values.clone() },
            Source::Views(array) => coded(
                rows,
                |row| array.is_valid(row).then(|| array.value(row)),
                |text| text.map_or(Value::Nil, |text| Value::String(text.to_owned())),
            ),
            Source::Int(array) => coded(
                rows,
                |row| array.is_valid(row).then(|| array.value(row)),
                |value| value.map_or(Value::Nil, Value::Int),
            ),
            Source::Status(codes, _) => coded(rows, |row| super::field::status(codes.as_ref(), row), Value::Status),
            Source::Kind(_) | Source::Bool(_) => Self::of_values((0..rows).map(|row| source.value(row))),
            Source::Sparse(found, _) => {
                let mut values = vec![Value::Nil];
                let mut codes = vec![0; rows];
                for (row, value) in found {
                    codes[*row as usize] = values.len() as u32;
                    values.push(value.clone());
                }
                Self { codes, values }
            }
            source => Self::of_values((0..rows).map(|row| source.value(row))),
        }
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

fn coded<T: Copy + Eq + Hash>(rows: usize, of: impl Fn(usize) -> T, value: impl Fn(T) -> Value) -> Coded {
    let mut places: HashMap<T, u32> = HashMap::new();
    let mut values = Vec::new();
    let code = |row| {
        let one = of(row);
        *places.entry(one).or_insert_with(|| {
            values.push(value(one));
            values.len() as u32 - 1
        })
    };
    let codes = (0..rows).map(code).collect();
    Coded { codes, values }
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

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
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
