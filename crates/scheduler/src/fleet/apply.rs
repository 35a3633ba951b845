//! What an action of a plan changes in the fleet: the same for the control plane and for a simulator.

use base::Timestamp;
use types::{HostId, ModelKey, StartMark, WorkerId};

use super::{Desire, Fleet, HostModel, WorkerFacts};
use crate::{
    fetch::{FetchEvent, FetchState},
    plan::{Action, Start},
    step::Step,
    worker::{Worker, WorkerEffect, WorkerEvent},
};

/// What came of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The worker that the action made, moved or stepped.
    pub worker: Option<WorkerId>,
    /// What must be done because of its step.
    pub effects: Vec<WorkerEffect>,
}

impl Fleet {
    /// Applies an action of a plan made of this fleet. `fresh_worker` gives the id of a worker that is made.
    ///
    /// An action that no longer makes sense, because a fact changed in between, changes nothing.
    pub fn apply(
        &mut self,
        action: &Action,
        fresh_worker: impl FnOnce() -> WorkerId,
        now: Timestamp,
    ) -> Applied {
        match action {
            Action::PlaceModel { host, model, total, .. } => {
                let held = self.model(host, model);
                let desire = match held.map(|held| held.desire) {
                    Some(Desire::ByOperator) => Desire::ByOperator,
                    Some(Desire::None | Desire::ForWorkers) | None => Desire::ForWorkers,
                };
                let state = held.map_or(FetchState::ABSENT, |held| held.state.clone());
                self.put_model(host, model, HostModel { total: *total, desire, state });
                Applied::default()
            }
            Action::RetryFetch { host, model } => {
                self.step_fetch(host, model, &FetchEvent::RetryDue, now);
                Applied::default()
            }
            Action::DropModel { host, model } => {
                self.drop_model(host, model);
                Applied::default()
            }
            Action::StartWorker { endpoint, release, host, start } => {
                let Some((need, tenant)) =
                    self.endpoint(endpoint).map(|facts| (facts.need.clone(), facts.tenant.clone()))
                else {
                    return Applied::default();
                };
                let (worker, gpus) = match start {
                    Start::AtOnce { gpus } => (Worker::launching(now), gpus.clone()),
                    Start::Held { .. } => (Worker::held(now), Vec::new()),
                    Start::Throttled => (Worker::throttled(now), Vec::new()),
                };
                let id = fresh_worker();
                let (endpoint, release, host) = (endpoint.clone(), release.clone(), host.clone());
                let facts =
                    WorkerFacts { endpoint, tenant, release, need, host, gpus, created_at: now, worker };
                self.put_worker(&id, facts);
                let effects = vec![WorkerEffect::Mark(StartMark::Placed, now)];
                Applied { worker: Some(id), effects }
            }
            Action::ModelsArrived { worker, .. } => self.apply_step(worker, &WorkerEvent::ModelReady, now),
            Action::ReleaseHold { worker, gpus, .. } => {
                let applied = self.apply_step(worker, &WorkerEvent::Released, now);
                self.change_worker(worker, |facts| {
                    if facts.worker.holds_room() {
                        facts.gpus.clone_from(gpus);
                    }
                });
                applied
            }
            Action::MoveHold { worker, to, .. } => {
                let applied = self.apply_step(worker, &WorkerEvent::Moved, now);
                self.change_worker(worker, |facts| {
                    if facts.worker.is_held() {
                        facts.host.clone_from(to);
                    }
                });
                applied
            }
            Action::StopWorker { worker, reason, .. } | Action::DrainWorker { worker, reason, .. } => {
                self.apply_step(worker, &WorkerEvent::StopRequested(*reason), now)
            }
            Action::MarkUnhealthy { worker, .. } => self.apply_step(worker, &WorkerEvent::InitTimeout, now),
            Action::MarkLost { worker, last_seen, .. } => {
                self.apply_step(worker, &WorkerEvent::HostLost(*last_seen), now)
            }
            Action::ForgetWorker { worker, .. } => {
                self.remove_worker(worker);
                Applied { worker: Some(worker.clone()), effects: Vec::new() }
            }
            Action::ForgetEndpoint { endpoint } => {
                self.remove_endpoint(endpoint);
                Applied::default()
            }
        }
    }

    fn apply_step(&mut self, worker: &WorkerId, event: &WorkerEvent, now: Timestamp) -> Applied {
        let effects = self.step_worker(worker, event, now).and_then(Step::next).map(|(_, effects)| effects);
        Applied { worker: Some(worker.clone()), effects: effects.unwrap_or_default() }
    }

    fn change_worker(&mut self, worker: &WorkerId, change: impl FnOnce(&mut WorkerFacts)) {
        if let Some(facts) = self.worker(worker) {
            let mut facts = facts.clone();
            change(&mut facts);
            self.put_worker(worker, facts);
        }
    }

    /// A model of which there is not one byte is forgotten; the rest stays until the agent says that it is gone.
    fn drop_model(&mut self, host: &HostId, model: &ModelKey) {
        let Some(held) = self.model(host, model).cloned() else {
            return;
        };
        match held.state {
            FetchState::Wanted { present, .. } if present.bytes() == 0 => self.remove_model(host, model),
            FetchState::Wanted { .. }
            | FetchState::Fetching { .. }
            | FetchState::Ready
            | FetchState::Failed { .. } => {
                self.put_model(host, model, HostModel { desire: Desire::None, ..held });
            }
        }
    }
}
