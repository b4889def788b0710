//! The pieces of a column as one, and the gathering of some of them in another order.

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, cast::AsArray,
};
use arrow_buffer::ArrowNativeType;

use super::{WriteError, levels::Validity, strings::NULL, wrong};
use crate::merge::is_null;

/// Values of a column, one piece after the other.
pub struct Flat<T> {
    pub values: Vec<T>,
    /// 1 for a value, 0 for a null; None: no nulls.
    valid: Option<Vec<u8>>,
}

impl<T: Copy + Default> Flat<T> {
    pub fn new(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), valid: None }
    }

    /// Appends rows without values.
    pub fn nulls(&mut self, rows: usize) {
        let valid = self.valid.get_or_insert_with(|| vec![1; self.values.len()]);
        valid.resize(valid.len() + rows, 0);
        self.values.resize(self.values.len() + rows, T::default());
    }

    /// Puts a value where there was none.
    pub fn set(&mut self, row: usize, value: T) {
        self.values[row] = value;
        if let Some(valid) = &mut self.valid {
            valid[row] = 1;
        }
    }

    /// The value of a row.
    pub fn get(&self, row: usize) -> Option<T> {
        self.valid.as_ref().is_none_or(|valid| valid[row] == 1).then(|| self.values[row])
    }

    /// Takes note of the nulls of an array whose values have been appended.
    fn mask(&mut self, array: &dyn Array) {
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            let before = self.values.len() - array.len();
            let valid = self.valid.get_or_insert_with(|| vec![1; before]);
            valid.extend(nulls.iter().map(u8::from));
        } else if let Some(valid) = &mut self.valid {
            valid.resize(self.values.len(), 1);
        }
    }

    /// Appends a column, each value changed.
    pub fn append_with<P: ArrowPrimitiveType>(&mut self, array: &PrimitiveArray<P>, change: impl Fn(P::Native) -> T) {
        self.values.extend(array.values().iter().map(|value| change(*value)));
        self.mask(array);
    }

    /// The values of some rows, in their order, without nulls.
    pub fn gather(&self, rows: &[u32]) -> (Vec<T>, Validity) {
        let Some(valid) = &self.valid else {
            return (rows.iter().map(|row| self.values[*row as usize]).collect(), Validity::full(rows.len()));
        };
        gather(rows, |row| valid[row as usize], |row| self.values[row as usize])
    }

    /// The values of some rows, in their order; for nulls, anything.
    pub fn gather_all(&self, rows: &[u32]) -> Vec<T> {
        rows.iter().map(|row| self.values[*row as usize]).collect()
    }
}

impl<T: Copy + Default> Flat<T> {
    /// A column in pieces.
    pub fn of(
        pieces: &[ArrayRef],
        at: usize,
        append: impl Fn(&mut Self, &dyn Array) -> Option<()>,
    ) -> Result<Self, WriteError> {
        let mut flat = Self::new(pieces.iter().map(|piece| piece.len()).sum());
        flat.extend(pieces, append).ok_or_else(|| wrong(at))?;
        Ok(flat)
    }

    /// Appends pieces; None if one is of another type.
    pub fn extend(&mut self, pieces: &[ArrayRef], append: impl Fn(&mut Self, &dyn Array) -> Option<()>) -> Option<()> {
        pieces.iter().try_for_each(|piece| match is_null(piece) {
            true => {
                self.nulls(piece.len());
                Some(())
            }
            false => append(self, piece),
        })
    }
}

impl<T: ArrowNativeType> Flat<T> {
    /// Appends a column; None if it is of another type.
    pub fn append<P: ArrowPrimitiveType<Native = T>>(&mut self, array: &dyn Array) -> Option<()> {
        let array: &PrimitiveArray<P> = array.as_primitive_opt()?;
        self.values.extend_from_slice(array.values());
        self.mask(array);
        Some(())
    }
}

impl Flat<u8> {
    /// Appends a column; None if it is of another type.
    pub fn append_bools(&mut self, array: &dyn Array) -> Option<()> {
        let array: &BooleanArray = array.as_boolean_opt()?;
        self.values.extend(array.values().iter().map(u8::from));
        self.mask(array);
        Some(())
    }
}

impl<const N: usize> Flat<[u8; N]>
where
    [u8; N]: Default,
{
    /// Appends a column; None if it is of another type.
    pub fn append_ids(&mut self, array: &dyn Array) -> Option<()> {
        let array: &FixedSizeBinaryArray = array.as_fixed_size_binary_opt()?;
        if array.value_length() as usize != N {
            return None;
        }
        self.values.extend_from_slice(array.value_data().as_chunks().0);
        self.mask(array);
        Some(())
    }
}

/// The keys of some rows, in their order, without nulls.
pub fn gather_keys(keys: &[u32], rows: &[u32]) -> (Vec<u32>, Validity) {
    gather(rows, |row| u8::from(keys[row as usize] != NULL), |row| keys[row as usize])
}

fn gather<T: Copy + Default>(rows: &[u32], valid: impl Fn(u32) -> u8, value: impl Fn(u32) -> T) -> (Vec<T>, Validity) {
    let mut values = vec![T::default(); rows.len() + 1];
    let mut bits = Vec::with_capacity(rows.len() / 8 + 1);
    let mut count = 0;
    for eight in rows.chunks(8) {
        let mut byte = 0;
        for (at, row) in eight.iter().enumerate() {
            // Nulls are overwritten by the next value: no branch.
            values[count] = value(*row);
            let valid = valid(*row);
            count += usize::from(valid);
            byte |= valid << at;
        }
        bits.push(byte);
    }
    values.truncate(count);
    (values, Validity { bits, rows: rows.len() })
}

impl Validity {
    /// Without nulls.
    pub fn full(rows: usize) -> Self {
        Self { bits: vec![0xff; rows.div_ceil(8)], rows }
    }
}
