//! Which waiting job goes to which ready worker, at once and without planning.
//!
//! - Within an endpoint: jobs of normal priority first, then those of low priority; within a priority by their place,
//!   which is given at submission and kept through attempts, so that a job that lost its worker is next again.
//! - Between endpoints: each in turn. An endpoint with a million jobs delays another one's only job by one hand-over.
//! - To which worker: of the newest release; of those, one without a job before one with jobs; of those, the one that
//!   worked last. So surplus workers stay idle and end by their idle timeout, instead of each being kept warm by a
//!   trickle of jobs.
//! - Never more jobs than a worker has asked for: each hand-over uses one of the slots that it announced.
//! - Never to a worker that the job is barred from: one that had it before, lives, and may have it still.
//!
//! The index is rebuilt from the stored jobs at a start; nothing here is durable.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use types::{EndpointId, JobId, WorkerId};

/// Whether a job goes ahead of others of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// As usual.
    Normal,
    /// Behind all normal ones.
    Low,
}

/// A job's place in the order of submissions. Lower is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// A ready worker that asks for jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The endpoint that it works for.
    pub endpoint: EndpointId,
    /// The number of its release within the endpoint.
    pub release_version: u32,
    /// Whether it has jobs, and since when it has none.
    pub occupation: Occupation,
    /// How many more jobs it takes now.
    pub slots: u32,
}

/// Whether a worker has jobs. The order is the order of preference, last first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Occupation {
    /// It has some.
    Busy,
    /// It has none since then.
    Idle {
        /// The end of its last job, or its first take.
        since: Timestamp,
    },
}

/// A job that goes to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The endpoint of both.
    pub endpoint: EndpointId,
    /// The job, which is no longer in the index.
    pub job: JobId,
    /// The worker, which has one slot less.
    pub worker: WorkerId,
}

/// Jobs that wait and workers that ask.
///
/// Invariant: `turns` holds exactly the endpoints that have both, each with the number of its last turn.
#[derive(Clone, Debug, Default)]
pub struct ReadyIndex {
    jobs: BTreeMap<JobId, (EndpointId, Priority, Place)>,
    /// Workers that a waiting job must not go to. Few: a job has few attempts.
    barred: BTreeMap<JobId, BTreeSet<WorkerId>>,
    workers: BTreeMap<WorkerId, Offer>,
    endpoints: BTreeMap<EndpointId, Line>,
    turns: BTreeSet<(u64, EndpointId)>,
    turn: u64,
}

/// One endpoint's waiting jobs and asking workers. Jobs leave from the front, workers from the back.
#[derive(Clone, Debug, Default)]
struct Line {
    jobs: BTreeMap<(Priority, Place), JobId>,
    workers: BTreeSet<(u32, Occupation, WorkerId)>,
    low: u32,
    last_turn: u64,
}

impl Line {
    /// Makes the line of an endpoint that comes behind those that wait already.
    fn behind(turn: u64) -> Self {
        Self { last_turn: turn, ..Self::default() }
    }
}

impl ReadyIndex {
    /// Adds a job that waits. A job that waits already keeps its place.
    pub fn enqueue(&mut self, endpoint: &EndpointId, job: &JobId, priority: Priority, place: Place) {
        if self.jobs.contains_key(job) {
            return;
        }
        let line = self.endpoints.entry(endpoint.clone()).or_insert_with(|| Line::behind(self.turn));
        let earlier = line.jobs.insert((priority, place), job.clone());
        assert!(earlier.is_none(), "two jobs of {endpoint} have the same place");
        line.low += u32::from(priority == Priority::Low);
        self.jobs.insert(job.clone(), (endpoint.clone(), priority, place));
        self.set_turn(endpoint);
    }

    /// Keeps a job that waits from these workers until it waits no more.
    pub fn bar(&mut self, job: &JobId, workers: impl IntoIterator<Item = WorkerId>) {
        let workers: BTreeSet<WorkerId> = workers.into_iter().collect();
        if self.jobs.contains_key(job) && !workers.is_empty() {
            self.barred.insert(job.clone(), workers);
        }
    }

    /// Removes a job that waits no more; returns whether it did.
    pub fn dequeue(&mut self, job: &JobId) -> bool {
        self.barred.remove(job);
        let Some((endpoint, priority, place)) = self.jobs.remove(job) else {
            return false;
        };
        if let Some(line) = self.endpoints.get_mut(&endpoint) {
            line.jobs.remove(&(priority, place));
            line.low -= u32::from(priority == Priority::Low);
        }
        self.set_turn(&endpoint);
        true
    }

