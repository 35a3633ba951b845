//! Money: what the intervals of workers add up to.
//!
//! The ledger is append-only: a worker's state machine closes one interval after the other, and they touch. Usage is
//! derived from them here and nowhere else.

use std::collections::BTreeMap;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use types::{LedgerPhase, WorkerId};

/// A stretch of one worker's time. Invariant, kept by the worker's state machine: `from < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerInterval {
    /// What it was.
    pub phase: LedgerPhase,
    /// Its first moment.
    pub from: Timestamp,
    /// The moment after its last.
    pub to: Timestamp,
}

/// A stretch of time that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub from: Timestamp,
    /// The moment after its last.
    pub to: Timestamp,
}

/// Whole seconds of workers, by phase. What is billed follows from the phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds by phase; phases without a second are left out.
    pub seconds: BTreeMap<LedgerPhase, u64>,
}

impl Usage {
    /// Returns the seconds that are billed.
    pub fn billed_seconds(&self) -> u64 {
        self.sum_of(LedgerPhase::is_billed)
    }

    /// Returns the seconds that are not billed.
    pub fn unbilled_seconds(&self) -> u64 {
        self.sum_of(|phase| !phase.is_billed())
    }

    fn sum_of(&self, wanted: impl Fn(LedgerPhase) -> bool) -> u64 {
        self.seconds.iter().filter(|(phase, _)| wanted(**phase)).map(|(_, seconds)| seconds).sum()
    }
}

/// Returns the usage of a window. `intervals` must hold every interval of every worker that overlaps the window,
/// also those before it, in the order of their time within a worker.
///
/// A worker's billed time is rounded up to whole seconds once, at its end, not once per interval: a second that is
/// begun belongs to the interval in which it begins. So the phases of a worker add up to its bill, and windows that
/// touch add up to the window that covers both. Unbilled time is rounded in the same way, apart from the billed.
pub fn usage<'a>(
    intervals: impl IntoIterator<Item = (&'a WorkerId, LedgerInterval)>,
    window: Window,
) -> Usage {
    let mut usage = Usage::default();
    let mut elapsed: BTreeMap<(&WorkerId, bool), u64> = BTreeMap::new();
    for (worker, interval) in intervals {
        let elapsed = elapsed.entry((worker, interval.phase.is_billed())).or_default();
        let mut seconds_within = 0;
        let pieces = [
            (interval.from, interval.to.min(window.from)),
            (interval.from.max(window.from), interval.to.min(window.to)),
        ];
        for (at, (from, to)) in pieces.into_iter().enumerate() {
            let before = elapsed.div_ceil(MICROS);
            *elapsed += u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX);
            if at == 1 {
                seconds_within = elapsed.div_ceil(MICROS) - before;
            }
        }
        if seconds_within > 0 {
            *usage.seconds.entry(interval.phase).or_default() += seconds_within;
        }
    }
    usage
}

/// Microseconds of a second.
const MICROS: u64 = 1_000_000;

#[cfg(test)]
mod tests;
