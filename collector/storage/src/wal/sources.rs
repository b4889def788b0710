//! Numbers of records: one row of them in a process, made of the rows of several epochs.

use clew_common::ranges::SeqRanges;
use uuid::Uuid;

/// Which numbers of this process are which records of which epoch.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Source>);

#[derive(Clone, Copy, Debug)]
struct Source {
    epoch: Uuid,
    /// This process's numbers, from the first to before the second.
    first: u64,
    end: u64,
    /// The epoch's number of the first one.
    theirs: u64,
}

impl Sources {
    /// Adds an epoch's records from `theirs` to before `end`; gives this process's number of the first one.
    pub fn add(&mut self, epoch: Uuid, theirs: u64, end: u64) -> u64 {
        let first = self.next();
        let end = first.saturating_add(end - theirs);
        self.0.push(Source { epoch, first, end, theirs });
        first
    }

    /// The number after all of them.
    pub fn next(&self) -> u64 {
        self.0.last().map_or(1, |source| source.end)
    }

    /// The epoch of a record, and its number there. What is before the first record is the epoch's number before it.
    pub fn name(&self, seq: u64) -> Option<(Uuid, u64)> {
        let source = self.0.iter().find(|source| seq < source.end)?;
        Some((source.epoch, (source.theirs + seq).saturating_sub(source.first)))
    }

    /// The names of records with these numbers.
    pub fn of(&self, seqs: &SeqRanges) -> Vec<(Uuid, SeqRanges)> {
        let below = (seqs.upto() > 0).then_some(0..seqs.upto());
        let ranges: Vec<_> = below.into_iter().chain(seqs.above()).collect();
        let named = self.0.iter().map(|source| {
            let mut theirs = SeqRanges::default();
            for range in &ranges {
                let (first, end) = (range.start.max(source.first), range.end.min(source.end));
                if first < end {
                    let first_theirs = source.theirs + (first - source.first);
                    theirs.insert_range(first_theirs..first_theirs + (end - first));
                }
            }
            (source.epoch, theirs)
        });
        named.filter(|(_, theirs)| theirs.count_above() > 0 || theirs.upto() > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_back_to_their_epochs() {
        let (a, b) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
        let mut sources = Sources::default();
        assert_eq!(sources.add(a, 5, 8), 1);
        assert_eq!(sources.add(b, 1, u64::MAX), 4);
        let mut seqs = SeqRanges::default();
        seqs.insert_range(2..6);
        seqs.insert(9);
        let named = sources.of(&seqs);
        let named: Vec<_> =
            named.iter().map(|(id, seqs)| (*id, (0..12).filter(|seq| seqs.contains(*seq)).collect())).collect();
        assert_eq!(named, [(a, vec![6, 7]), (b, vec![1, 2, 6])]);
        assert_eq!([0, 3, 4].map(|seq| sources.name(seq)), [Some((a, 4)), Some((a, 7)), Some((b, 1))]);
    }
}
