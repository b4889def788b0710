//! Requests that were accepted over OTLP lately: the same one again is a retry, also after a restart.

use std::collections::VecDeque;

use clew_common::otlp::pack::{RETRY_REQUESTS, RETRY_WINDOW};
use parking_lot::Mutex;

/// When each was accepted (Unix time in milliseconds), and its hash; oldest first.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<(u64, u128)>>);

impl Recent {
    /// Those that are known of from before.
    pub fn new(known: impl IntoIterator<Item = (u64, u128)>) -> Self {
        Self(Mutex::new(known.into_iter().collect()))
    }

    /// Adds requests that were accepted now, and forgets what is too old or too many. The number has to be limited too: after the
    /// clock has jumped back nothing gets old for as long as it jumped.
    pub fn add(&self, accepted_ms: u64, hashes: &[u128]) {
        let mut recent = self.0.lock();
        recent.extend(hashes.iter().map(|hash| (accepted_ms, *hash)));
        let until_ms = accepted_ms.saturating_sub(RETRY_WINDOW.as_millis() as u64);
        while recent.len() > RETRY_REQUESTS || recent.front().is_some_and(|(accepted_ms, _)| *accepted_ms < until_ms) {
            recent.pop_front();
        }
    }

    /// Adds requests that were accepted some time.
    pub fn extend(&self, accepted_ms: u64, hashes: &[u128]) {
        self.0.lock().extend(hashes.iter().map(|hash| (accepted_ms, *hash)));
    }

    /// All of them.
    pub fn all(&self) -> Vec<(u64, u128)> {
        self.0.lock().iter().copied().collect()
    }

    /// Puts them in order, each once; gives them.
    pub fn settle(&self) -> Vec<(u64, u128)> {
        let mut recent = self.0.lock();
        let mut known: Vec<_> = recent.drain(..).collect();
        known.sort_unstable();
        known.dedup();
        recent.extend(&known);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let recent = Recent::new([(1, 1)]);
        recent.add(60_001, &[2]);
        assert_eq!(recent.all(), [(1, 1), (60_001, 2)]);
        recent.add(60_002, &[3]);
        assert_eq!(recent.all(), [(60_001, 2), (60_002, 3)]);
    }

    #[test]
    fn after_the_clock_jumped_back_there_is_an_end_to_what_is_remembered() {
        let recent = Recent::new([(u64::MAX, 0)]);
        for second in 0..300 {
            let hashes: Vec<u128> = (0..1000).collect();
            recent.add(1_000_000 + second, &hashes);
        }
        assert_eq!(recent.all().len(), RETRY_REQUESTS);
    }
}
