//! What a shelf learns from its past: how models were used, and which outlook would have served best.
//!
//! For each outlook there is an imagined shelf of the same size that goes by it: whether a model would be there is one
//! bit. Every use asks all of them; the shelf goes by the one that would have spent least time on fetches, or by habit while
//! none is better by more than chance. This is why no fixed mixture of recency and frequency had to be chosen.

use std::{collections::BTreeMap, time::Duration};

use base::{ByteSize, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    outlook::Outlook,
    score::{KeepScore, Saving, keep_score},
    uses::Uses,
};

/// Models that are remembered, here or gone: a quarter of a kilobyte each, four megabytes together.
pub const MODELS_REMEMBERED_MAX: usize = 16_384;

/// After how many uses evidence counts half. The trace runner sees no difference between 250 and 1,000; a host with a
/// hundred cold starts a day then forgets within weeks.
const EVIDENCE_HALF_LIFE_USES: f64 = 500.0;

/// How far beyond chance another outlook must be ahead of habit, in standard deviations. On steady traces the shelf changes
/// its mind for noise now and then, which costs a few tenths of a percent of the hits; with 1.5 it notices too late that all
/// of a fleet's interests changed, which costs up to 2.3 %, with 2 up to 2.7 %.
const DEVIATIONS_MIN: f64 = 1.0;

/// The place of habit among the outlooks: what the others must be better than.
const HABIT: usize = 0;

/// A model that is used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its bytes.
    pub bytes: ByteSize,
    /// How long the best source would take to bring all of it.
    pub fetch_time: Duration,
}

/// What a shelf has learnt. A value: whoever owns the shelf keeps it, and stores it now and then; losing it costs hits,
/// never correctness.
///
/// Models are told apart by what they weigh, not by name: `K` is to be the digest of the largest blob. By name, revisions
/// with the same weights would stand side by side on the imagined shelves, as they do on no real one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved<K>", into = "Saved<K>", bound(serialize = "K: Ord + Clone + Serialize"))]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>"))]
pub struct Experience<K> {
    models: BTreeMap<K, Remembered>,
    outlook: Outlook,
    evidence: [Evidence; Outlook::ALL.len()],
}

/// A model of which uses are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    uses: Uses,
    bytes: ByteSize,
    fetch_time: Duration,
    /// One bit for each outlook: whether its imagined shelf holds the model.
    shelves: u8,
}

/// How an outlook does beside habit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Evidence {
    /// Seconds of fetching that it would have spared, faded.
    spared: f64,
    /// Sum of the squares of those seconds, faded: what chance alone may bring about.
    variance: f64,
}

/// The written form: programs' formats have no maps with keys that are more than text.
#[derive(Serialize, Deserialize)]
struct Saved<K> {
    models: Vec<(K, Remembered)>,
    outlook: Outlook,
    evidence: [Evidence; Outlook::ALL.len()],
}

impl<K: Ord> From<Saved<K>> for Experience<K> {
    fn from(saved: Saved<K>) -> Self {
        let Saved { models, outlook, evidence } = saved;
        Self { models: models.into_iter().collect(), outlook, evidence }
    }
}

impl<K> From<Experience<K>> for Saved<K> {
    fn from(experience: Experience<K>) -> Self {
        let Experience { models, outlook, evidence } = experience;
        Self { models: models.into_iter().collect(), outlook, evidence }
    }
}

impl<K> Default for Experience<K> {
    fn default() -> Self {
        Self { models: BTreeMap::new(), outlook: Outlook::default(), evidence: Default::default() }
    }
}

impl<K: Ord + Clone> Experience<K> {
    /// Returns the outlook to go by.
    pub const fn outlook(&self) -> Outlook {
        self.outlook
    }

    /// Returns how such a model was used, also when it is gone.
    pub fn uses(&self, key: &K) -> Option<&Uses> {
        self.models.get(key).map(|model| &model.uses)
    }

