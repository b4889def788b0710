//! A column in which few rows may have a value.

use arrow_buffer::{BooleanBuffer, MutableBuffer, NullBuffer};

/// Rows, ascending, each once, and their values.
#[derive(Debug)]
pub(super) struct Sparse<T> {
    rows: Vec<u32>,
    values: Vec<T>,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), values: Vec::new() }
    }
}

impl<T: Copy + Default> Sparse<T> {
    #[inline(always)]
    pub(super) fn push(&mut self, row: u32, value: T) {
        self.rows.push(row);
        self.values.push(value);
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline(always)]
    pub(super) fn last(&self) -> Option<T> {
        self.values.last().copied()
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.values.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, T)> {
        self.rows.iter().copied().zip(self.values.iter().copied())
    }

    /// The values of `count` rows, and which of them there are: None for all. Rows past `count` are left out.
    pub(super) fn dense(&self, count: usize) -> (Vec<T>, Option<NullBuffer>) {
        if self.rows.len() == count {
            return (self.values.clone(), None);
        }
        let mut values = vec![T::default(); count];
        let mut present = vec![0u64; count.div_ceil(64)];
        for (row, value) in self.iter() {
            let row = row as usize;
            if let (Some(place), Some(word)) = (values.get_mut(row), present.get_mut(row / 64)) {
                *place = value;
                *word |= 1 << (row % 64);
            }
        }
        // Bit 0 of a bitmap is the lowest bit of its first byte.
        present.iter_mut().for_each(|word| *word = word.to_le());
        let present = BooleanBuffer::new(MutableBuffer::from(present).into(), 0, count);
        (values, Some(NullBuffer::new(present)))
    }
}
