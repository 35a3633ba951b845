//! What a model is worth on the shelf: a struct whose derived order is the policy.

use std::{cmp::Reverse, fmt, time::Duration};

use base::{ByteSize, Timestamp};
use serde::Serialize;

use super::{outlook::Outlook, shelf::Shelved, uses::UseRate};

/// What eviction goes by beyond the facts of the shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// How past uses are read: what [`Experience`](super::Experience) found, or habit while there is none.
    pub outlook: Outlook,
    /// What any fetch costs beside its bytes. The same as a plan's (`Policy::fetch_overhead`).
    pub fetch_overhead: Duration,
    /// Copies on other hosts beyond which one more changes nothing. Each copy takes an equal share of the starts, but
    /// only while its host has room, and three hosts that are full at once are no rare sight in a busy fleet.
    pub copies_counted_max: u32,
}

impl Default for EvictionPolicy {
    fn default() -> Self {
        Self { outlook: Outlook::default(), fetch_overhead: Duration::from_secs(1), copies_counted_max: 3 }
    }
}

/// What a byte on the shelf saves, in geometric steps of 9 % (eighths of a doubling).
///
/// Worths within a step count as equal: the rates behind them are guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Worth(pub i32);

/// Steps to a doubling.
const STEPS_PER_DOUBLING: f64 = 8.0;

impl Worth {
    /// Makes a worth from seconds of fetching saved per day and byte.
    fn new(saved: f64) -> Self {
        // Nothing saved is the lowest step of all: the conversion of minus infinity saturates.
        Self((saved.log2() * STEPS_PER_DOUBLING).floor() as i32)
    }

    /// Returns the step at which the doubling of this one began.
    fn whole_doubling(self) -> Self {
        Self(self.0.div_euclid(STEPS_PER_DOUBLING as i32))
    }
}

/// How much a model should stay, least first. The order of the fields is the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KeepScore {
    /// What each of its bytes saves.
    pub worth: Worth,
    /// Among those of one worth: by last use, in microseconds. Negative, so that the last goes first, for the loyal.
    pub turn: i64,
    /// Bytes that its removal would free, alone or as its share. More go first, so that fewer models leave.
    pub bytes: Reverse<ByteSize>,
}

/// What a score was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grounds {
    /// How often it is likely to be used.
    pub uses: UseRate,
    /// How long it has not been used.
    pub idle: Duration,
    /// Bytes that would have to be fetched again.
    pub fetch_bytes: ByteSize,
    /// How long that would take.
    pub fetch_time: Duration,
    /// Other hosts that hold all of it.
    pub copies_elsewhere: u32,
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uses, idle, fetch_bytes, fetch_time, copies_elsewhere } = self;
        write!(f, "about {uses}, last {} ago, ", Coarse(*idle))?;
        write!(f, "{fetch_bytes} to fetch again in {}, ", Coarse(*fetch_time))?;
        match copies_elsewhere {
            0 => f.write_str("no other host holds it"),
            1 => f.write_str("1 other host holds it"),
            more => write!(f, "{more} other hosts hold it"),
        }
    }
}

/// A duration in its largest unit.
struct Coarse(Duration);

impl fmt::Display for Coarse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// What would have to come again, and what would go: they differ where models share blobs.
#[derive(Clone, Copy)]
pub(super) struct Stake {
    /// Bytes of all its blobs that may leave at all.
    pub(super) lost: u64,
    /// Of these, its share: a blob counts by one over the models that hold it.
    pub(super) share: u64,
    /// Bytes a day for which models need these blobs that go before it, and whose blobs go with it.
    pub(super) carried: f64,
}

/// Returns the grounds for or against a model.
pub(super) fn grounds<K>(
    model: &Shelved<K>,
    stake: Stake,
    now: Timestamp,
    policy: &EvictionPolicy,
) -> Grounds {
    let seconds = stake.lost as f64 / model.refetch_rate_bytes.max(1) as f64;
    // Ten thousand years are as good as for ever, and fit.
    let moving = Duration::from_secs_f64(seconds.min(3e11));
    Grounds {
        uses: model.uses.rate(now, policy.outlook),
        idle: now.since(model.uses.last_at()),
        fetch_bytes: ByteSize(stake.lost),
        fetch_time: moving + policy.fetch_overhead,
        copies_elsewhere: model.copies_elsewhere,
    }
}

/// Returns how much a model should stay.
pub(super) fn score<K>(
    model: &Shelved<K>,
    stake: Stake,
    grounds: &Grounds,
    policy: &EvictionPolicy,
) -> KeepScore {
    let copies_counted = grounds.copies_elsewhere.min(policy.copies_counted_max);
    let carried_per_day = stake.carried / model.refetch_rate_bytes.max(1) as f64;
    let saving =
        Saving { uses: grounds.uses, fetch_time: grounds.fetch_time, carried_per_day, copies_counted };
    keep_score(policy.outlook, saving, model.uses.last_at(), ByteSize(stake.share))
}

/// What a model on the shelf spares.
#[derive(Clone, Copy)]
pub(super) struct Saving {
    pub(super) uses: UseRate,
    pub(super) fetch_time: Duration,
    /// Seconds of fetching a day that it spares models which go before it.
    pub(super) carried_per_day: f64,
    pub(super) copies_counted: u32,
}

/// Returns how much a model of these bytes should stay.
pub(super) fn keep_score(
    outlook: Outlook,
    saving: Saving,
    last_used_at: Timestamp,
    bytes: ByteSize,
) -> KeepScore {
    let Saving { uses, fetch_time, carried_per_day, copies_counted } = saving;
    // Of several hosts that hold a model, each takes its share of the starts.
    let alone_per_day = uses.per_day() * fetch_time.as_secs_f64() + carried_per_day;
    let per_day = alone_per_day / f64::from(1 + copies_counted);
    let worth = Worth::new(per_day / bytes.bytes().max(1) as f64);
    let turn = last_used_at.as_micros();
    let bytes = Reverse(bytes);
    match outlook {
        Outlook::Habit | Outlook::Balanced | Outlook::Recent => KeepScore { worth, turn, bytes },
        Outlook::Latest => KeepScore { worth: Worth(0), turn, bytes },
        Outlook::Loyal => KeepScore { worth: worth.whole_doubling(), turn: turn.saturating_neg(), bytes },
    }
}
