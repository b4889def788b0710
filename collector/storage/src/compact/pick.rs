//! Chooses the blocks that are merged next. Tiers within a day: blocks that were flushed are merged into blocks of level 1,
//! those into level 2, and that is all, so that a span is rewritten at most twice. Once a day is over, what is left of it is
//! merged into level 2 at once.

use uuid::Uuid;

/// What is known of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: Uuid,
    /// The day that it belongs to, since 1970.
    pub day: u64,
    /// How often its spans were rewritten, at most.
    pub level: u8,
    /// How many there are.
    pub spans: u64,
}

/// What to merge, and what comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Oldest first.
    pub inputs: Vec<Uuid>,
    /// Of the block that they become.
    pub level: u8,
}

/// Blocks of this level are never rewritten.
pub const LAST_LEVEL: u8 = 2;
/// So many blocks of a level are worth a merge.
const FAN_IN: usize = 8;
/// More are not read at once: each takes memory for a window of its rows.
pub const MAX_INPUTS: usize = 16;
/// A block does not get larger than this by a merge. About 500 MB.
pub const MAX_SPANS: u64 = 16_000_000;

/// The next job; None when all is in order. `candidates` are a tenant's blocks, oldest first.
pub fn pick(candidates: &[Candidate], today: u64) -> Option<Job> {
    let mut days: Vec<u64> = candidates.iter().map(|block| block.day).collect();
    days.sort_unstable();
    days.dedup();
    let small = |block: &&Candidate| !is_last(block.level, block.spans);
    for day in days {
        let of_day = || candidates.iter().filter(|block| block.day == day).filter(small);
        for level in 0..LAST_LEVEL {
            let inputs = fitting(of_day().filter(|block| block.level == level));
            if inputs.len() >= FAN_IN {
                return Some(Job { inputs, level: level + 1 });
            }
        }
        if day < today {
            let inputs = fitting(of_day());
            if inputs.len() > 1 {
                return Some(Job { inputs, level: LAST_LEVEL });
            }
        }
    }
    None
}

/// Whether a block of this level with so many spans is never rewritten.
pub fn is_last(level: u8, spans: u64) -> bool {
    level >= LAST_LEVEL || spans > MAX_SPANS / 2
}

/// The first blocks that together do not become too large.
fn fitting<'a>(blocks: impl Iterator<Item = &'a Candidate>) -> Vec<Uuid> {
    let mut spans = 0;
    let fits = |block: &&Candidate| {
        spans += block.spans;
        spans <= MAX_SPANS
    };
    blocks.take(MAX_INPUTS).take_while(fits).map(|block| block.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(day: u64, level: u8, spans: u64, count: u128) -> Vec<Candidate> {
        let first = u128::from(day) << 64 | u128::from(level) << 32;
        (0..count).map(|at| Candidate { id: Uuid::from_u128(first + at), day, level, spans }).collect()
    }

    #[test]
    fn eight_blocks_of_a_level_become_one_of_the_next() {
        let seven = blocks(10, 0, 1000, 7);
        assert_eq!(pick(&seven, 10), None);
        let eight = blocks(10, 0, 1000, 8);
        let job = pick(&eight, 10).unwrap();
        assert_eq!((job.inputs.len(), job.level), (8, 1));
        assert_eq!(pick(&blocks(10, 1, 1000, 8), 10).unwrap().level, 2);
        assert_eq!(pick(&blocks(10, 2, 1000, 50), 10), None);
        assert_eq!(pick(&blocks(10, 1, MAX_SPANS / 2 + 1, 50), 10), None);
        assert!(is_last(2, 1) && is_last(1, MAX_SPANS / 2 + 1) && !is_last(1, MAX_SPANS / 2));
    }

    #[test]
    fn what_is_left_of_a_day_that_is_over_becomes_one_block() {
        let left = [blocks(9, 0, 1000, 3), blocks(9, 1, 5000, 2), blocks(9, 2, 90_000, 1)].concat();
        let job = pick(&left, 10).unwrap();
        assert_eq!((job.inputs.len(), job.level), (5, 2));
        assert_eq!(pick(&left, 9), None);
        assert_eq!(pick(&blocks(9, 0, 1000, 1), 10), None);
    }

    #[test]
    fn days_are_never_mixed_and_a_merge_never_makes_too_large_a_block() {
        let mixed = [blocks(9, 0, 1000, 1), blocks(10, 0, 1000, 7)].concat();
        assert_eq!(pick(&mixed, 10), None);
        assert_eq!(pick(&blocks(10, 0, MAX_SPANS / 2 + 1, 20), 10), None);
        let job = pick(&blocks(10, 0, MAX_SPANS / 10, 20), 10).unwrap();
        assert_eq!(job.inputs.len(), 10);
    }

    #[test]
    fn every_day_comes_to_rest_with_each_span_rewritten_at_most_twice() {
        let mut all = blocks(9, 0, 1000, 300);
        let mut rewritten = 0;
        for made in 0.. {
            let Some(job) = pick(&all, 10) else { break };
            let spans: u64 = all.iter().filter(|block| job.inputs.contains(&block.id)).map(|block| block.spans).sum();
            rewritten += spans;
            all.retain(|block| !job.inputs.contains(&block.id));
            all.push(Candidate { id: Uuid::from_u128(1 << 100 | made), day: 9, level: job.level, spans });
            assert!(made < 100);
        }
        assert!(rewritten <= 2 * 300_000, "{rewritten}");
        assert!(all.len() <= 16, "{}", all.len());
    }
}
