//! Which request fails, and how; and how many did.

use std::{collections::BTreeMap, time::Duration};

use clew_integration_tests::s3::Faults;
use http::Method;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing bad.
    Good,
    /// Refused with this status, not carried out.
    Refused(u16),
    /// Never answered, not carried out.
    Hangs,
    /// Carried out; the connection is closed without an answer.
    ReplyLost,
    /// The answer's body comes in small pieces.
    Slow,
    /// The connection is closed in the middle of the answer's body.
    Cut,
    /// The answer's body is shorter than what was asked for, and its length says so.
    Short,
}

/// The faults that are wanted now.
pub struct State {
    inner: Mutex<Inner>,
}

struct Inner {
    faults: Faults,
    counts: BTreeMap<String, u64>,
    random: SmallRng,
}

impl State {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        let (faults, counts) = (Faults::default(), BTreeMap::new());
        Self { inner: Mutex::new(Inner { faults, counts, random: SmallRng::seed_from_u64(seed) }) }
    }

    /// Wants others.
    pub fn set(&self, faults: Faults) {
        self.inner.lock().faults = faults;
    }

    /// How many requests met which fate, and how many objects were left out of listings.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.inner.lock().counts.clone()
    }

    /// How long an object is missing in listings.
    pub fn list_lag(&self) -> Duration {
        Duration::from_millis(self.inner.lock().faults.list_lag_ms)
    }

    /// Objects were left out of a listing.
    pub fn left_out(&self, objects: u64) {
        *self.inner.lock().counts.entry("left_out".to_owned()).or_default() += objects;
    }

    /// What happens to the next request.
    pub fn decide(&self, method: &Method) -> Fate {
        let mut inner = self.inner.lock();
        let Inner { faults, counts, random } = &mut *inner;
        let writes = matches!(*method, Method::PUT | Method::POST | Method::DELETE);
        let mut left: f64 = random.random();
        let mut fate = Fate::Good;
        if faults.only.as_deref().is_none_or(|only| only == method.as_str()) {
            let chances = [
                (faults.internal_error, Fate::Refused(500)),
                (faults.unavailable, Fate::Refused(503)),
                (faults.too_many, Fate::Refused(429)),
                (faults.hangs, Fate::Hangs),
                (faults.reply_lost, if writes { Fate::ReplyLost } else { Fate::Good }),
                (faults.slow, if writes { Fate::Good } else { Fate::Slow }),
                (faults.cut, if writes { Fate::Good } else { Fate::Cut }),
                (faults.short, if writes { Fate::Good } else { Fate::Short }),
            ];
            for (chance, then) in chances {
                if left < chance {
                    fate = then;
                    break;
                }
                left -= chance;
            }
        }
        let name = match fate {
            Fate::Good => "good".to_owned(),
            Fate::Refused(status) => status.to_string(),
            Fate::Hangs => "hangs".to_owned(),
            Fate::ReplyLost => "reply_lost".to_owned(),
            Fate::Slow => "slow".to_owned(),
            Fate::Cut => "cut".to_owned(),
            Fate::Short => "short".to_owned(),
        };
        *counts.entry(name).or_default() += 1;
        fate
    }
}
