//! How long to wait before trying again.

use std::time::Duration;

use crate::world::Random;

/// Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015): each wait is uniform
/// between a tenth of the current ceiling and the ceiling, which doubles up to `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Starts at `first`, never waits longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, ceiling: first }
    }

    /// The next wait.
    pub fn next(&mut self, random: &Random) -> Duration {
        let wait = self.ceiling.mul_f64(random.between(0.1, 1.0));
        self.ceiling = (self.ceiling * 2).min(self.max);
        wait
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_start_over_after_a_reset() {
        let random = Random::seeded(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for ceiling_ms in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next(&random).as_millis();
            assert!(wait >= ceiling_ms / 10 && wait <= ceiling_ms, "{wait} ms with a ceiling of {ceiling_ms} ms");
        }
        backoff.reset();
        assert!(backoff.next(&random) <= Duration::from_millis(100));
    }
}
