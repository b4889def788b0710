//! How long what is settled stays in the queue: its records' heads have the hashes of requests, by which a retry is known
//! after a restart.

use std::{collections::VecDeque, time::Duration};

use clew_common::otlp::pack::RETRY_WINDOW;
use tokio::time::Instant;

/// Records accepted within this share a mark.
const GRAIN: Duration = Duration::from_secs(1);

/// Which records were accepted within the time in which a request may be sent again.
#[derive(Debug)]
pub struct Lately {
    /// Oldest first: all records below the number were accepted by then.
    marks: VecDeque<(Instant, u64)>,
    /// All records below were accepted long ago.
    old: u64,
}

impl Lately {
    /// Of a queue whose next record is `next_seq`. What it holds may all have come just before the restart.
    pub fn new(next_seq: u64, now: Instant) -> Self {
        Self { marks: VecDeque::from([(now, next_seq)]), old: 0 }
    }

    /// Takes note that a record was accepted.
    pub fn accepted(&mut self, seq: u64, now: Instant) {
        match self.marks.back_mut() {
            Some((since, end)) if now < *since + GRAIN => *end = (*end).max(seq + 1),
            _ => self.marks.push_back((now, seq + 1)),
        }
    }

    /// The first record whose hashes may still be needed.
    pub fn first_needed(&mut self, now: Instant) -> u64 {
        while let Some((since, end)) = self.marks.front()
            && now >= *since + GRAIN + RETRY_WINDOW
        {
            self.old = self.old.max(*end);
            self.marks.pop_front();
        }
        self.old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_needed_for_a_minute() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lately = Lately::new(5, start);
        lately.accepted(5, at(100));
        lately.accepted(6, at(1500));
        // Records are committed in order, their senders are answered in any.
        lately.accepted(8, at(2600));
        lately.accepted(7, at(2601));
        assert_eq!(lately.first_needed(at(60_000)), 0);
        assert_eq!(lately.first_needed(at(61_000)), 6);
        assert_eq!(lately.first_needed(at(62_500)), 7);
        assert_eq!(lately.first_needed(at(63_599)), 7);
        assert_eq!(lately.first_needed(at(63_600)), 9);
        assert_eq!(lately.marks.len(), 0);
    }
}
