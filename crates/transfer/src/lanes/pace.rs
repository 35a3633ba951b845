//! How many connections a source is worth. Pure.
//!
//! ```text
//! settling ──window──▶ measuring ──window──▶ more connections brought more bytes: keep them, try twice as many
//!    ▲                                   └──▶ they did not: back to as many as before, and rest
//!    └──────────── rest over, or connections changed ◀── refused: half as many, and rest
//! ```
//! Only windows in which every allowed connection was in use, and more were wanted, say anything.

use std::time::Duration;

use base::Timestamp;

/// A window is at least this long: long beside the turns of a fast link, short beside a fetch.
const WINDOW_MIN: Duration = Duration::from_millis(100);
/// A window ends after this long, however little came.
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// Between the two, a window ends when it has seen so much: some ranges' worth of chunks, so that it is no accident.
const WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// More connections are kept when they brought at least this part of what they would have brought on a link without
/// limit. A link that is full gives nothing; one that caps each connection gives all.
const GAIN_MIN: f64 = 0.3;
/// After a try that brought nothing the next one waits so long: conditions change over minutes.
const REST: Duration = Duration::from_secs(15);
/// After the source asked for less, or failed.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// A range is worth asking for when the time to its first byte is at most one part in so many of the whole.
const RANGE_TURNS: u64 = 20;

/// The limit of one source, and what it is learning.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    limit: usize,
    limit_max: usize,
    /// How many connections brought how many bytes a second, before the last change.
    before: Option<(usize, f64)>,
    /// Whether every try so far has paid: then the next is to double.
    is_rising: bool,
    phase: Phase,
    window: Window,
    /// Bytes a second of one connection in the last full window.
    rate_each: f64,
    first_byte: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Settling,
    Measuring,
    Resting { until: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Timestamp,
    bytes: u64,
    /// Whether the limit was what kept more from coming, all the time.
    is_full: bool,
}

/// How the connections of a source are used just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) held: usize,
    /// Whether someone waits for one more.
    pub(crate) wanted: bool,
}

impl Pace {
    pub(crate) fn new(first: usize, limit_max: usize, now: Timestamp) -> Self {
        let limit_max = limit_max.max(1);
        Self {
            limit: first.clamp(1, limit_max),
            limit_max,
            before: None,
            is_rising: true,
            phase: Phase::Settling,
            window: Window::beginning(now),
            rate_each: 0.0,
            first_byte: Duration::ZERO,
        }
    }

    /// Returns how many connections the source may have.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how long a range should at least be, so that asking for it costs little beside it.
    pub(crate) fn range_bytes_worthwhile(&self) -> u64 {
        (self.first_byte.as_secs_f64() * self.rate_each) as u64 * RANGE_TURNS
    }

    /// Notes how long the first byte of a range took.
    pub(crate) fn answered(&mut self, waited: Duration) {
        // A quarter of each new sample, as for rates.
        self.first_byte = match self.first_byte {
            Duration::ZERO => waited,
            known => known - known / 4 + waited / 4,
        };
    }

    /// Notes bytes; returns whether the limit has changed.
    pub(crate) fn received(&mut self, bytes: u64, used: Use, now: Timestamp) -> bool {
        self.window.bytes += bytes;
        self.window.is_full &= used.held >= self.limit && used.wanted;
        let lasted = now.since(self.window.began);
        let is_over = lasted >= WINDOW_MAX || (lasted >= WINDOW_MIN && self.window.bytes >= WINDOW_BYTES);
        if !is_over {
            return false;
        }
        let rate = self.window.bytes as f64 / lasted.as_secs_f64();
        self.rate_each = rate / used.held.max(1) as f64;
        let is_full = self.window.is_full;
        self.window = Window::beginning(now);
        let limit = self.limit;
        match self.phase {
            Phase::Resting { until } if now < until => {}
            Phase::Resting { .. } => {
                self.before = None;
                self.phase = Phase::Measuring;
            }
            Phase::Settling => self.phase = Phase::Measuring,
            Phase::Measuring if !is_full => {}
            Phase::Measuring => self.judge(rate, now),
        }
        self.limit != limit
    }

    /// Compares what the present limit brings with what the one before did.
    fn judge(&mut self, rate: f64, now: Timestamp) {
        if let Some((limit, before)) = self.before {
            let more = (self.limit as f64 - limit as f64) / limit as f64;
            let gain = (rate - before) / before.max(1.0);
            if gain < GAIN_MIN * more {
                self.limit = limit;
                self.is_rising = false;
                self.phase = Phase::Resting { until: now + REST };
                return;
            }
        }
        self.before = Some((self.limit, rate));
        let step = if self.is_rising { self.limit } else { self.limit.div_ceil(4) };
        self.limit = (self.limit + step).min(self.limit_max);
        self.phase = match self.before {
            Some((limit, _)) if limit == self.limit => Phase::Resting { until: now + REST },
            Some(_) | None => Phase::Settling,
        };
    }

    /// Takes up that the source asks for less: half as many from now on, for a while. Several answers of one moment
    /// count once.
    pub(crate) fn refused(&mut self, now: Timestamp) {
        self.back_off(self.limit / 2, now);
    }

    /// Takes up that a connection failed: one fewer for a while.
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.back_off(self.limit - 1, now);
    }

    fn back_off(&mut self, limit: usize, now: Timestamp) {
        let until = now + REST_AFTER_REFUSAL;
        if let Phase::Resting { until: known } = self.phase
            && until.since(known) < WINDOW_MAX
        {
            return;
        }
        self.limit = limit.max(1);
        self.is_rising = false;
        self.before = None;
        self.window = Window::beginning(now);
        self.phase = Phase::Resting { until };
    }
}

impl Window {
    const fn beginning(now: Timestamp) -> Self {
        Self { began: now, bytes: 0, is_full: true }
    }
}

#[cfg(test)]
mod tests;
