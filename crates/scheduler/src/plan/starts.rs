//! Held starts and new ones: which go now, which do better elsewhere, which begin.

use types::{EndpointId, HostId, WorkerId};

use super::{
    Action, Candidate, RoomWhen, Start, Unfit,
    draft::{Draft, Survey},
    score::{Wish, assess, disk_retry_at},
    workers::{crash_pause, outlook},
};
use crate::{
    fleet::{Cordon, EndpointFacts, Fleet, Link, Subject, WorkerFacts},
    policy::CANDIDATES_SHOWN,
    worker::{Ending, WorkerState},
};

/// Lets a held start go when its models are there and its host has room, unless its endpoint pauses after crashes.
pub(super) fn release<'a>(draft: &mut Draft<'a>, worker: &WorkerId, facts: &'a WorkerFacts) {
    let Some(view) = draft.view(&facts.host) else {
        return;
    };
    let takes_workers = view.entry.facts.link == Link::Connected && view.entry.facts.cordon == Cordon::Open;
    if !takes_workers || !view.holds(&facts.need) {
        return;
    }
    let pauses =
        draft.fleet().endpoint(&facts.endpoint).is_some_and(|facts| crash_pause(draft, facts).is_some())
            || any_crashing(draft, &facts.endpoint);
    let pick = view.room().fits(&facts.need).filter(|_| !pauses);
    if matches!(facts.worker.state(), WorkerState::Initializing { .. }) {
        draft.act(Action::ModelsArrived { worker: worker.clone(), host: facts.host.clone() });
    }
    if let Some(pick) = pick {
        draft.release(worker, facts, &pick.uuids);
        let (worker, host) = (worker.clone(), facts.host.clone());
        draft.act(Action::ReleaseHold { worker, host, gpus: pick.uuids });
    }
}

/// Keeps a held start where it is, or moves it to a host that is clearly better.
pub(super) fn keep_or_move<'a>(draft: &mut Draft<'a>, worker: &'a WorkerId, facts: &'a WorkerFacts) {
    if draft.is_released(worker) {
        return;
    }
    let wish =
        Wish { endpoint: &facts.endpoint, tenant: &facts.tenant, need: &facts.need, itself: Some(worker) };
    let survey = survey(draft, wish);
    draft.alarm(Subject::Endpoint(facts.endpoint.clone()), survey.disk_retry_at);
    let present = draft.view(&facts.host).map_or(Err(Unfit::Away), |view| assess(draft, &view, wish));
    let rival = survey.candidates.iter().find(|candidate| candidate.score.host != facts.host).cloned();
    draft.survey(&facts.endpoint, survey);
    let arrived = draft.view(&facts.host).is_some_and(|view| view.holds(&facts.need));
    let better = match &present {
        Err(Unfit::Away) => rival.filter(|_| is_lost(draft, facts)),
        Err(_) => rival,
        Ok(_) if is_failing(draft, facts) => None,
        // There is room, so it only waits out a pause.
        Ok(present) if arrived && present.score.room == RoomWhen::Now => None,
        Ok(_) if arrived => rival.filter(|rival| beats_waiting(draft, facts, rival)),
        Ok(present) => rival.filter(|rival| beats_fetching(draft, present, rival)),
    };
    if let Some(better) = better {
        move_hold(draft, worker, facts, &better);
    } else if present.is_ok() {
        draft.place_models(&facts.endpoint, &facts.host, &facts.need);
        let is_throttled = matches!(facts.worker.state(), WorkerState::Throttled { .. });
        if let Ok(present) = present
            && is_throttled
            && !arrived
        {
            // A model went while the start waited for room: it is held for bytes again.
            let (from, to) = (facts.host.clone(), facts.host.clone());
            let missing = present.missing;
            draft.act(Action::MoveHold { worker: worker.clone(), from, to, missing });
        }
    }
}

/// Keeps the models of workers that run where they run, also when nobody remembers having asked for them.
pub(super) fn keep_models<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId) {
    for (worker, facts) in draft.fleet().workers_of(endpoint) {
        if facts.worker.is_live() && facts.worker.holds_room() && !draft.is_ended(worker) {
            draft.place_models(endpoint, &facts.host, &facts.need);
        }
    }
}

/// Starts what the endpoint's scaler asks for.
pub(super) fn start_workers<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId) {
    let fleet: &'a Fleet = draft.fleet();
    let Some(facts) = fleet.endpoint(endpoint) else {
        return;
    };
    let (wanted, live) = outlook(draft, endpoint, facts);
    draft.alarm(Subject::Endpoint(endpoint.clone()), wanted.more_at);
    if crash_pause(draft, facts).is_some() || any_failing(draft, endpoint) || any_crashing(draft, endpoint) {
        return;
    }
    for _ in live..wanted.workers {
        let wish = Wish { endpoint, tenant: &facts.tenant, need: &facts.need, itself: None };
        let survey = survey(draft, wish);
        draft.alarm(Subject::Endpoint(endpoint.clone()), survey.disk_retry_at);
        let best = survey.candidates.first().cloned();
        draft.survey(endpoint, survey);
        let Some(best) = best else {
            return;
        };
        start(draft, endpoint, facts, &best);
    }
}

