//! A fleet with hands: carries plans out as the control plane does, and lets agents and workers answer at once.

use std::collections::{BTreeMap, BTreeSet};

use base::{ByteSize, Timestamp};
use scheduler::{
    Action, Alarms, Crashes, Desire, EndpointReport, Exit, FetchEvent, FetchState, Fleet, LedgerInterval,
    Link, Plan, Policy, Source, Start, Step, WorkerEffect, WorkerEvent, plan,
};
use types::{EndpointId, HostId, Isolation, ModelKey, WorkerId};

/// Plans in a row after which a fleet counts as never coming to rest.
const ROUNDS_MAX: usize = 40;

/// A fleet, the clock, and what came of the plans so far.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) alarms: Alarms,
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    pub(crate) reports: BTreeMap<EndpointId, EndpointReport>,
    pub(crate) ledger: BTreeMap<WorkerId, Vec<LedgerInterval>>,
    pub(crate) born: BTreeMap<WorkerId, Timestamp>,
    pub(crate) log: Vec<String>,
    workers_made: u32,
}

impl World {
    /// Plans and carries out until a plan has no actions.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for subject in self.alarms.take_due(self.now) {
                self.fleet.wake(&subject);
            }
            let dirty = self.fleet.take_dirty();
            if dirty.is_empty() {
                return;
            }
            let plan = plan(&self.fleet, &dirty, &self.policy, self.now);
            self.keep(&plan);
            for action in &plan.actions {
                self.carry_out(action);
            }
        }
        panic!("the fleet does not come to rest:\n{}", self.log.join("\n"));
    }

    /// Lets time pass, stopping wherever an alarm goes off.
    pub(crate) fn wait(&mut self, time: std::time::Duration) {
        let until = self.now + time;
        while let Some(at) = self.alarms.next()
            && at <= until
        {
            self.now = at;
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    /// Steps a worker as its agent would tell of it; returns what the machine said if it did not go on.
    pub(crate) fn step(&mut self, worker: &WorkerId, event: &WorkerEvent) -> Option<&'static str> {
        match self.fleet.step_worker(worker, event, self.now) {
            Some(Step::Next(_, effects)) => {
                self.effects(worker, &effects);
                None
            }
            Some(Step::Denied(reason) | Step::Ignored(reason)) => Some(reason),
            None => Some("there is no such worker"),
        }
    }

    /// Steps a fetch as its agent would tell of it.
    pub(crate) fn fetch(
        &mut self,
        host: &HostId,
        model: &ModelKey,
        event: &FetchEvent,
    ) -> Option<&'static str> {
        match self.fleet.step_fetch(host, model, event, self.now) {
            Some(Step::Next(..)) => None,
            Some(Step::Denied(reason) | Step::Ignored(reason)) => Some(reason),
            None => Some("there is no such model"),
        }
    }

    fn keep(&mut self, plan: &Plan) {
        plan.set_alarms(&mut self.alarms);
        self.reports.extend(plan.reports.clone());
    }

    fn carry_out(&mut self, action: &Action) {
        self.log.push(action.to_string());
        self.check_start(action);
        let number = self.workers_made + 1;
        let fresh = || format!("wk_{number}").parse().expect("the id is well formed");
        let applied = self.fleet.apply(action, fresh, self.now);
        if let (Action::StartWorker { .. }, Some(worker)) = (action, &applied.worker) {
            self.workers_made = number;
            self.born.insert(worker.clone(), self.now);
        }
        if let Action::ForgetEndpoint { endpoint } = action {
            self.reports.remove(endpoint);
        }
        if let Some(worker) = &applied.worker {
            self.effects(worker, &applied.effects);
        }
        self.answer(action);
    }

    /// The agent begins fetches at once, and gives them up at once.
    fn answer(&mut self, action: &Action) {
        match action {
            Action::PlaceModel { host, model, .. } | Action::RetryFetch { host, model } => {
                let state = self.fleet.model(host, model).map(|held| &held.state);
                if matches!(state, Some(FetchState::Wanted { .. })) {
                    self.fetch(host, model, &FetchEvent::Begun(Source::Hub));
                }
            }
            Action::DropModel { host, model } => {
                let Some(held) = self.fleet.model(host, model) else {
                    return;
                };
                assert_eq!(held.desire, Desire::None);
                if let FetchState::Fetching { present, .. } = held.state {
                    self.fetch(host, model, &FetchEvent::Lost(present));
                }
            }
            Action::StartWorker { .. }
            | Action::ModelsArrived { .. }
            | Action::ReleaseHold { .. }
            | Action::MoveHold { .. }
            | Action::StopWorker { .. }
            | Action::DrainWorker { .. }
            | Action::MarkUnhealthy { .. }
            | Action::MarkLost { .. }
            | Action::ForgetWorker { .. }
            | Action::ForgetEndpoint { .. } => {}
        }
    }

    /// A process that is asked to end does so at once, if its host can be asked.
    fn effects(&mut self, worker: &WorkerId, effects: &[WorkerEffect]) {
        for effect in effects {
            match effect {
                WorkerEffect::Interval(interval) => {
                    self.ledger.entry(worker.clone()).or_default().push(*interval);
                }
                WorkerEffect::EndProcess => {
                    let host = self.fleet.worker(worker).and_then(|facts| self.fleet.host(&facts.host));
                    if host.is_some_and(|host| host.link == Link::Connected) {
                        self.step(
                            worker,
                            &WorkerEvent::Exited { exit: Exit::Code { code: 0 }, last_lines: Vec::new() },
                        );
                    }
                }
                WorkerEffect::CrashCounted(fault) => self.count_crash(worker, Some(fault)),
                WorkerEffect::CrashesForgotten => self.count_crash(worker, None),
                WorkerEffect::Mark(..) | WorkerEffect::ReleasePolls | WorkerEffect::JobsLost(_) => {}
            }
        }
    }

    fn count_crash(&mut self, worker: &WorkerId, fault: Option<&types::Fault>) {
        let Some(endpoint) = self.fleet.worker(worker).map(|facts| facts.endpoint.clone()) else {
            return;
        };
        let earlier = self.fleet.endpoint(&endpoint).and_then(|facts| facts.crashes.as_ref());
        let crashes = fault.map(|fault| Crashes::after(earlier, fault.clone(), self.now));
        self.fleet.set_crashes(&endpoint, crashes);
    }

    /// Panics when a process would start without all its models.
    fn check_start(&self, action: &Action) {
        let (need, host) = match action {
            Action::StartWorker { endpoint, host, start: Start::AtOnce { .. }, .. } => {
                (self.fleet.endpoint(endpoint).map(|facts| facts.need.clone()), host)
            }
            Action::ReleaseHold { worker, host, .. } => {
                (self.fleet.worker(worker).map(|facts| facts.need.clone()), host)
            }
            Action::StartWorker { .. }
            | Action::PlaceModel { .. }
            | Action::RetryFetch { .. }
            | Action::DropModel { .. }
            | Action::ModelsArrived { .. }
            | Action::MoveHold { .. }
            | Action::StopWorker { .. }
            | Action::DrainWorker { .. }
            | Action::MarkUnhealthy { .. }
            | Action::MarkLost { .. }
            | Action::ForgetWorker { .. }
            | Action::ForgetEndpoint { .. } => return,
        };
        for model in &need.expect("a start of something known").models {
            let held = self.fleet.model(host, &model.key);
            assert!(
                held.is_some_and(|held| held.state.is_ready()),
                "{action}, and {} is not there",
                model.key
            );
        }
    }

    /// Panics when a fact of the fleet can't be.
    pub(crate) fn check_facts(&self) {
        for (host, facts) in self.fleet.hosts() {
            let present = self.fleet.workers_on(host).filter(|(_, worker)| !worker.worker.phase().is_over());
            let tenants: BTreeSet<_> = present.map(|(_, worker)| &worker.tenant).collect();
            assert!(
                facts.capacity.isolation != Isolation::None || tenants.len() <= 1,
                "{host} mixes tenants"
            );
            let holding = || self.fleet.workers_on(host).filter(|(_, worker)| worker.worker.holds_room());
            let mut uuids = BTreeSet::new();
            for (worker, facts) in holding() {
                assert_eq!(facts.gpus.len(), facts.need.gpu.count as usize, "GPUs of {worker}");
                for uuid in &facts.gpus {
                    assert!(uuids.insert(uuid.clone()), "{uuid} is given twice");
                }
            }
            assert!(holding().count() <= facts.capacity.workers_max as usize, "{host} has too many workers");
            let memory: ByteSize = holding().map(|(_, facts)| facts.need.memory).sum();
            assert!(memory <= facts.capacity.memory, "{host} has too little memory");
        }
    }
}
