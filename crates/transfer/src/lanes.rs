//! The connections of all fetches: one budget, shared fairly ([`shares`]), each source with as many as pay ([`pace`]).

mod pace;
mod shares;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{Clock, Timestamp};
use tokio::sync::oneshot;

use self::{
    pace::{Pace, Use},
    shares::Shares,
};
pub(crate) use shares::Claim;
pub use shares::FetchPriority;

/// Sources whose pace is remembered; beyond that all begin anew. A host knows a few hubs with mirrors.
const SOURCES_MAX: usize = 256;

/// The budget of connections.
#[derive(Debug)]
pub(crate) struct Lanes {
    clock: Clock,
    first: usize,
    connections_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shares: Shares,
    paces: BTreeMap<String, Pace>,
    /// Who waits, by ticket.
    waking: BTreeMap<u64, oneshot::Sender<()>>,
    next_fetch: u64,
}

/// A connection that may be used; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lane {
    lanes: Arc<Lanes>,
    claim: Claim,
}

/// A place in the queue; dropping it leaves the queue.
struct Waiting<'a> {
    lanes: &'a Lanes,
    ticket: u64,
    claim: &'a Claim,
    is_served: bool,
}

impl Lanes {
    pub(crate) fn new(clock: Clock, first: usize, connections_max: usize) -> Arc<Self> {
        let state = State {
            shares: Shares::new(connections_max),
            paces: BTreeMap::new(),
            waking: BTreeMap::new(),
            next_fetch: 0,
        };
        Arc::new(Self { clock, first, connections_max, state: Mutex::new(state) })
    }

    /// Makes a fetch known; returns its number.
    pub(crate) fn enter(&self, priority: FetchPriority) -> u64 {
        let mut state = self.state();
        let fetch = state.next_fetch;
        state.next_fetch += 1;
        state.shares.set_priority(fetch, Some(priority));
        fetch
    }

    /// Forgets a fetch that has ended.
    pub(crate) fn leave(&self, fetch: u64) {
        self.state().shares.set_priority(fetch, None);
    }

    /// Returns how urgent a fetch is.
    pub(crate) fn priority(&self, fetch: u64) -> FetchPriority {
        self.state().shares.priority(fetch)
    }

    /// Lets a fetch go on with what others leave. One that has ended is not known any more.
    pub(crate) fn demote(&self, fetch: u64) {
        self.state().shares.demote(fetch);
    }

    /// Says how urgent a fetch is from now on.
    pub(crate) fn set_priority(&self, fetch: u64, priority: FetchPriority) {
        self.state().shares.set_priority(fetch, Some(priority));
    }

    /// Waits for a connection.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the place in the queue.
    pub(crate) async fn acquire(self: &Arc<Self>, claim: Claim) -> Lane {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let ticket = state.shares.ask(claim.clone());
            state.waking.insert(ticket, sender);
            self.grant(&mut state);
            ticket
        };
        let mut waiting = Waiting { lanes: self, ticket, claim: &claim, is_served: false };
        receiver.await.expect("who waits is served, or leaves the queue itself");
        waiting.is_served = true;
        drop(waiting);
        Lane { lanes: self.clone(), claim }
    }

    /// Returns how many connections one of so many files may expect from a source, at least one.
    pub(crate) fn expected(&self, source: &str, files: usize) -> usize {
        let mut state = self.state();
        let limit = self.pace(&mut state, source).limit();
        (limit / files.max(1)).max(1)
    }

    /// Returns how long a range of a source should at least be.
    pub(crate) fn range_bytes_worthwhile(&self, source: &str) -> u64 {
        let mut state = self.state();
        self.pace(&mut state, source).range_bytes_worthwhile()
    }

    /// Notes that a source asked for a pause.
    pub(crate) fn refused(&self, source: &str) {
        let mut state = self.state();
        let now = self.clock.now();
        self.pace(&mut state, source).refused(now);
    }

    /// Notes that a connection of a source failed.
    pub(crate) fn failed(&self, source: &str) {
        let mut state = self.state();
        let now = self.clock.now();
        self.pace(&mut state, source).failed(now);
    }

    fn pace<'a>(&self, state: &'a mut State, source: &str) -> &'a mut Pace {
        if state.paces.len() >= SOURCES_MAX && !state.paces.contains_key(source) {
            state.paces.clear();
        }
        let fresh = || Pace::new(self.first, self.connections_max, self.clock.now());
        state.paces.entry(source.to_owned()).or_insert_with(fresh)
    }

    /// Gives connections as long as there are some for those who wait.
    fn grant(&self, state: &mut State) {
        let State { shares, paces, waking, .. } = state;
        while let Some(ticket) = shares.next(|source| paces.get(source).map_or(self.first, Pace::limit)) {
            let sender = waking.remove(&ticket).expect("who waits can be woken");
            // Whoever does not listen any more gives it back.
            let _ = sender.send(());
        }
    }

    fn give_back(&self, claim: &Claim) {
        let mut state = self.state();
        state.shares.give_back(claim);
        self.grant(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_served {
            return;
        }
        let mut state = self.lanes.state();
        state.waking.remove(&self.ticket);
        if !state.shares.withdraw(self.ticket) {
            drop(state);
            self.lanes.give_back(self.claim);
        }
    }
}

impl Lane {
    /// Returns the source that it leads to.
    pub(crate) fn source(&self) -> &str {
        &self.claim.source
    }

    /// Notes how long the first byte of a range took.
    pub(crate) fn answered(&self, waited: Duration) {
        let mut state = self.lanes.state();
        self.lanes.pace(&mut state, &self.claim.source).answered(waited);
    }

    /// Notes bytes that came over it.
    pub(crate) fn received(&self, bytes: u64, now: Timestamp) {
        let mut state = self.lanes.state();
        let source = &self.claim.source;
        let used = Use { held: state.shares.held_by(source), wanted: state.shares.is_wanted(source) };
        if self.lanes.pace(&mut state, source).received(bytes, used, now) {
            self.lanes.grant(&mut state);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.give_back(&self.claim);
    }
}
