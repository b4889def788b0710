//! Which sequence numbers of a queue are settled.

use std::{collections::BTreeMap, ops::Range};

/// A set of sequence numbers that fills up from below: everything under `upto`, and ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqRanges {
    upto: u64,
    /// First to end (not included): disjoint, not touching, above `upto`.
    above: BTreeMap<u64, u64>,
}

impl SeqRanges {
    /// Everything below `upto`.
    pub fn below(upto: u64) -> Self {
        Self { upto, above: BTreeMap::new() }
    }

    /// Everything below is in the set.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// The ranges above `upto`, in order.
    pub fn above(&self) -> impl Iterator<Item = Range<u64>> {
        self.above.iter().map(|(first, end)| *first..*end)
    }

    /// Whether a number is in the set.
    pub fn contains(&self, seq: u64) -> bool {
        seq < self.upto || self.above.range(..=seq).next_back().is_some_and(|(_, end)| seq < *end)
    }

    /// How many numbers of the set are at or above `upto`.
    pub fn count_above(&self) -> u64 {
        self.above().map(|range| range.end - range.start).sum()
    }

    /// Adds one number.
    pub fn insert(&mut self, seq: u64) {
        self.insert_range(seq..seq.saturating_add(1));
    }

    /// Adds a range.
    pub fn insert_range(&mut self, range: Range<u64>) {
        let (mut first, mut end) = (range.start.max(self.upto), range.end);
        if first >= end {
            return;
        }
        // Swallow the neighbours that it touches.
        if let Some((&before, &before_end)) = self.above.range(..=first).next_back()
            && before_end >= first
        {
            first = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.above.range(first..=end).next() {
            end = end.max(next_end);
            self.above.remove(&next);
        }
        if first <= self.upto {
            self.upto = end;
        } else {
            self.above.insert(first, end);
        }
    }

    /// All of it, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        (self.upto > 0).then_some(0..self.upto).into_iter().chain(self.above())
    }

    /// The part of the set that is in a range.
    #[must_use]
    pub fn within(&self, range: Range<u64>) -> Self {
        let mut part = Self::default();
        for Range { start, end } in std::iter::once(0..self.upto).chain(self.above()) {
            part.insert_range(start.max(range.start)..end.min(range.end));
        }
        part
    }

    /// Takes out the lowest ranges that end at `seq` or below it, until no more than `most` ranges are left. What is below
    /// `upto` stays: it costs nothing.
    pub fn thin_below(&mut self, seq: u64, most: usize) {
        while self.above.len() > most
            && let Some(lowest) = self.above.first_entry()
            && *lowest.get() <= seq
        {
            lowest.remove();
        }
    }

    /// Adds everything below `upto`.
    pub fn insert_below(&mut self, upto: u64) {
        self.insert_range(0..upto);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_ranges_stay_and_of_many_the_lowest_go() {
        let mut set = SeqRanges::below(3);
        (5..50).step_by(5).for_each(|seq| set.insert(seq));
        let all = set.clone();
        set.thin_below(u64::MAX, 9);
        assert_eq!(set, all);
        set.thin_below(6, 2);
        assert_eq!((set.upto(), set.above().next()), (3, Some(10..11)), "{set:?}");
        set.thin_below(u64::MAX, 2);
        assert_eq!(set.above().collect::<Vec<_>>(), [40..41, 45..46]);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(ranges in prop::collection::vec((0u64..60, 0u64..8), 0..40)) {
            let (mut set, mut model) = (SeqRanges::default(), BTreeSet::new());
            for (first, length) in ranges {
                set.insert_range(first..first + length);
                model.extend(first..first + length);
                for seq in 0..70 {
                    prop_assert_eq!(set.contains(seq), model.contains(&seq), "{} in {:?}", seq, set);
                }
                prop_assert!(!set.contains(set.upto()));
                let above: Vec<_> = set.above().collect();
                prop_assert!(above.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", above);
                prop_assert!(above.first().is_none_or(|range| range.start > set.upto()));
                prop_assert_eq!(set.upto() + set.count_above(), model.len() as u64);
            }
        }
    }
}
