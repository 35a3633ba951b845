//! Crashes of an endpoint's workers in a row, and the pause that they cause.

use base::{Backoff, Timestamp};
use serde::{Deserialize, Serialize};
use types::Fault;

/// What an endpoint remembers of workers that crashed, until one of its workers ends a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crashes {
    /// How many in a row, 1 or more.
    pub count: u32,
    /// When the last one was noticed.
    pub last_at: Timestamp,
    /// Why the last one crashed.
    pub fault: Fault,
}

impl Crashes {
    /// Returns the record after one more crash.
    pub fn after(earlier: Option<&Self>, fault: Fault, now: Timestamp) -> Self {
        Self { count: earlier.map_or(0, |crashes| crashes.count).saturating_add(1), last_at: now, fault }
    }

    /// Returns when the next worker may be started.
    pub fn retry_at(&self, pace: Backoff) -> Timestamp {
        self.last_at + pace.after(self.count)
    }
}
