//! When something is due, one moment for each key, soonest first.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;

/// A set of keys, each with the moment when it is due.
///
/// Invariant: both maps hold the same pairs.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Timestamp, K)>,
    by_key: BTreeMap<K, Timestamp>,
}

impl<K: Ord + Clone> Timers<K> {
    /// Makes an empty set.
    pub(crate) fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets, moves or removes the moment of a key.
    pub(crate) fn set(&mut self, key: &K, at: Option<Timestamp>) {
        if let Some(earlier) = self.by_key.remove(key) {
            self.by_time.remove(&(earlier, key.clone()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    /// Returns the first moment.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out one key that is due.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<K> {
        let (_, key) = self.by_time.first().filter(|(at, _)| *at <= now).cloned()?;
        self.set(&key, None);
        Some(key)
    }
}
