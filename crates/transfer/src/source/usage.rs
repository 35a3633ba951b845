//! What a source did for one fetch: figures for people and for the store's memory of where bytes came from.

use std::time::Duration;

use base::{ByteSize, Timestamp};
use serde::{Deserialize, Serialize};

/// What a source did for a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceUse {
    /// Its name.
    pub name: String,
    /// Bytes that came from it, those thrown away included.
    pub bytes: ByteSize,
    /// Of these, bytes of files that did not hash to their digest while it had given some of them.
    pub bytes_wrong: ByteSize,
    /// How often it was asked for a range.
    pub requests: u64,
    /// How many of these failed; a pause that it asked for is no failure.
    pub errors: u64,
    /// Bytes a second, all connections together, over the time in which at least one was open.
    pub rate_bytes_per_second: u64,
}

/// The figures as they grow.
#[derive(Debug, Default)]
pub(super) struct Usage {
    bytes: u64,
    bytes_wrong: u64,
    requests: u64,
    errors: u64,
    open: u32,
    open_since: Timestamp,
    busy: Duration,
}

impl Usage {
    pub(super) fn began(&mut self, now: Timestamp) {
        if self.open == 0 {
            self.open_since = now;
        }
        self.open += 1;
        self.requests += 1;
    }

    pub(super) fn ended(&mut self, now: Timestamp) {
        self.open -= 1;
        if self.open == 0 {
            self.busy += now.since(self.open_since);
        }
    }

    pub(super) fn received(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(super) fn wrong(&mut self, bytes: u64) {
        self.bytes_wrong += bytes;
    }

    pub(super) fn failed(&mut self) {
        self.errors += 1;
    }

    pub(super) fn shown(&self, name: &str, now: Timestamp) -> SourceUse {
        let running = if self.open == 0 { Duration::ZERO } else { now.since(self.open_since) };
        let micros = (self.busy + running).as_micros();
        let rate = (u128::from(self.bytes) * 1_000_000).checked_div(micros).unwrap_or(0);
        SourceUse {
            name: name.to_owned(),
            bytes: ByteSize(self.bytes),
            bytes_wrong: ByteSize(self.bytes_wrong),
            requests: self.requests,
            errors: self.errors,
            rate_bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_only_the_time_in_which_a_connection_was_open() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut usage = Usage::default();
        usage.began(at(10));
        usage.began(at(11));
        usage.received(3000);
        usage.ended(at(12));
        assert_eq!(usage.shown("a", at(13)).rate_bytes_per_second, 1000);
        usage.ended(at(13));
        assert_eq!(usage.shown("a", at(99)).rate_bytes_per_second, 1000);
        usage.began(at(100));
        usage.failed();
        usage.wrong(5);
        usage.ended(at(101));
        let expected = SourceUse {
            name: "a".to_owned(),
            bytes: ByteSize(3000),
            bytes_wrong: ByteSize(5),
            requests: 3,
            errors: 1,
            rate_bytes_per_second: 750,
        };
        assert_eq!(usage.shown("a", at(200)), expected);
    }
}
