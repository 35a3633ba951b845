//! Which workers of an endpoint must end, and how many it should have.

use base::Timestamp;
use types::{EndpointId, WorkerId};

use super::{Action, draft::Draft};
use crate::{
    fleet::{EndpointFacts, Fleet, Lifecycle, Link, Subject, WorkerFacts},
    scale::{Wanted, Workforce, wanted},
    worker::{StopReason, Worker, WorkerState},
};

type Member<'a> = (&'a WorkerId, &'a WorkerFacts);

/// Ends what must end: workers of a deleted endpoint or an older release, starts that took too long, those over the
/// maximum, held starts that nobody waits for, idle ones after their timeout.
pub(super) fn end_workers<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId) {
    let fleet: &'a Fleet = draft.fleet();
    let Some(facts) = fleet.endpoint(endpoint) else {
        return;
    };
    forget_ended(draft, endpoint, facts);
    let live: Vec<Member<'a>> = fleet
        .workers_of(endpoint)
        .filter(|(worker, facts)| facts.worker.is_live() && !draft.is_ended(worker))
        .collect();
    if facts.lifecycle == Lifecycle::Deleting {
        if fleet.workers_of(endpoint).next().is_none() {
            draft.act(Action::ForgetEndpoint { endpoint: endpoint.clone() });
        }
        live.into_iter().for_each(|member| end(draft, member, StopReason::EndpointDeleted));
        return;
    }
    let (present, outdated): (Vec<_>, Vec<_>) =
        live.into_iter().partition(|(_, worker)| worker.release == facts.release);
    outdated.into_iter().for_each(|member| end(draft, member, StopReason::Outdated));
    end_unready(draft, endpoint, facts, &present);
    end_over_max(draft, facts, present);
    end_unneeded(draft, endpoint, facts);
}

/// Returns an endpoint's workers of its present release that this plan leaves.
pub(super) fn members<'a>(draft: &Draft<'a>, endpoint: &EndpointId) -> Vec<Member<'a>> {
    let fleet = draft.fleet();
    let release = fleet.endpoint(endpoint).map(|facts| &facts.release);
    fleet
        .workers_of(endpoint)
        .filter(|(worker, facts)| {
            facts.worker.is_live() && Some(&facts.release) == release && !draft.is_ended(worker)
        })
        .collect()
}

/// Returns what the scaler of an endpoint asks for, with the number of workers that it counts.
pub(super) fn outlook(draft: &Draft<'_>, endpoint: &EndpointId, facts: &EndpointFacts) -> (Wanted, u32) {
    let members = members(draft, endpoint);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let force = Workforce {
        live: count(members.len()),
        free: count(members.iter().filter(|(_, facts)| is_free(&facts.worker)).count()),
        latest_start: members.iter().map(|(_, facts)| facts.created_at).max(),
    };
    (wanted(&facts.scaling, &facts.demand, &force, draft.now()), force.live)
}

fn is_free(worker: &Worker) -> bool {
    worker.is_coming() || matches!(worker.state(), WorkerState::Idle { .. })
}

/// Returns until when an endpoint pauses after crashes, if it does.
pub(super) fn crash_pause(draft: &Draft<'_>, facts: &EndpointFacts) -> Option<Timestamp> {
    let retry_at = facts.crashes.as_ref()?.retry_at(draft.policy().crash_backoff);
    (retry_at > draft.now()).then_some(retry_at)
}

/// An unhealthy worker is shown until the pause that it caused is over.
fn forget_ended<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId, facts: &EndpointFacts) {
    let fleet: &'a Fleet = draft.fleet();
    let pause = crash_pause(draft, facts).filter(|_| facts.lifecycle == Lifecycle::Active);
    draft.alarm(Subject::Endpoint(endpoint.clone()), pause);
    for (worker, facts) in fleet.workers_of(endpoint) {
        let fault = match facts.worker.state() {
            WorkerState::Unhealthy { fault } if pause.is_none() => Some(fault.clone()),
            WorkerState::Stopped { .. } => None,
            WorkerState::Unhealthy { .. }
            | WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => continue,
        };
        draft.act(Action::ForgetWorker { worker: worker.clone(), fault });
    }
}

