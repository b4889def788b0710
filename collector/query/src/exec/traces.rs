//! Which rows of a block are which trace's.

use std::ops::Range;

/// The traces of a block, in order of their ids, and where the rows of each begin.
#[derive(Default)]
pub struct TraceRows {
    ids: Vec<[u8; 16]>,
    /// The row at which each begins, counted through all row groups.
    starts: Vec<u32>,
    rows: u32,
}

impl TraceRows {
    /// Adds the rows that come next. Each is the same trace as the one before, or a later one.
    pub fn extend(&mut self, rows: &[[u8; 16]]) {
        for id in rows {
            if self.ids.last() != Some(id) {
                self.ids.push(*id);
                self.starts.push(self.rows);
            }
            self.rows += 1;
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        16 * self.ids.capacity() + 4 * self.starts.capacity()
    }

    /// The id of a trace by its place.
    pub fn id(&self, place: usize) -> [u8; 16] {
        self.ids[place]
    }

    /// The rows of a trace by its place.
    pub fn rows(&self, place: usize) -> Range<u32> {
        self.starts[place]..self.starts.get(place + 1).copied().unwrap_or(self.rows)
    }

    /// How many traces there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The place of a trace.
    pub fn find(&self, id: &[u8; 16]) -> Option<usize> {
        self.ids.binary_search(id).ok()
    }

    /// The place of the trace whose row this is, at `from` or later.
    pub fn at(&self, row: u32, from: usize) -> usize {
        // Whoever asks goes through rows in order: it is close.
        let mut step = 1;
        let mut low = from;
        while self.starts.get(low + step).is_some_and(|start| *start <= row) {
            low += step;
            step *= 2;
        }
        let high = (low + step).min(self.starts.len());
        low + self.starts[low..high].partition_point(|start| *start <= row).saturating_sub(1)
    }
}