    /// Learns from a use: a start on the model, or the wish to have it here. `capacity` is what the shelf may hold.
    pub fn record(&mut self, key: &K, used: Used, capacity: ByteSize, now: Timestamp) {
        let shelves = self.models.get(key).map_or(0, |model| model.shelves);
        self.weigh(shelves, used.fetch_time.as_secs_f64());
        let fits = used.bytes <= capacity;
        for (at, outlook) in Outlook::ALL.into_iter().enumerate() {
            if fits && shelves & bit(at) == 0 {
                self.make_room(at, outlook, ByteSize(capacity.bytes() - used.bytes.bytes()), now);
            }
        }
        let shelves = if fits { u8::MAX } else { shelves };
        let Used { bytes, fetch_time } = used;
        match self.models.get_mut(key) {
            Some(model) => {
                model.uses.record(now);
                (model.bytes, model.fetch_time, model.shelves) = (bytes, fetch_time, shelves);
            }
            None => {
                self.forget_one_too_many(now);
                let uses = Uses::first(now);
                self.models.insert(key.clone(), Remembered { uses, bytes, fetch_time, shelves });
            }
        }
    }

    /// Compares what each imagined shelf would have spent on this use with what habit would have, and goes by the one
    /// that spares most, if that is more than chance.
    fn weigh(&mut self, shelves: u8, fetch_seconds: f64) {
        let spent = |at: usize| if shelves & bit(at) == 0 { fetch_seconds } else { 0.0 };
        let fading = (-1.0 / EVIDENCE_HALF_LIFE_USES).exp2();
        let mut best = (0.0, Outlook::default());
        for (at, outlook) in Outlook::ALL.into_iter().enumerate() {
            let spared = spent(HABIT) - spent(at);
            let evidence = &mut self.evidence[at];
            evidence.spared = evidence.spared * fading + spared;
            evidence.variance = evidence.variance * fading + spared * spared;
            let is_chance = evidence.spared <= DEVIATIONS_MIN * evidence.variance.sqrt();
            if !is_chance && evidence.spared > best.0 {
                best = (evidence.spared, outlook);
            }
        }
        self.outlook = best.1;
    }

    /// Takes models from an imagined shelf until no more than `allowed` bytes are on it.
    fn make_room(&mut self, at: usize, outlook: Outlook, allowed: ByteSize, now: Timestamp) {
        let here = || self.models.iter().filter(|(_, model)| model.shelves & bit(at) != 0);
        let taken: ByteSize = here().map(|(_, model)| model.bytes).sum();
        let Some(needed) = taken.bytes().checked_sub(allowed.bytes()).filter(|needed| *needed > 0) else {
            return;
        };
        let scored = here().map(|(key, model)| (model.score(outlook, now), key, model.bytes));
        for key in cheapest(scored.collect(), needed) {
            self.models.entry(key).and_modify(|model| model.shelves &= !bit(at));
        }
    }

    /// Forgets a model when there is room for no more: one that is on no imagined shelf if possible, seldom used.
    fn forget_one_too_many(&mut self, now: Timestamp) {
        if self.models.len() < MODELS_REMEMBERED_MAX {
            return;
        }
        let least = self
            .models
            .iter()
            .min_by_key(|(_, model)| (model.shelves != 0, model.uses.rate(now, Outlook::Balanced)));
        if let Some(key) = least.map(|(key, _)| key.clone()) {
            self.models.remove(&key);
        }
    }
}

impl Remembered {
    fn score(&self, outlook: Outlook, now: Timestamp) -> KeepScore {
        let saving = Saving {
            uses: self.uses.rate(now, outlook),
            fetch_time: self.fetch_time,
            carried_per_day: 0.0,
            copies_counted: 0,
        };
        keep_score(outlook, saving, self.uses.last_at(), self.bytes)
    }
}

/// Returns the models that go so that `needed` bytes leave: least worth first, without what was not needed.
fn cheapest<K: Ord + Clone>(mut scored: Vec<(KeepScore, &K, ByteSize)>, needed: u64) -> Vec<K> {
    scored.sort_unstable();
    let mut leaving = 0;
    let enough = scored.iter().position(|(_, _, bytes)| {
        leaving += bytes.bytes();
        leaving >= needed
    });
    scored.truncate(enough.map_or(scored.len(), |last| last + 1));
    scored.reverse();
    scored.retain(|(_, _, bytes)| {
        let is_needed = leaving.saturating_sub(bytes.bytes()) < needed;
        if !is_needed {
            leaving -= bytes.bytes();
        }
        is_needed
    });
    scored.into_iter().map(|(_, key, _)| key.clone()).collect()
}

const fn bit(at: usize) -> u8 {
    1 << at
}

#[cfg(test)]
mod tests;