/// The init timeout runs from the start of the process, so no held start is ever its victim. While the host is away
/// nobody knows whether the worker became ready.
fn end_unready(draft: &mut Draft<'_>, endpoint: &EndpointId, facts: &EndpointFacts, members: &[Member<'_>]) {
    for (worker, member) in members {
        let WorkerState::Starting { started_at, .. } = member.worker.state() else {
            continue;
        };
        let until = *started_at + facts.scaling.init_timeout;
        draft.alarm(Subject::Endpoint(endpoint.clone()), Some(until));
        let is_connected = draft.fleet().host(&member.host).is_some_and(|host| host.link == Link::Connected);
        if until <= draft.now() && is_connected {
            draft.end_unready(worker);
            draft.act(Action::MarkUnhealthy { worker: (*worker).clone(), host: member.host.clone() });
        }
    }
}

/// Ends those whose end costs least: held before started, started before idle, idle before busy; the youngest first.
fn end_over_max(draft: &mut Draft<'_>, facts: &EndpointFacts, members: Vec<Member<'_>>) {
    let mut members: Vec<_> = members.into_iter().filter(|(worker, _)| !draft.is_ended(worker)).collect();
    let max = usize::try_from(facts.scaling.workers_max).unwrap_or(usize::MAX);
    let excess = members.len().saturating_sub(max);
    members.sort_by_key(|(worker, member)| {
        let cost = match member.worker.state() {
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => 0,
            WorkerState::Launching { .. } | WorkerState::Starting { .. } => 1,
            WorkerState::Idle { .. } => 2,
            WorkerState::Running { .. } => 3,
            WorkerState::Draining { .. } | WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => 4,
        };
        (cost, std::cmp::Reverse(member.created_at), *worker)
    });
    members.into_iter().take(excess).for_each(|member| end(draft, member, StopReason::OverMax));
}

/// While any job waits, nobody is stopped for having nothing to do.
fn end_unneeded<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId, facts: &EndpointFacts) {
    if facts.demand.queued > 0 || facts.demand.queued_low > 0 {
        return;
    }
    let (wanted, live) = outlook(draft, endpoint, facts);
    let mut surplus = live.saturating_sub(wanted.floor);
    let mut members = members(draft, endpoint);
    members.sort_by_key(|(worker, member)| (std::cmp::Reverse(member.created_at), *worker));
    for member in members.iter().filter(|(_, facts)| facts.worker.is_held()) {
        if surplus > 0 {
            end(draft, *member, StopReason::NotNeeded);
            surplus -= 1;
        }
    }
    let mut idle: Vec<_> = members
        .iter()
        .filter_map(|member| match member.1.worker.state() {
            WorkerState::Idle { since } => Some((*since, *member)),
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Stopped { .. }
            | WorkerState::Unhealthy { .. } => None,
        })
        .collect();
    idle.sort_by_key(|(since, (worker, _))| (*since, *worker));
    for (since, member) in idle {
        let until = since + facts.scaling.idle_timeout;
        if surplus == 0 {
            return;
        }
        if until <= draft.now() {
            end(draft, member, StopReason::IdleTimeout);
            surplus -= 1;
        } else {
            draft.alarm(Subject::Endpoint(endpoint.clone()), Some(until));
        }
    }
}

fn end(draft: &mut Draft<'_>, (worker, facts): Member<'_>, reason: StopReason) {
    draft.end(worker);
    let (worker, host) = (worker.clone(), facts.host.clone());
    draft.act(if matches!(facts.worker.state(), WorkerState::Running { .. }) {
        Action::DrainWorker { worker, host, reason }
    } else {
        Action::StopWorker { worker, host, reason }
    });
}
