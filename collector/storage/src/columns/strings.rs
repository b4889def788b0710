//! Strings while a batch is built.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use super::sparse::Sparse;
use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, StringArray, UInt32Array, types::UInt32Type};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Byte strings one after another, up to 2 GiB: with more there is no array of them.
#[derive(Debug)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Where each ends; a zero first.
    ends: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }
}

impl Texts {
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i32);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    #[inline(always)]
    pub(super) fn get(&self, at: u32) -> &[u8] {
        let at = at as usize;
        match (self.ends.get(at), self.ends.get(at + 1)) {
            (Some(start), Some(end)) => self.bytes.get(*start as usize..*end as usize).unwrap_or_default(),
            _ => &[],
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.truncate(1);
    }

    /// As an array: exactly as long as it has to be, because it stays.
    ///
    /// # Errors
    /// When one is not UTF-8, or there are 2 GiB.
    pub(super) fn strings(&self, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
        StringArray::try_new(self.offsets()?, Buffer::from(self.bytes.as_slice()), nulls)
    }

    /// As an array.
    pub(super) fn binary(&self, nulls: Option<NullBuffer>) -> Result<BinaryArray, ArrowError> {
        BinaryArray::try_new(self.offsets()?, Buffer::from(self.bytes.as_slice()), nulls)
    }

    fn offsets(&self) -> Result<OffsetBuffer<i32>, ArrowError> {
        if i32::try_from(self.bytes.len()).is_err() {
            return Err(ArrowError::OffsetOverflowError(self.bytes.len()));
        }
        // They ascend: each is the length of the same growing buffer.
        Ok(OffsetBuffer::new(ScalarBuffer::from(self.ends.clone())))
    }
}

/// Each distinct string once, with a number.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Texts,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// Without the length, which `hash_one` mixes in, too: the strings stand alone.
#[inline(always)]
fn hash_of(hasher: &DefaultHashBuilder, text: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(text);
    hasher.finish()
}

/// A table that a strange batch made large is not kept for the next ones.
const KEPT_TABLE: usize = 1 << 15;

impl Interner {
    /// The string's number.
    #[inline]
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        let hash = hash_of(&self.hasher, text);
        if let Some(&found) = self.table.find(hash, |&at| self.texts.get(at) == text) {
            return found;
        }
        self.insert(hash, text)
    }

    #[cold]
    fn insert(&mut self, hash: u64, text: &[u8]) -> u32 {
        let at = self.texts.len() as u32;
        self.texts.push(text);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.table.insert_unique(hash, at, |&at| hash_of(hasher, texts.get(at)));
        at
    }

    pub(super) fn get(&self, at: u32) -> &[u8] {
        self.texts.get(at)
    }

    pub(super) fn clear(&mut self) {
        self.texts.clear();
        if self.table.capacity() > KEPT_TABLE {
            self.table = HashTable::new();
        } else {
            self.table.clear();
        }
    }

    /// The column of which these are the values.
    ///
    /// # Errors
    /// When a string is not UTF-8, or a key is none of a string.
    pub(super) fn dictionary(&self, keys: UInt32Array) -> Result<ArrayRef, ArrowError> {
        let values = Arc::new(self.texts.strings(None)?);
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, values)?))
    }
}

/// A column of strings.
#[derive(Debug, Default)]
pub(super) struct Strings {
    values: Interner,
    keys: Sparse<u32>,
}

impl Strings {
    #[inline(always)]
    pub(super) fn push(&mut self, row: u32, text: &[u8]) {
        let key = match self.keys.last() {
            Some(last) if self.values.get(last) == text => last,
            _ => self.values.intern(text),
        };
        self.keys.push(row, key);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.keys.iter().map(|(row, key)| (row, self.values.get(key)))
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.keys.clear();
    }

    pub(super) fn dense(&self, count: usize) -> Result<ArrayRef, ArrowError> {
        let (keys, nulls) = self.keys.dense(count);
        self.values.dictionary(UInt32Array::try_new(keys.into(), nulls)?)
    }
}

/// A column of bytes in which few rows have some.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    rows: Vec<u32>,
    texts: Texts,
}

impl Blobs {
    pub(super) fn push(&mut self, row: u32, bytes: &[u8]) {
        self.rows.push(row);
        self.texts.push(bytes);
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.texts.clear();
    }

    pub(super) fn dense(&self, count: usize) -> Result<ArrayRef, ArrowError> {
        let mut all = Texts::default();
        let mut filled = vec![false; count];
        let mut blobs = (0u32..).zip(&self.rows).peekable();
        for (row, filled) in (0u32..).zip(&mut filled) {
            let blob = blobs.next_if(|(_, of)| **of == row);
            *filled = blob.is_some();
            all.push(blob.map_or(&[], |(at, _)| self.texts.get(at)));
        }
        Ok(Arc::new(all.binary(Some(NullBuffer::new(BooleanBuffer::from(filled))))?))
    }
}
