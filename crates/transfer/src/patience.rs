//! How long a range is tried, and when a connection counts as stalled. Pure.

use std::time::Duration;

use hub::Retry;

use crate::TransferOptions;

/// What is to be done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try this source again after this long.
    TryAfter(Duration),
    /// Ask it no more.
    GiveUp,
}

/// Counts failures in a row of one source with one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    failures: u32,
    pauses: u32,
    bytes_since: u64,
}

impl Patience {
    /// Notes bytes that have arrived: enough of them make up for the failures among which they came.
    pub(crate) fn progressed(&mut self, bytes: u64, options: &TransferOptions) {
        self.bytes_since = self.bytes_since.saturating_add(bytes);
        if self.bytes_since >= options.progress_bytes_min.bytes() {
            *self = Self::default();
        }
    }

    /// Notes a failure and decides what comes next.
    pub(crate) fn failed(&mut self, retry: Retry, options: &TransferOptions, random: u64) -> Verdict {
        match retry {
            Retry::Never => Verdict::GiveUp,
            Retry::Soon => {
                self.failures += 1;
                if self.failures > options.failures_max {
                    Verdict::GiveUp
                } else {
                    Verdict::TryAfter(options.backoff.after_with_jitter(self.failures, random))
                }
            }
            Retry::After(pause) => {
                self.pauses += 1;
                if self.pauses > options.pauses_max { Verdict::GiveUp } else { Verdict::TryAfter(pause) }
            }
            // Nothing failed: it is to be asked in another way.
            Retry::Whole => Verdict::TryAfter(Duration::ZERO),
        }
    }
}

/// Watches whether a connection brings enough. Only time spent waiting for it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StallMeter {
    window: Duration,
    bytes_min: u64,
    waited: Duration,
    bytes: u64,
}

impl StallMeter {
    pub(crate) fn new(options: &TransferOptions) -> Self {
        Self {
            window: options.stall_window,
            bytes_min: options.progress_bytes_min.bytes(),
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Returns how much longer this window lasts. Whoever waits so long in vain has a stalled connection, unless
    /// [`StallMeter::is_stalled_after`] says otherwise.
    pub(crate) fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Notes a wait and the bytes that it brought; returns whether a window has ended with too few.
    pub(crate) fn is_stalled_after(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.window {
            return false;
        }
        let is_stalled = self.bytes < self.bytes_min;
        self.waited = Duration::ZERO;
        self.bytes = 0;
        is_stalled
    }
}

#[cfg(test)]
mod tests;
