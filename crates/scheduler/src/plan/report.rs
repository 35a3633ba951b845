//! Why an endpoint has not got what it wants: what it waits for, and how the hosts compare.

use std::{collections::BTreeMap, fmt};

use base::{ByteSize, Timestamp};
use serde::Serialize;
use types::{EndpointId, Fault, HostId, ModelKey, WorkerId};

use super::{
    Candidate, Unfit,
    draft::Draft,
    workers::{crash_pause, members, outlook},
};
use crate::{
    fetch::FetchState,
    fleet::{EndpointFacts, Fleet, Lifecycle, Link, WorkerFacts},
    worker::WorkerState,
};

/// One thing that an endpoint waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Wait {
    /// A model on its way to the host of a held start.
    Fetch {
        /// The start.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// What.
        model: ModelKey,
        /// Bytes there so far.
        present: ByteSize,
        /// Bytes in all.
        total: ByteSize,
    },
    /// The next try of a fetch that failed.
    FetchRetry {
        /// The start.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// What.
        model: ModelKey,
        /// Why the last try failed.
        fault: Fault,
        /// When it is tried again.
        at: Timestamp,
    },
    /// Room on the host of a held start.
    Room {
        /// The start.
        worker: WorkerId,
        /// Where.
        host: HostId,
    },
    /// The return of a host.
    HostAway {
        /// The start.
        worker: WorkerId,
        /// Where.
        host: HostId,
    },
    /// A worker's process.
    Process {
        /// The worker.
        worker: WorkerId,
        /// Where.
        host: HostId,
    },
    /// A worker's first request for a job.
    FirstTake {
        /// The worker.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// When the worker counts as unhealthy.
        until: Timestamp,
    },
    /// The end of the pause after crashes.
    CrashPause {
        /// Crashes in a row.
        crashes: u32,
        /// Why the last worker crashed.
        fault: Fault,
        /// When the next worker is started.
        until: Timestamp,
    },
    /// The scaler's delay before one more worker.
    ScalerDelay {
        /// When it is over.
        until: Timestamp,
    },
    /// A host that can take a worker: at present none can.
    Host,
    /// A worker to become free: there may be no more of them.
    Maximum {
        /// The maximum.
        workers_max: u32,
    },
    /// A job of normal priority: those of low priority cause no start.
    NormalPriority,
}

/// What was found out about an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndpointReport {
    /// Workers that it should have.
    pub wanted: u32,
    /// Workers of its present release that it has, on their way or ready.
    pub live: u32,
    /// What it waits for; empty when it has what it wants.
    pub waits: Vec<Wait>,
    /// The best hosts for the start that was looked at, best first.
    pub candidates: Vec<Candidate>,
    /// How many hosts could not take it, by reason.
    pub others: BTreeMap<Unfit, u32>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch { host, model, present, total, .. } => {
                write!(f, "waits for {model} on {host}: {present} of {total}")
            }
            Self::FetchRetry { host, model, fault, .. } => {
                write!(f, "waits to fetch {model} to {host} again: {fault} ({})", fault.code)
            }
            Self::Room { host, .. } => write!(f, "waits for room on {host}"),
            Self::HostAway { host, .. } => write!(f, "waits for {host} to return"),
            Self::Process { worker, host } => write!(f, "waits for the process of {worker} on {host}"),
            Self::FirstTake { worker, host, .. } => {
                write!(f, "waits for the first take of {worker} on {host}")
            }
            Self::CrashPause { crashes, fault, .. } => {
                write!(f, "waits after crash {crashes} in a row: {fault} ({})", fault.code)
            }
            Self::ScalerDelay { .. } => f.write_str("waits out the queue delay before one more worker"),
            Self::Host => f.write_str("waits for a host that can take a worker"),
            Self::Maximum { workers_max } => write!(f, "waits for a free worker: {workers_max} are allowed"),
            Self::NormalPriority => f.write_str("waits for a worker: low-priority jobs start none"),
        }
    }
}

/// Adds the report of an endpoint to the plan.
pub(super) fn add_report<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId) {
    let fleet: &'a Fleet = draft.fleet();
    let Some(facts) = fleet.endpoint(endpoint) else {
        return;
    };
    let (wanted, live) = outlook(draft, endpoint, facts);
    let mut waits = Vec::new();
    if let (Some(until), Some(crashes)) = (crash_pause(draft, facts), &facts.crashes)
        && facts.lifecycle == Lifecycle::Active
    {
        let (crashes, fault) = (crashes.count, crashes.fault.clone());
        waits.push(Wait::CrashPause { crashes, fault, until });
    }
    for (worker, member) in members(draft, endpoint) {
        if !draft.is_released(worker) {
            add_start_waits(fleet, facts, worker, member, &mut waits);
        }
    }
    let survey = draft.take_survey(endpoint);
    let demand = &facts.demand;
    if facts.lifecycle == Lifecycle::Active {
        if live < wanted.workers && survey.as_ref().is_some_and(|survey| survey.candidates.is_empty()) {
            waits.push(Wait::Host);
        }
        if let Some(until) = wanted.more_at {
            waits.push(Wait::ScalerDelay { until });
        }
        let workers_max = facts.scaling.workers_max;
        if live >= workers_max && demand.queued > 0 {
            waits.push(Wait::Maximum { workers_max });
        }
        if live == 0 && wanted.workers == 0 && demand.queued == 0 && demand.queued_low > 0 {
            waits.push(Wait::NormalPriority);
        }
    }
    let survey = survey.unwrap_or_default();
    let (candidates, others) = (survey.candidates, survey.others);
    draft.report(endpoint, EndpointReport { wanted: wanted.workers, live, waits, candidates, others });
}

/// Adds what the start of one worker waits for.
fn add_start_waits(
    fleet: &Fleet,
    endpoint: &EndpointFacts,
    worker: &WorkerId,
    facts: &WorkerFacts,
    waits: &mut Vec<Wait>,
) {
    let (worker, host) = (worker.clone(), facts.host.clone());
    let is_away = fleet.host(&host).is_none_or(|host| host.link != Link::Connected);
    if is_away && facts.worker.is_coming() {
        waits.push(Wait::HostAway { worker, host });
        return;
    }
    match facts.worker.state() {
        WorkerState::Initializing { .. } => add_fetch_waits(fleet, &worker, facts, waits),
        WorkerState::Throttled { .. } => waits.push(Wait::Room { worker, host }),
        WorkerState::Launching { .. } => waits.push(Wait::Process { worker, host }),
        WorkerState::Starting { started_at, .. } => {
            let until = *started_at + endpoint.scaling.init_timeout;
            waits.push(Wait::FirstTake { worker, host, until });
        }
        WorkerState::Idle { .. }
        | WorkerState::Running { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Unhealthy { .. } => {}
    }
}

fn add_fetch_waits(fleet: &Fleet, worker: &WorkerId, facts: &WorkerFacts, waits: &mut Vec<Wait>) {
    let host = &facts.host;
    for need in &facts.need.models {
        let (worker, host, model, total) = (worker.clone(), host.clone(), need.key.clone(), need.total);
        let present = match fleet.model(&host, &model).map(|held| &held.state) {
            Some(FetchState::Ready) => continue,
            Some(FetchState::Failed { fault, retry_at, .. }) => {
                let (fault, at) = (fault.clone(), *retry_at);
                waits.push(Wait::FetchRetry { worker, host, model, fault, at });
                continue;
            }
            Some(FetchState::Wanted { present, .. } | FetchState::Fetching { present, .. }) => *present,
            None => ByteSize(0),
        };
        waits.push(Wait::Fetch { worker, host, model, present, total });
    }
}
