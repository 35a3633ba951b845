//! What a host says is on it, turned into events of the machines.
//!
//! A report is whole, so what it does not list is not there; but only a report of a desired state that asked for
//! something can say that it is missing.

use std::time::Duration;

use api::{EndReason, ModelReport, ModelState, Observed, WorkerReport, WorkerState as Reported};
use base::{ByteSize, Timestamp};
use scheduler::{
    CacheRoom, Desire, Exit, FetchEffect, FetchEvent, FetchState, HostModel, JobEvent, Link, Listing, Source,
    Step, WorkerEvent, WorkerState,
};
use types::{HostId, Manifest, ModelKey, Stamp, StartMark, WorkerId};

use super::Owner;

impl Owner {
    /// Takes up a host's whole report.
    pub(super) fn observe(&mut self, host: &HostId, observed: Observed, now: Timestamp) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let Some(link) = entry.link.as_mut() else { return };
        let first = !link.synced;
        link.synced = true;
        if first {
            self.desired_changed.insert(host.clone());
            self.fleet.set_link(host, Link::Connected);
        }
        for report in &observed.models {
            self.model_reported(host, report, now);
        }
        for report in &observed.workers {
            self.worker_reported(host, report, now);
        }
        if first {
            self.await_acceptance_anew(host, now);
        }
        self.note_missing_models(host, &observed, now);
        self.note_missing_workers(host, &observed, first, now);
        let room = self.room_of(host, &observed);
        self.fleet.set_cache(host, room);
        if let Some(entry) = self.hosts.get_mut(host) {
            let news = entry.observed.models != observed.models;
            entry.observed = observed;
            if news {
                self.models_changed();
            }
        }
    }

    fn room_of(&self, host: &HostId, observed: &Observed) -> CacheRoom {
        let store = &observed.host.store;
        if store.limit > 0 {
            return CacheRoom { free: ByteSize(store.free), evictable: ByteSize(store.evictable) };
        }
        // An agent that has not looked at its disk yet.
        let allowed = self.hosts.get(host).map_or(0, |entry| entry.capacity.cache_bytes_max.bytes());
        let by_limit = allowed.saturating_sub(observed.host.cache_bytes);
        let evictable = self.fleet.models_on(host).filter(|(_, held)| held.desire == Desire::None);
        let evictable =
            evictable.map(|(_, held)| held.total.bytes() - held.state.missing(held.total).bytes()).sum();
        CacheRoom {
            free: ByteSize(observed.host.disk.available.min(by_limit)),
            evictable: ByteSize(evictable),
        }
    }

    /// Takes up that a model was found whole on a host, ahead of the host's next report.
    pub(super) fn found_whole(&mut self, host: &HostId, manifest: &Manifest, now: Timestamp) {
        let state =
            ModelState::Ready { since: now, fetch_started_at: None, bytes_fetched: 0, fetch_millis: 0 };
        let bytes_here = manifest.bytes().bytes();
        self.model_reported(host, &ModelReport { key: manifest.key().clone(), state, bytes_here }, now);
    }

    fn model_reported(&mut self, host: &HostId, report: &ModelReport, now: Timestamp) {
        if self.fleet.model(host, &report.key).is_none() {
            let Some(total) = self.manifests.get(&report.key).map(|manifest| manifest.bytes()) else {
                return;
            };
            let state = FetchState::Wanted { present: ByteSize(report.bytes_here), failures: 0 };
            self.fleet.put_model(host, &report.key, HostModel { total, desire: Desire::None, state });
        }
        let here = ByteSize(report.bytes_here);
        match &report.state {
            ModelState::Pending(_) => self.step_fetch(host, &report.key, &FetchEvent::Lost(here), now),
            ModelState::Fetching(progress) => {
                self.fetch_began(host, &report.key, progress.started_at.min(now));
                self.step_fetch(host, &report.key, &FetchEvent::Begun(Source::Hub), now);
                self.step_fetch(host, &report.key, &FetchEvent::Progress(ByteSize(progress.bytes_done)), now);
                if progress.bytes_per_second > 0 {
                    self.fleet.set_rate(host, Some(progress.bytes_per_second));
                }
                // A fetch that has just begun again has not got over its last failure.
                if progress.bytes_per_second > 0 || progress.bytes_done >= progress.bytes_total {
                    self.tell_held(host, &report.key, &WorkerEvent::FetchProgress, now);
                }
            }
            ModelState::Ready { fetch_started_at, bytes_fetched, .. } => {
                let news = self.fleet.model(host, &report.key).is_some_and(|held| !held.state.is_ready());
                if news {
                    // To others who hold it, it is worth less from now on.
                    let others: Vec<HostId> = self.fleet.holders_of(&report.key).cloned().collect();
                    self.desired_changed.extend(others);
                }
                if news && let Some(began_at) = fetch_started_at {
                    self.fetch_began(host, &report.key, (*began_at).min(now));
                    self.note_fetched(host, &report.key, *bytes_fetched);
                }
                self.step_fetch(host, &report.key, &FetchEvent::Done, now);
                self.note_arrival(host, &report.key, now);
            }
            ModelState::Failed { fault, retry_at, .. } => {
                let retry_after: Duration = retry_at.since(now);
                let failed = FetchEvent::Failed { fault: fault.clone(), retry_after: Some(retry_after) };
                self.step_fetch(host, &report.key, &failed, now);
            }
        }
    }

    fn step_fetch(&mut self, host: &HostId, model: &ModelKey, event: &FetchEvent, now: Timestamp) {
        let Some(Step::Next(_, effects)) = self.fleet.step_fetch(host, model, event, now) else { return };
        for effect in effects {
            match effect {
                // The agent fetches what is desired, and the planner sees by itself that a model is ready.
                FetchEffect::Fetch | FetchEffect::ModelReady => {}
                FetchEffect::StartsFailing(fault) => {
                    tracing::warn!(%host, %model, code = %fault.code, reason = %fault, "a fetch failed");
                    self.tell_held(host, model, &WorkerEvent::FetchFailed(fault), now);
                }
            }
        }
    }

    fn waiting_for(&self, host: &HostId, model: &ModelKey) -> Vec<WorkerId> {
        self.fleet.starts_waiting_for(host, model).cloned().collect()
    }

    fn tell_held(&mut self, host: &HostId, model: &ModelKey, event: &WorkerEvent, now: Timestamp) {
        for worker in self.waiting_for(host, model) {
            self.step_worker(&worker, event, now);
        }
    }

    /// Marks the start of a fetch in the timelines of the starts that wait for it, once each.
    fn fetch_began(&mut self, host: &HostId, model: &ModelKey, at: Timestamp) {
        for worker in self.waiting_for(host, model) {
            let marked = self
                .workers
                .get(&worker)
                .is_none_or(|entry| entry.marks.contains_key(&StartMark::FetchStarted));
            if !marked {
                self.step_worker(&worker, &WorkerEvent::FetchStarted, at);
            }
        }
    }

    /// Counts fetched bytes for the start that they were fetched for: the oldest that waited.
    fn note_fetched(&mut self, host: &HostId, model: &ModelKey, bytes: u64) {
        let held = self.waiting_for(host, model);
        let oldest =
            held.into_iter().min_by_key(|worker| self.workers.get(worker).map(|entry| entry.created_at));
        if let Some(entry) = oldest.and_then(|worker| self.workers.get_mut(&worker)) {
            entry.fetched_bytes += bytes;
        }
    }

    fn worker_reported(&mut self, host: &HostId, report: &WorkerReport, now: Timestamp) {
        let worker = &report.worker;
        let known =
            self.workers.get(worker).is_some_and(|entry| entry.host == *host && entry.ended_at.is_none());
        if !known {
            return;
        }
        let mark = |mark| report.marks.get(&mark).map(|at: &Timestamp| (*at).min(now));
        if let Some(at) = mark(StartMark::ViewMounted)
            && self
                .workers
                .get(worker)
                .is_some_and(|entry| !entry.marks.contains_key(&StartMark::ViewMounted))
        {
            self.step_worker(worker, &WorkerEvent::ViewMounted, at);
        }
        let alive = matches!(report.state, Reported::Alive);
        if let Some(at) = mark(StartMark::ProcessStarted).or(alive.then_some(now)) {
            self.step_worker(worker, &WorkerEvent::ProcessStarted, at);
        }
        if let Some(at) = mark(StartMark::FirstPing).or(report.last_ping_at.map(|at| at.min(now))) {
            self.step_worker(worker, &WorkerEvent::Ping, at);
        }
        if let Some(at) = mark(StartMark::FirstTake) {
            self.step_worker(worker, &WorkerEvent::Take, at);
        }
        for job in &report.pinged_jobs {
            self.step_job(job, &JobEvent::Pinged(worker.clone(), Listing::Listed), now);
        }
        self.drop_stopped_jobs(report, now);
        match &report.state {
            Reported::Pending(_) | Reported::Alive => {}
            Reported::Failed(fault) => {
                self.step_worker(worker, &WorkerEvent::StartFailed(fault.clone()), now);
                // A process that could not be kept counts as one that ended.
                let exited = WorkerEvent::Exited { exit: Exit::Unknown, last_lines: Vec::new() };
                self.step_worker(worker, &exited, now);
            }
            Reported::Ended { reason, at, last_lines } => {
                let exited = WorkerEvent::Exited { exit: exit_of(*reason), last_lines: last_lines.clone() };
                self.step_worker(worker, &exited, (*at).min(now));
            }
        }
    }

    /// A ping without a job that the worker was told to stop says that it has stopped it.
    fn drop_stopped_jobs(&mut self, report: &WorkerReport, now: Timestamp) {
        let (Some(entry), Some(pinged_at)) = (self.workers.get(&report.worker), report.last_ping_at) else {
            return;
        };
        let stopped = entry
            .stopping
            .iter()
            .filter(|(job, told_at)| pinged_at > **told_at && !report.pinged_jobs.contains(job));
        for job in stopped.map(|(job, _)| job.clone()).collect::<Vec<_>>() {
            self.take_from_worker(&job, &report.worker, &WorkerEvent::JobDropped, now);
        }
    }

    /// Models that the host was asked for, or said to have, and no longer lists.
    fn note_missing_models(&mut self, host: &HostId, observed: &Observed, now: Timestamp) {
        let current = self.stamp_of(host).is_some_and(|stamp| observed.stamp >= stamp);
        if !current {
            return;
        }
        let listed: std::collections::BTreeSet<_> =
            observed.models.iter().map(|report| &report.key).collect();
        let missing: Vec<_> = self
            .fleet
            .models_on(host)
            .filter(|(key, _)| !listed.contains(key))
            .map(|(key, held)| (key.clone(), held.desire))
            .collect();
        for (key, desire) in missing {
            match desire {
                Desire::None => self.fleet.remove_model(host, &key),
                Desire::ForWorkers | Desire::ByOperator => {
                    self.step_fetch(host, &key, &FetchEvent::Lost(ByteSize(0)), now);
                }
            }
        }
    }

    /// Workers that should run, or have run, and that the host does not list.
    ///
    /// With the first report of a link the host has been told nothing yet: what it does not list then has ended while
    /// nobody watched, except for one that may not have begun.
    fn note_missing_workers(&mut self, host: &HostId, observed: &Observed, first: bool, now: Timestamp) {
        let listed: std::collections::BTreeSet<_> =
            observed.workers.iter().map(|report| &report.worker).collect();
        let on_host = self.fleet.workers_on(host).filter(|(worker, facts)| {
            let told: Option<Stamp> = self.workers.get(*worker).and_then(|entry| entry.run_since);
            let began = !matches!(facts.worker.state(), WorkerState::Launching { .. });
            let expected = if first { began } else { told.is_some_and(|stamp| observed.stamp >= stamp) };
            facts.worker.holds_room() && expected && !listed.contains(worker)
        });
        for worker in on_host.map(|(worker, _)| worker.clone()).collect::<Vec<_>>() {
            let exited = WorkerEvent::Exited { exit: Exit::Unknown, last_lines: Vec::new() };
            self.step_worker(&worker, &exited, now);
        }
    }

    fn stamp_of(&self, host: &HostId) -> Option<Stamp> {
        let link = self.hosts.get(host)?.link.as_ref()?;
        link.sent.is_some().then_some(link.stamp)
    }
}

fn exit_of(reason: EndReason) -> Exit {
    match reason {
        EndReason::Stopped => Exit::Code { code: 0 },
        EndReason::Exited(code) => Exit::Code { code },
        EndReason::Signalled(signal) => Exit::Signal { signal },
        EndReason::OutOfMemory => Exit::OutOfMemory,
        EndReason::Vanished => Exit::Unknown,
    }
}
