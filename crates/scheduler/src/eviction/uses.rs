//! How a model was used: counters that fade, each at its own pace.
//!
//! One counter with one half-life would have to guess how fast a fleet's interests change. Several, an order of
//! magnitude apart, answer for a burst of this hour and for a habit of this quarter at once, in a hundred bytes.

use std::fmt;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::outlook::Outlook;

/// How many counters there are.
const COUNTERS: usize = 7;

/// Half-life of the slowest counter: 171 days. Over two months of steady use it counts as well as one that never fades,
/// which the trace runner found best there; 43 days cost a third of a percent of the hits.
const LONGEST_HALF_LIFE_SECONDS: f64 = 3600.0 * 4096.0;

/// How much slower each counter fades than the one before it: by four, from an hour to half a year.
const RATIO: i32 = 4;

/// The uses of one model, also of one that is not here at the moment: keep it when the model goes, and go on with it
/// when the model comes back, or whatever was evicted looks new.
///
/// Invariant: counters are finite and not negative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedUses")]
pub struct Uses {
    first_at: Timestamp,
    last_at: Timestamp,
    count: u64,
    counters: [f64; COUNTERS],
}

#[derive(Deserialize)]
struct UncheckedUses {
    first_at: Timestamp,
    last_at: Timestamp,
    count: u64,
    counters: [f64; COUNTERS],
}

/// A record of uses that cannot be one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a counter of uses is {counter}")]
struct CounterOutOfRange {
    counter: f64,
}

impl TryFrom<UncheckedUses> for Uses {
    type Error = CounterOutOfRange;

    fn try_from(unchecked: UncheckedUses) -> Result<Self, CounterOutOfRange> {
        let UncheckedUses { first_at, last_at, count, counters } = unchecked;
        match counters.into_iter().find(|counter| !counter.is_finite() || *counter < 0.0) {
            Some(counter) => Err(CounterOutOfRange { counter }),
            None => Ok(Self { first_at, last_at, count, counters }),
        }
    }
}

impl Uses {
    /// Begins with a first use: a start on it, or the wish to have it here.
    pub const fn first(now: Timestamp) -> Self {
        Self { first_at: now, last_at: now, count: 1, counters: [1.0; COUNTERS] }
    }

    /// Counts a use. A clock that went back counts as one that stood.
    pub fn record(&mut self, now: Timestamp) {
        let now = now.max(self.last_at);
        self.counters = self.faded(now).map(|counter| counter + 1.0);
        self.last_at = now;
        self.count = self.count.saturating_add(1);
    }

    /// Notes that the last use goes on, or has just ended: it counts as fresh, and as one. A clock that went back counts
    /// as one that stood.
    pub fn prolong(&mut self, now: Timestamp) {
        let now = now.max(self.last_at);
        self.counters = self.faded(now).map(|counter| counter.max(1.0));
        self.last_at = now;
    }

    /// Returns when it was first used.
    pub const fn first_at(&self) -> Timestamp {
        self.first_at
    }

    /// Returns when it was last used.
    pub const fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Returns how often it was used, ever.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns how often it is likely to be used from now on, by an outlook.
    pub fn rate(&self, now: Timestamp, outlook: Outlook) -> UseRate {
        let mut half_life = LONGEST_HALF_LIFE_SECONDS;
        let mut weight = 1.0;
        let mut weights = 0.0;
        let mut per_second = 0.0;
        for counter in self.faded(now).iter().rev() {
            // A counter that fades by half in a time stands at the rate times that time over ln 2.
            per_second += weight * counter * std::f64::consts::LN_2 / half_life;
            weights += weight;
            weight /= outlook.growth();
            half_life /= f64::from(RATIO);
        }
        UseRate::per_second(per_second / weights)
    }

    /// Returns the counters as they are at `now`, the fastest first.
    fn faded(&self, now: Timestamp) -> [f64; COUNTERS] {
        let age = now.since(self.last_at).as_secs_f64();
        // What is left of the slowest; each faster one fades by the fourth power of the one before it.
        let mut left = (-age / LONGEST_HALF_LIFE_SECONDS).exp2();
        let mut counters = self.counters;
        for counter in counters.iter_mut().rev() {
            *counter *= left;
            left = left.powi(RATIO);
        }
        counters
    }
}

/// How often a model is used, in millionths of a use per day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UseRate(u64);

/// Seconds in a day, times the millionths.
const PER_SECOND: f64 = 86_400.0 * 1e6;

impl UseRate {
    fn per_second(rate: f64) -> Self {
        Self((rate * PER_SECOND) as u64)
    }

    /// Returns uses per day.
    pub fn per_day(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for UseRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per_day() {
            often if often >= 10.0 => write!(f, "{often:.0} uses a day"),
            daily if daily >= 1.0 => write!(f, "{daily:.1} uses a day"),
            weekly if weekly >= 1.0 / 7.0 => write!(f, "{:.1} uses a week", weekly * 7.0),
            seldom => write!(f, "{:.1} uses a month", seldom * 30.0),
        }
    }
}
