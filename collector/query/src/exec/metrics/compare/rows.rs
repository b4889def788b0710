//! The spans of a part that count, and on which side and at which step.

/// Rows of a part, or what stands for several: their shape, their resource.
pub enum Rows {
    /// All of them, at one step. Those that are selected, in order.
    All { selected: Vec<u32> },
    /// Some, each with the place of its side and step among the counts, in order.
    Some(Vec<(u32, u32)>),
    /// Each stands for several: how many there are at each place.
    Counted(Vec<u32>),
}

impl Rows {
    /// For each slot how many rows are in it, at each of so many places. `slot` gives the slot of one of `all` rows, if it has one.
    pub fn count(&self, all: usize, slots: usize, places: usize, slot: impl Fn(usize) -> Option<u32>) -> Vec<u32> {
        let mut counts = vec![0; slots * places];
        match self {
            Self::All { selected } => {
                // Few are selected: all are counted as if they were not, and then these are moved.
                (0..all).filter_map(&slot).for_each(|slot| counts[slot as usize * places] += 1);
                for slot in selected.iter().filter_map(|row| slot(*row as usize)) {
                    counts[slot as usize * places] -= 1;
                    counts[slot as usize * places + 1] += 1;
                }
            }
            Self::Some(rows) => {
                for (row, place) in rows {
                    if let Some(slot) = slot(*row as usize) {
                        counts[slot as usize * places + *place as usize] += 1;
                    }
                }
            }
            Self::Counted(of_rows) => {
                for (row, of_row) in of_rows.chunks_exact(places).enumerate() {
                    if let Some(slot) = slot(row) {
                        let of_slot = &mut counts[slot as usize * places..][..places];
                        of_slot.iter_mut().zip(of_row).for_each(|(count, more)| *count += more);
                    }
                }
            }
        }
        counts
    }

    /// The place of a row; None when it does not count.
    pub fn place(&self, row: u32) -> Option<usize> {
        match self {
            Self::All { selected } => Some(selected.binary_search(&row).is_ok().into()),
            Self::Some(rows) => rows.binary_search_by_key(&row, |(row, _)| *row).ok().map(|at| rows[at].1 as usize),
            Self::Counted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_listed_and_rows_that_are_selected_from_all_count_alike() {
        let slot = |row: usize| (row != 3).then_some(row as u32 % 2);
        let all = Rows::All { selected: vec![1, 3, 4] };
        let some = Rows::Some((0..6).map(|row| (row, u32::from([1, 3, 4].contains(&row)))).collect());
        assert_eq!(all.count(6, 2, 2, slot), [2, 1, 1, 1]);
        assert_eq!(some.count(6, 2, 2, slot), [2, 1, 1, 1]);
        assert!((0..6).all(|row| all.place(row) == some.place(row)));
        // Each of two rows stands for those of a slot.
        let counted = Rows::Counted(all.count(6, 2, 2, slot));
        assert_eq!(counted.count(2, 1, 2, |_| Some(0)), [3, 2]);
    }
}
