//! How sources have done lately, for all fetches of a transfer: who failed, and how fast each is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::{Backoff, Timestamp};

/// For how long a source that failed is asked only when no other can be: it doubles with each further failure. A
/// mirror that is being restarted is missed for seconds, one that is gone costs one question a minute.
const SHAKY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// While one stream tries whether a source that failed is back, the others leave it alone for so long: as long as
/// a connection may take.
const PROBE: Duration = Duration::from_secs(10);
/// A rate that was measured so long ago says nothing any more; the source gets a new chance.
const RATE_KEPT: Duration = Duration::from_secs(600);
/// A range below this says more about round trips than about rates.
const SAMPLE_BYTES_MIN: u64 = 64 * 1024;
/// Sources that are remembered; the one that was heard of least lately goes. A host knows a few hubs with mirrors.
const SOURCES_MAX: usize = 256;

/// What is known of all sources, by name.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Health>>);

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    failures: u32,
    /// Until when it is better not asked.
    pub(crate) shaky_until: Timestamp,
    /// Bytes a second of one connection, and when that was measured last.
    rate: Option<(u64, Timestamp)>,
    heard_at: Timestamp,
}

impl Health {
    /// Returns bytes a second of one connection, if that was measured lately.
    pub(crate) fn rate(&self, now: Timestamp) -> Option<u64> {
        self.rate.filter(|(_, at)| now.since(*at) < RATE_KEPT).map(|(rate, _)| rate)
    }

    fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.shaky_until = now + SHAKY.after(self.failures);
    }

    fn asked(&mut self, now: Timestamp) {
        if self.failures > 0 {
            self.shaky_until = self.shaky_until.max(now + PROBE);
        }
    }

    fn gave(&mut self, bytes: u64, waited: Duration, now: Timestamp) {
        self.failures = 0;
        self.shaky_until = Timestamp::EPOCH;
        let micros = waited.as_micros();
        if bytes < SAMPLE_BYTES_MIN || micros == 0 {
            return;
        }
        let sample = u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX);
        // A quarter of each new sample: one slow range among fast ones does not turn the order round.
        let rate = self.rate(now).map_or(sample, |known| known - known / 4 + sample / 4);
        self.rate = Some((rate, now));
    }
}

impl Board {
    /// Returns what is known of a source.
    pub(crate) fn health(&self, name: &str) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }

    /// Notes that a source is being asked.
    pub(crate) fn asked(&self, name: &str, now: Timestamp) {
        self.change(name, now, |health| health.asked(now));
    }

    /// Notes that a source failed in a way that may pass.
    pub(crate) fn failed(&self, name: &str, now: Timestamp) {
        self.change(name, now, |health| health.failed(now));
    }

    /// Notes bytes of a source, and how long they were waited for.
    pub(crate) fn gave(&self, name: &str, bytes: u64, waited: Duration, now: Timestamp) {
        self.change(name, now, |health| health.gave(bytes, waited, now));
    }

    fn change(&self, name: &str, now: Timestamp, change: impl FnOnce(&mut Health)) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains_key(name) {
            if sources.len() >= SOURCES_MAX {
                let oldest = sources.iter().min_by_key(|(_, health)| health.heard_at);
                if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                    sources.remove(&oldest);
                }
            }
            sources.insert(name.to_owned(), Health::default());
        }
        if let Some(health) = sources.get_mut(name) {
            health.heard_at = now;
            change(health);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_source_that_failed_is_left_alone_for_longer_and_longer_until_it_gives() {
        let board = Board::default();
        let shaky = |now: i64| board.health("a").shaky_until.since(at(now)).as_secs();
        let mut waits = Vec::new();
        for _ in 0..8 {
            board.failed("a", at(0));
            waits.push(shaky(0));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        // Who tries it again keeps the others away meanwhile.
        board.asked("a", at(60_000));
        assert_eq!(shaky(60_000), 10);
        board.gave("a", 1, Duration::from_secs(1), at(61_000));
        assert_eq!(shaky(0), 0);
        board.asked("a", at(62_000));
        assert_eq!(shaky(0), 0, "one that did not fail is asked by all");
    }

    #[test]
    fn rates_follow_slowly_and_are_forgotten() {
        let board = Board::default();
        let second = Duration::from_secs(1);
        board.gave("a", 1000, second, at(0));
        assert_eq!(board.health("a").rate(at(0)), None, "a small range is no measure");
        board.gave("a", 1_000_000, second, at(0));
        board.gave("a", 2_000_000, second, at(1));
        assert_eq!(board.health("a").rate(at(2)), Some(1_250_000));
        assert_eq!(board.health("a").rate(at(600_001)), None);
        board.gave("a", 2_000_000, second, at(700_000));
        assert_eq!(board.health("a").rate(at(700_000)), Some(2_000_000));
    }

    #[test]
    fn the_board_stays_bounded() {
        let board = Board::default();
        for number in 0..SOURCES_MAX as i64 + 9 {
            board.failed(&number.to_string(), at(number));
        }
        assert_eq!(board.0.lock().unwrap().len(), SOURCES_MAX);
        assert_eq!(board.health("0"), Health::default());
    }
}
