//! What a part of Clew takes from the world around it: disk, clock, chance and threads. A test passes its own, so that
//! one seed drives it through time, faults and order.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use crate::log::{Disk, RealDisk, Work};

/// Everything that a part needs from outside. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// Where blocking work runs.
    pub work: Work,
    /// What time it is.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
}

impl World {
    /// The real one.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), work: Work::Threads, clock: Clock::System, random: Random::from_entropy() }
    }
}

impl World {
    /// Starts work that goes on by itself: on a thread of its own (it may block), or as a task when work is inline.
    pub fn start(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let started = match self.work {
            Work::Inline => {
                tokio::spawn(work);
                Ok(())
            }
            Work::Threads => tokio::runtime::Builder::new_current_thread().enable_time().build().and_then(|runtime| {
                std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work)).map(drop)
            }),
        };
        if let Err(error) = started {
            // What waits for it sees its channels close.
            tracing::error!(%error, name, "cannot start a thread");
        }
    }
}

/// The time of day. Only for people and for expiry: sequence numbers, not clocks, order things.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system's.
    System,
    /// Starts at `epoch_ms` (Unix time) when tokio's clock shows `zero`: follows tokio's paused time.
    Tokio {
        /// Unix time in milliseconds at `zero`.
        epoch_ms: u64,
        /// When it started.
        zero: tokio::time::Instant,
    },
}

impl Clock {
    /// Milliseconds since 1970; 0 before that.
    pub fn unix_ms(&self) -> u64 {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64),
            Self::Tokio { epoch_ms, zero } => epoch_ms + zero.elapsed().as_millis() as u64,
        }
    }
}

/// A source of random numbers, shared by its clones.
#[derive(Clone, Debug)]
pub struct Random(Arc<Mutex<SmallRng>>);

impl Random {
    /// Unpredictable.
    pub fn from_entropy() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// Repeats itself for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    /// Uniform in `low..high`.
    pub fn between(&self, low: f64, high: f64) -> f64 {
        self.0.lock().random_range(low..high)
    }

    /// `duration`, up to a quarter longer or shorter.
    pub fn jitter(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.between(0.75, 1.25))
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// A UUIDv7 for this time.
    pub fn uuid(&self, clock: Clock) -> Uuid {
        let mut bytes = [0; 10];
        self.0.lock().fill_bytes(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(clock.unix_ms(), &bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_on_a_thread_of_its_own_can_wait_for_a_while() {
        let (done, waited) = tokio::sync::oneshot::channel();
        World::real().start("waits", async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = done.send(());
        });
        waited.await.unwrap();
    }
}
