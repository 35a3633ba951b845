//! Who gets the next connection. Pure.
//!
//! The more urgent fetch first; among equals the one that has fewest connections, then the file that has fewest, then
//! who came first. A fetch that comes late thus gets the next connection that is given back, whatever others hold.

use std::collections::BTreeMap;

/// How urgent a fetch is, the most urgent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchPriority {
    /// Nobody waits for it any more; it goes on with what others leave.
    Demoted,
    /// Somebody may need it later.
    Prefetch,
    /// Somebody asked for it.
    #[default]
    Asked,
    /// A worker's start waits for it.
    Awaited,
}

/// Who asks for a connection, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) fetch: u64,
    /// A file of that fetch.
    pub(crate) file: usize,
    pub(crate) source: String,
}

/// What is held and who waits.
#[derive(Debug)]
pub(crate) struct Shares {
    connections_max: usize,
    held: usize,
    held_by_fetch: BTreeMap<u64, usize>,
    held_by_file: BTreeMap<(u64, usize), usize>,
    held_by_source: BTreeMap<String, usize>,
    priorities: BTreeMap<u64, FetchPriority>,
    /// By the number of their ticket, which is the order in which they came.
    waiting: BTreeMap<u64, Claim>,
    next_ticket: u64,
}

impl Shares {
    pub(crate) fn new(connections_max: usize) -> Self {
        Self {
            connections_max: connections_max.max(1),
            held: 0,
            held_by_fetch: BTreeMap::new(),
            held_by_file: BTreeMap::new(),
            held_by_source: BTreeMap::new(),
            priorities: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// Says how urgent a fetch is; `None` forgets it.
    pub(crate) fn set_priority(&mut self, fetch: u64, priority: Option<FetchPriority>) {
        match priority {
            Some(priority) => self.priorities.insert(fetch, priority),
            None => self.priorities.remove(&fetch),
        };
    }

    /// Makes a fetch that is known the least urgent.
    pub(crate) fn demote(&mut self, fetch: u64) {
        if let Some(priority) = self.priorities.get_mut(&fetch) {
            *priority = FetchPriority::Demoted;
        }
    }

    /// Returns how urgent a fetch is.
    pub(crate) fn priority(&self, fetch: u64) -> FetchPriority {
        self.priorities.get(&fetch).copied().unwrap_or_default()
    }

    /// Queues up for a connection; returns the ticket.
    pub(crate) fn ask(&mut self, claim: Claim) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, claim);
        ticket
    }

    /// Leaves the queue. Returns whether the ticket was still in it.
    pub(crate) fn withdraw(&mut self, ticket: u64) -> bool {
        self.waiting.remove(&ticket).is_some()
    }

    /// Gives the next connection, if there is one for somebody who waits; returns whose ticket it was.
    pub(crate) fn next(&mut self, limit_of: impl Fn(&str) -> usize) -> Option<u64> {
        if self.held >= self.connections_max {
            return None;
        }
        let has_room = |claim: &Claim| self.held_by(&claim.source) < limit_of(&claim.source);
        let (ticket, _) =
            self.waiting.iter().filter(|(_, claim)| has_room(claim)).min_by_key(|(ticket, claim)| {
                let priority = std::cmp::Reverse(self.priority(claim.fetch));
                let of_fetch = self.held_by_fetch.get(&claim.fetch).copied().unwrap_or_default();
                (priority, of_fetch, self.held_by_file(claim.fetch, claim.file), **ticket)
            })?;
        let ticket = *ticket;
        let claim = self.waiting.remove(&ticket).expect("it was just found");
        self.held += 1;
        *self.held_by_fetch.entry(claim.fetch).or_default() += 1;
        *self.held_by_file.entry((claim.fetch, claim.file)).or_default() += 1;
        *self.held_by_source.entry(claim.source).or_default() += 1;
        Some(ticket)
    }

    /// Takes a connection back.
    ///
    /// # Panics
    /// When it was not given.
    pub(crate) fn give_back(&mut self, claim: &Claim) {
        self.held = self.held.checked_sub(1).expect("a connection is given back once");
        less(&mut self.held_by_fetch, &claim.fetch);
        less(&mut self.held_by_file, &(claim.fetch, claim.file));
        less(&mut self.held_by_source, &claim.source);
    }

    /// Returns how many connections to a source are held.
    pub(crate) fn held_by(&self, source: &str) -> usize {
        self.held_by_source.get(source).copied().unwrap_or_default()
    }

    pub(crate) fn held_by_file(&self, fetch: u64, file: usize) -> usize {
        self.held_by_file.get(&(fetch, file)).copied().unwrap_or_default()
    }

    /// Returns whether somebody waits for a connection to a source.
    pub(crate) fn is_wanted(&self, source: &str) -> bool {
        self.waiting.values().any(|claim| claim.source == source)
    }
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    let count = counts.get_mut(key).expect("what is given back was counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests;