    /// Notes what a worker asks for, in place of what it asked for before. No slots withdraw it.
    pub fn offer(&mut self, worker: &WorkerId, offer: Offer) {
        self.withdraw(worker);
        if offer.slots == 0 {
            return;
        }
        let endpoint = offer.endpoint.clone();
        let line = self.endpoints.entry(endpoint.clone()).or_insert_with(|| Line::behind(self.turn));
        line.workers.insert((offer.release_version, offer.occupation, worker.clone()));
        self.workers.insert(worker.clone(), offer);
        self.set_turn(&endpoint);
    }

    /// Forgets what a worker asked for: it drains, ended, or its host is away.
    pub fn withdraw(&mut self, worker: &WorkerId) {
        let Some(offer) = self.workers.remove(worker) else {
            return;
        };
        if let Some(line) = self.endpoints.get_mut(&offer.endpoint) {
            line.workers.remove(&(offer.release_version, offer.occupation, worker.clone()));
        }
        self.set_turn(&offer.endpoint);
    }

    /// Takes the next job for which there is a worker, or returns none when no endpoint has both.
    pub fn hand_over(&mut self) -> Option<HandOver> {
        let (endpoint, job, worker) = self.turns.iter().find_map(|(_, endpoint)| {
            let (job, worker) = pair(self.endpoints.get(endpoint)?, &self.barred)?;
            Some((endpoint.clone(), job.clone(), worker.clone()))
        })?;
        let line = self.endpoints.get_mut(&endpoint)?;
        self.turn += 1;
        self.turns.remove(&(line.last_turn, endpoint.clone()));
        line.last_turn = self.turn;
        self.dequeue(&job);
        let mut offer = self.workers.get(&worker)?.clone();
        offer.slots -= 1;
        offer.occupation = Occupation::Busy;
        self.offer(&worker, offer);
        Some(HandOver { endpoint, job, worker })
    }

    /// Returns a worker that asks for jobs while its endpoint has only such that are barred from all who ask, or none
    /// when there is no such worker: nothing would ever move there unless that worker is replaced.
    pub fn barred_worker(&self) -> Option<&WorkerId> {
        let mut lines = self.turns.iter().filter_map(|(_, endpoint)| self.endpoints.get(endpoint));
        let stuck = lines.find(|line| pair(line, &self.barred).is_none())?;
        stuck.workers.first().map(|(_, _, worker)| worker)
    }

    /// Returns how many jobs of an endpoint wait, of each priority.
    pub fn waiting(&self, endpoint: &EndpointId, priority: Priority) -> u32 {
        self.endpoints.get(endpoint).map_or(0, |line| match priority {
            Priority::Low => line.low,
            Priority::Normal => u32::try_from(line.jobs.len()).unwrap_or(u32::MAX) - line.low,
        })
    }

    /// Returns the job of an endpoint that is next among those of a priority.
    pub fn next_of(&self, endpoint: &EndpointId, priority: Priority) -> Option<&JobId> {
        let line = self.endpoints.get(endpoint)?;
        line.jobs.range((priority, Place(0))..=(priority, Place(u64::MAX))).next().map(|(_, job)| job)
    }

    /// Returns how many jobs wait in all.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Returns whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Restores the invariant of `turns` for an endpoint whose line changed, and drops empty lines.
    fn set_turn(&mut self, endpoint: &EndpointId) {
        let Some(line) = self.endpoints.get(endpoint) else {
            return;
        };
        let turn = (line.last_turn, endpoint.clone());
        if line.jobs.is_empty() || line.workers.is_empty() {
            self.turns.remove(&turn);
            if line.jobs.is_empty() && line.workers.is_empty() {
                self.endpoints.remove(endpoint);
            }
        } else {
            self.turns.insert(turn);
        }
    }
}

/// Returns the first job of a line that may go to one of its workers, with the worker that it goes to.
fn pair<'a>(
    line: &'a Line,
    barred: &BTreeMap<JobId, BTreeSet<WorkerId>>,
) -> Option<(&'a JobId, &'a WorkerId)> {
    line.jobs.values().find_map(|job| {
        let barred = barred.get(job);
        let mut preferred = line.workers.iter().rev().map(|(_, _, worker)| worker);
        let worker = preferred.find(|worker| barred.is_none_or(|barred| !barred.contains(*worker)))?;
        Some((job, worker))
    })
}

#[cfg(test)]
mod tests;
