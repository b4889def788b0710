//! A column of few different numbers, as small numbers for those.

use hashbrown::HashMap;

/// For each row a place in `values`.
pub struct Codes {
    /// One a row.
    pub codes: Vec<u32>,
    /// Each once.
    pub values: Vec<u64>,
}

impl Codes {
    /// Of the values of all rows.
    pub fn of(rows: &[u64]) -> Self {
        let mut places: HashMap<u64, u32> = HashMap::new();
        let mut values = Vec::new();
        let mut codes = Vec::with_capacity(rows.len());
        // Neighbours often are the same.
        let mut last = None;
        for row in rows {
            let code = match last {
                Some((value, code)) if value == row => code,
                _ => *places.entry(*row).or_insert_with(|| {
                    values.push(*row);
                    values.len() as u32 - 1
                }),
            };
            last = Some((row, code));
            codes.push(code);
        }
        Self { codes, values }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * self.codes.capacity() + 8 * self.values.capacity()
    }
}
