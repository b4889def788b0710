//! Strings of several pieces of a column under one set of keys.

use std::hash::BuildHasher;

use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray, cast::AsArray, types::UInt32Type};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{WriteError, wrong};
use crate::merge::is_null;

/// The key of a null.
pub const NULL: u32 = u32::MAX;

/// Different strings and their keys. Where hardly any string comes twice it stops looking: a string may then have several
/// keys.
pub struct Table<'a> {
    values: Vec<&'a [u8]>,
    keys: HashTable<u32>,
    hasher: DefaultHashBuilder,
    lookups: usize,
    looks: bool,
}

/// After so many look-ups it is judged whether they pay.
const TRIAL: usize = 4096;

impl<'a> Table<'a> {
    pub fn new() -> Self {
        let hasher = DefaultHashBuilder::default();
        Self { values: Vec::new(), keys: HashTable::new(), hasher, lookups: 0, looks: true }
    }

    /// All strings, by key.
    pub fn values(&self) -> &[&'a [u8]] {
        &self.values
    }

    /// The key of a string.
    pub fn key(&mut self, value: &'a [u8]) -> u32 {
        let key = self.values.len() as u32;
        if !self.looks {
            self.values.push(value);
            return key;
        }
        let Self { values, keys, hasher, .. } = self;
        let hash = hasher.hash_one(value);
        let same = |key: &u32| values[*key as usize] == value;
        if let Some(key) = keys.find(hash, same) {
            self.lookups += 1;
            return *key;
        }
        keys.insert_unique(hash, key, |key| hasher.hash_one(values[*key as usize]));
        values.push(value);
        self.lookups += 1;
        if self.lookups.is_multiple_of(TRIAL) && self.values.len() * 10 > self.lookups * 7 {
            self.looks = false;
        }
        key
    }
}

/// A string column, one piece after the other.
pub struct FlatStrings<'a> {
    pub keys: Vec<u32>,
    pub table: Table<'a>,
    /// The dictionary of the last piece, and the keys that its values have here. Pieces of a row group share theirs.
    last: Option<(&'a StringArray, Vec<u32>)>,
}

impl<'a> FlatStrings<'a> {
    pub fn new(rows: usize) -> Self {
        Self { keys: Vec::with_capacity(rows), table: Table::new(), last: None }
    }

    /// A column in pieces.
    pub fn of(pieces: &'a [ArrayRef], at: usize) -> Result<Self, WriteError> {
        let mut flat = Self::new(pieces.iter().map(|piece| piece.len()).sum());
        flat.extend(pieces).ok_or_else(|| wrong(at))?;
        Ok(flat)
    }

    /// Appends pieces. None if one is no dictionary of strings.
    pub fn extend(&mut self, pieces: &'a [ArrayRef]) -> Option<()> {
        pieces.iter().try_for_each(|piece| match is_null(piece) {
            true => {
                self.nulls(piece.len());
                Some(())
            }
            false => self.append(piece),
        })
    }

    /// Appends rows without values.
    pub fn nulls(&mut self, rows: usize) {
        self.keys.resize(self.keys.len() + rows, NULL);
    }

    fn append(&mut self, array: &'a dyn Array) -> Option<()> {
        let array: &DictionaryArray<UInt32Type> = array.as_dictionary_opt()?;
        let values: &StringArray = array.values().as_string_opt()?;
        if array.null_count() == array.len() {
            self.nulls(array.len());
            return Some(());
        }
        let known = self.last.take().filter(|(last, _)| std::ptr::eq(*last, values));
        let mut new = known.map_or_else(|| vec![NULL; values.len()], |(_, new)| new);
        let table = &mut self.table;
        let mut key_of = |key: u32| {
            let new = &mut new[key as usize];
            if *new == NULL {
                *new = table.key(values.value(key as usize).as_bytes());
            }
            *new
        };
        let keys = array.keys().values();
        match array.nulls() {
            None => self.keys.extend(keys.iter().map(|key| key_of(*key))),
            Some(nulls) => {
                let first = self.keys.len();
                self.keys.resize(first + keys.len(), NULL);
                nulls.valid_indices().for_each(|row| self.keys[first + row] = key_of(keys[row]));
            }
        }
        self.last = Some((values, new));
        Some(())
    }
}
