//! The planner: from what is known to what is to be done, and why.
//!
//! One pass over what is dirty, in this order: hosts (workers lost, fetches due again), workers that must end, held
//! starts whose bytes are there (by age), held starts that do better elsewhere, new starts, models that nobody needs
//! any more. The caller carries the actions out in their order, applies what came of them to the fleet, and plans
//! again until a plan has no actions. It never hands out jobs, and it changes nothing.

mod action;
mod draft;
mod hosts;
mod report;
mod score;
mod starts;
mod workers;

use std::collections::BTreeMap;

use base::Timestamp;
use types::{EndpointId, WorkerId};

pub use action::{Action, Start};
pub use report::{EndpointReport, Wait};
pub use score::{Candidate, RoomWhen, Score, TimeStep, Unfit};

use crate::{
    fleet::{Alarms, Dirty, Fleet, Lifecycle, Subject, WorkerFacts},
    policy::Policy,
};
use draft::Draft;

/// What is to be done, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// For each endpoint that was planned.
    pub reports: BTreeMap<EndpointId, EndpointReport>,
    /// For each subject that was planned: when to plan it again although nothing changed.
    pub alarms: BTreeMap<Subject, Option<Timestamp>>,
}

impl Plan {
    /// Returns the first moment at which something of this plan must be planned again although nothing changed.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.alarms.values().flatten().min().copied()
    }

    /// Sets the alarms of what was planned.
    pub fn set_alarms(&self, alarms: &mut Alarms) {
        for (subject, at) in &self.alarms {
            alarms.set(subject, *at);
        }
    }
}

/// Plans what is dirty.
pub fn plan(fleet: &Fleet, dirty: &Dirty, policy: &Policy, now: Timestamp) -> Plan {
    let mut draft = Draft::new(fleet, policy, now);
    for host in &dirty.hosts {
        hosts::plan_host(&mut draft, host);
    }
    let endpoints: Vec<&EndpointId> =
        dirty.endpoints.iter().filter(|endpoint| fleet.endpoint(endpoint).is_some()).collect();
    for endpoint in &endpoints {
        draft.alarm(Subject::Endpoint((*endpoint).clone()), None);
        workers::end_workers(&mut draft, endpoint);
    }
    let held = held_by_age(&draft, &endpoints);
    for (worker, facts) in &held {
        starts::release(&mut draft, worker, facts);
    }
    for (worker, facts) in &held {
        starts::keep_or_move(&mut draft, worker, facts);
    }
    for endpoint in &endpoints {
        starts::keep_models(&mut draft, endpoint);
    }
    for endpoint in by_longest_wait(fleet, &endpoints) {
        starts::start_workers(&mut draft, endpoint);
    }
    for host in &dirty.hosts {
        hosts::drop_models(&mut draft, host);
    }
    for endpoint in endpoints {
        report::add_report(&mut draft, endpoint);
    }
    draft.into_plan()
}

/// Returns the held starts of these endpoints that are to stay, oldest first.
fn held_by_age<'a>(draft: &Draft<'a>, endpoints: &[&EndpointId]) -> Vec<(&'a WorkerId, &'a WorkerFacts)> {
    let fleet = draft.fleet();
    let mut held: Vec<_> = endpoints
        .iter()
        .flat_map(|endpoint| fleet.workers_of(endpoint))
        .filter(|(worker, facts)| facts.worker.is_held() && !draft.is_ended(worker))
        .collect();
    held.sort_by_key(|(worker, facts)| (facts.created_at, *worker));
    held
}

/// Returns the endpoints that stay, those whose jobs have waited longest first.
fn by_longest_wait<'a>(fleet: &Fleet, endpoints: &[&'a EndpointId]) -> Vec<&'a EndpointId> {
    let mut order: Vec<_> = endpoints
        .iter()
        .filter_map(|endpoint| fleet.endpoint(endpoint).map(|facts| (facts, *endpoint)))
        .filter(|(facts, _)| facts.lifecycle == Lifecycle::Active)
        .map(|(facts, endpoint)| (facts.demand.oldest_since.is_none(), facts.demand.oldest_since, endpoint))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, endpoint)| endpoint).collect()
}
