//! Settling: timers that are due, hand-overs, plans and their actions, until nothing changes any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::Timestamp;
use scheduler::{Action, JobEvent, JobState, PING_INTERVAL, plan};
use state::Mutation;
use types::{EndpointId, HostId, JobId, StartMark, WorkerId};

use super::{Owner, Timer};
use crate::picture::WorkerEntry;

/// Plans in one settling. A plan follows from what the one before it did; three or four settle a whole cold start.
const PASSES_MAX: usize = 64;

impl Owner {
    /// Brings the picture to rest at this moment.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.run_timers(now);
        for subject in self.alarms.take_due(now) {
            self.fleet.wake(&subject);
        }
        for pass in 0.. {
            self.hand_over(now);
            self.refresh_demand();
            let dirty = self.fleet.take_dirty();
            if dirty.is_empty() {
                break;
            }
            let plan = plan(&self.fleet, &dirty, &self.policy, now);
            plan.set_alarms(&mut self.alarms);
            self.reports.extend(plan.reports);
            for action in plan.actions {
                tracing::debug!(%action, "planned");
                self.act(action, now);
            }
            if pass == PASSES_MAX {
                tracing::error!("planning does not come to rest; it goes on with the next event");
                break;
            }
        }
        self.push_desired();
    }

    fn run_timers(&mut self, now: Timestamp) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Job(job) => self.job_due(&job, now),
                Timer::ForgetJob(job) => self.forget_job(&job),
                Timer::ForgetWorker(worker) => self.forget_worker(&worker),
            }
        }
    }

    /// A job's limit of time is reached. While its host is away nobody can say that a worker took it on, and after a
    /// restart its result may be on its way.
    fn job_due(&mut self, job: &JobId, now: Timestamp) {
        let Some(entry) = self.jobs.get(job) else { return };
        let Some(event) = entry.machine.due(now) else {
            let deadline = entry.machine.deadline().map(|(at, _)| at);
            self.timers.set(&Timer::Job(job.clone()), deadline);
            return;
        };
        if let JobState::InProgress { worker, .. } = entry.machine.state()
            && let Some(host) = self.workers.get(worker).map(|entry| entry.host.clone())
            && !self.is_synced(&host)
        {
            if matches!(event, JobEvent::NotAccepted) {
                // Its host's return, or its loss, decides.
                return;
            }
            if let Some(until) = self.return_awaited_until(now) {
                self.timers.set(&Timer::Job(job.clone()), Some(until));
                return;
            }
        }
        self.step_job(job, &event, now);
    }

    /// Gives the jobs of a host that is back the time to show themselves.
    pub(super) fn await_acceptance_anew(&mut self, host: &HostId, now: Timestamp) {
        let on_host = self.workers.values().filter(|entry| entry.host == *host && entry.ended_at.is_none());
        let jobs: Vec<JobId> = on_host.flat_map(|entry| entry.jobs.iter().cloned()).collect();
        for job in jobs {
            let deadline = self.jobs.get(&job).and_then(|entry| entry.machine.deadline()).map(|(at, _)| at);
            self.timers.set(&Timer::Job(job), deadline.map(|at| at.max(now + 2 * PING_INTERVAL)));
        }
    }

    /// Stops showing an ended worker.
    fn forget_worker(&mut self, worker: &WorkerId) {
        if let Some(entry) = self.workers.remove(worker) {
            self.written_workers.remove(worker);
            self.write(Mutation::RemoveWorker(entry.tenant, worker.clone()));
            self.prune_releases(&entry.endpoint);
        }
    }

    /// Carries out one action: the fleet changes as it would in a simulation; entries and rows follow.
    fn act(&mut self, mut action: Action, now: Timestamp) {
        match &mut action {
            Action::MarkLost { host, last_seen, .. } => {
                // After a restart the host was heard last before it, however long the server was away.
                *last_seen = self.hosts.get(host).map_or(*last_seen, |entry| entry.seen_at.min(*last_seen));
            }
            Action::PlaceModel { host, .. }
            | Action::RetryFetch { host, .. }
            | Action::DropModel { host, .. }
            | Action::MoveHold { from: host, .. } => {
                self.desired_changed.insert(host.clone());
            }
            Action::StartWorker { .. }
            | Action::ModelsArrived { .. }
            | Action::ReleaseHold { .. }
            | Action::StopWorker { .. }
            | Action::DrainWorker { .. }
            | Action::MarkUnhealthy { .. }
            | Action::ForgetWorker { .. }
            | Action::ForgetEndpoint { .. } => {}
        }
        let entropy = self.entropy.clone();
        let applied = self.fleet.apply(&action, || WorkerId::generate(&entropy), now);
        if let Action::ForgetEndpoint { endpoint } = &action {
            self.forget_endpoint(endpoint);
        }
        if let Some(worker) = applied.worker {
            if !self.workers.contains_key(&worker) {
                self.add_worker(&worker, now);
            }
            self.worker_stepped(&worker, applied.effects, now);
        }
    }

    /// Makes the entry of a worker that the fleet has.
    fn add_worker(&mut self, worker: &WorkerId, now: Timestamp) {
        let Some(facts) = self.fleet.worker(worker) else { return };
        let Some(endpoint) = self.endpoints.get(&facts.endpoint) else { return };
        let Some(release) = endpoint.releases.get(&facts.release) else { return };
        let mut marks = BTreeMap::from([(StartMark::Placed, now)]);
        if let Some(at) = self.fleet.endpoint(&facts.endpoint).and_then(|facts| facts.demand.oldest_since) {
            marks.insert(StartMark::Queued, at);
        }
        let entry = WorkerEntry {
            tenant: facts.tenant.clone(),
            endpoint: facts.endpoint.clone(),
            endpoint_name: endpoint.row.name.clone(),
            release: Arc::clone(release),
            host: facts.host.clone(),
            gpus: facts.gpus.clone(),
            machine: facts.worker.clone(),
            marks,
            phases: BTreeMap::new(),
            fetched_bytes: 0,
            created_at: facts.created_at,
            ended_at: None,
            jobs: BTreeSet::new(),
            stopping: BTreeMap::new(),
            run_since: None,
        };
        self.workers.insert(worker.clone(), entry);
    }

    /// Removes an endpoint that was deleted and whose last worker has ended.
    fn forget_endpoint(&mut self, endpoint: &EndpointId) {
        self.reports.remove(endpoint);
        self.demand_changed.remove(endpoint);
        self.written_endpoints.remove(endpoint);
        let Some(entry) = self.endpoints.remove(endpoint) else { return };
        for release in entry.releases.values() {
            self.remove_secrets_of(&release.row);
        }
        self.write(Mutation::RemoveEndpoint(entry.row.tenant, endpoint.clone()));
    }
}
