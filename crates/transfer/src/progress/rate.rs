//! Bytes a second over the recent past. Pure.

use std::{collections::VecDeque, time::Duration};

use base::Timestamp;

/// Long enough to ride out one slow range, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(10);
/// Samples kept: the window at the pace of publishing, with room for state changes in between.
const SAMPLES_MAX: usize = 128;

/// Samples of a count that only grows.
#[derive(Debug)]
pub(super) struct RateMeter {
    /// Never empty.
    samples: VecDeque<(Timestamp, u64)>,
}

impl RateMeter {
    pub(super) fn starting_at(now: Timestamp) -> Self {
        Self { samples: VecDeque::from([(now, 0)]) }
    }

    /// Notes how many bytes there are in all.
    pub(super) fn note(&mut self, now: Timestamp, bytes: u64) {
        match self.samples.back_mut() {
            // Many changes in one instant are one sample.
            Some((at, last)) if *at == now => *last = bytes,
            Some(_) | None => self.samples.push_back((now, bytes)),
        }
        // The sample before the window's start stays, so that the window is always covered.
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|(second, _)| now.since(*second) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Returns bytes a second from the oldest sample until now.
    pub(super) fn per_second(&self, now: Timestamp) -> u64 {
        let (Some((first, before)), Some((_, last))) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let micros = now.since(*first).as_micros();
        let bytes = u128::from(last.saturating_sub(*before)) * 1_000_000;
        bytes.checked_div(micros).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}