fn start<'a>(draft: &mut Draft<'a>, endpoint: &'a EndpointId, facts: &'a EndpointFacts, best: &Candidate) {
    let Some(host) = host_of(draft, best) else {
        return;
    };
    draft.place_models(endpoint, host, &facts.need);
    let start = match (best.holds, best.score.room) {
        (true, RoomWhen::Now) => Start::AtOnce { gpus: best.gpus.clone() },
        (true, RoomWhen::Later) => Start::Throttled,
        (false, RoomWhen::Now | RoomWhen::Later) => Start::Held { missing: best.missing },
    };
    let gpus = match &start {
        Start::AtOnce { gpus } => Some(gpus.as_slice()),
        Start::Held { .. } | Start::Throttled => None,
    };
    draft.make(endpoint, facts, host, gpus);
    let (endpoint, release) = (endpoint.clone(), facts.release.clone());
    draft.act(Action::StartWorker { endpoint, release, host: host.clone(), start });
}

fn move_hold<'a>(draft: &mut Draft<'a>, worker: &'a WorkerId, facts: &'a WorkerFacts, better: &Candidate) {
    let Some(host) = host_of(draft, better) else {
        return;
    };
    draft.place_models(&facts.endpoint, host, &facts.need);
    let goes_at_once = better.holds && better.score.room == RoomWhen::Now;
    draft.receive(worker, facts, host, goes_at_once.then_some(better.gpus.as_slice()));
    let (from, to, missing) = (facts.host.clone(), host.clone(), better.missing);
    draft.act(Action::MoveHold { worker: worker.clone(), from, to, missing });
}

/// A fetch under way is given up only for a host that is ready clearly sooner and has room.
fn beats_fetching(draft: &Draft<'_>, present: &Candidate, rival: &Candidate) -> bool {
    let steps = draft.policy().rival_steps_min;
    rival.score.room == RoomWhen::Now && rival.score.time.0.saturating_add(steps) <= present.score.time.0
}

/// A start that only waits for room takes room on any holding host, and after some patience on any host.
fn beats_waiting(draft: &mut Draft<'_>, facts: &WorkerFacts, rival: &Candidate) -> bool {
    let since = match facts.worker.state() {
        WorkerState::Throttled { since } => *since,
        WorkerState::Initializing { .. }
        | WorkerState::Launching { .. }
        | WorkerState::Starting { .. }
        | WorkerState::Idle { .. }
        | WorkerState::Running { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Unhealthy { .. } => draft.now(),
    };
    let patient_until = since + draft.policy().throttled_patience;
    draft.alarm(Subject::Endpoint(facts.endpoint.clone()), Some(patient_until));
    let is_free = rival.score.room == RoomWhen::Now;
    is_free && (rival.holds || patient_until <= draft.now())
}

/// Whether the start's host is away for so long that it counts as lost; until then the start waits for it.
fn is_lost(draft: &mut Draft<'_>, facts: &WorkerFacts) -> bool {
    let Some(Link::Away { since }) = draft.fleet().host(&facts.host).map(|host| host.link) else {
        return true;
    };
    let lost_at = since + draft.policy().host_lost_after;
    draft.alarm(Subject::Endpoint(facts.endpoint.clone()), Some(lost_at));
    lost_at <= draft.now()
}

/// Whether a fetch that the start waits for failed and has not advanced since. It is tried again where it is: what the hub refuses to one host it
/// refuses to the next. (A failing disk makes the host unfit before this is asked.)
fn is_failing(draft: &Draft<'_>, facts: &WorkerFacts) -> bool {
    facts.need.models.iter().any(|model| {
        let held = draft.fleet().model(&facts.host, &model.key);
        held.is_some_and(|held| held.state.is_failing())
    })
}

fn any_failing(draft: &Draft<'_>, endpoint: &EndpointId) -> bool {
    let mut held = draft.fleet().workers_of(endpoint).filter(|(_, facts)| facts.worker.is_held());
    held.any(|(_, facts)| is_failing(draft, facts))
}

/// Whether a worker is about to count as crashed: the pause that follows is not known before its process has ended.
fn any_crashing(draft: &Draft<'_>, endpoint: &EndpointId) -> bool {
    draft.fleet().workers_of(endpoint).any(|(worker, facts)| match facts.worker.state() {
        WorkerState::Draining { ending: Ending::Unhealthy { .. }, .. } => true,
        WorkerState::Starting { .. } => draft.is_unready(worker),
        WorkerState::Initializing { .. }
        | WorkerState::Throttled { .. }
        | WorkerState::Launching { .. }
        | WorkerState::Idle { .. }
        | WorkerState::Running { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Unhealthy { .. } => false,
    })
}

/// Returns the fleet's own id of a candidate's host.
fn host_of<'a>(draft: &Draft<'a>, candidate: &Candidate) -> Option<&'a HostId> {
    let fleet: &'a Fleet = draft.fleet();
    fleet.host_id(&candidate.score.host)
}

/// Looks at every host. Keeps the few best, in order, and counts the reasons of those that can't.
fn survey(draft: &Draft<'_>, wish: Wish<'_>) -> Survey {
    let mut survey = Survey::default();
    for view in draft.views() {
        match assess(draft, &view, wish) {
            Err(unfit) => {
                *survey.others.entry(unfit).or_default() += 1;
                if unfit == Unfit::DiskFailing {
                    let retry_at = disk_retry_at(draft, &view, wish.need);
                    survey.disk_retry_at = [survey.disk_retry_at, retry_at].into_iter().flatten().min();
                }
            }
            Ok(candidate) => {
                let best = &mut survey.candidates;
                let at = best.partition_point(|other| other.score < candidate.score);
                if at < CANDIDATES_SHOWN {
                    best.insert(at, candidate);
                    best.truncate(CANDIDATES_SHOWN);
                }
            }
        }
    }
    survey
}
