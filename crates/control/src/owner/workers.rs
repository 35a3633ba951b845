//! Workers as their hosts see them: offers, jobs' events, hand-overs.

use std::time::Duration;

use api::{JobEventKind, TakeOffer};
use base::Timestamp;
use scheduler::{
    HandOver, JobEvent, JobState, Listing, Occupation, Offer, PINGS_MISSED_MAX, ResultKind, StopReason,
    WorkerEvent, WorkerState,
};
use state::{ChunkRow, Mutation, OutputRow};
use types::{Attempt, HostId, JobId, Outcome, WorkerId};

use super::{Owner, stepping::Moved};
use crate::link::{Handover, Outgoing};

/// How long an ended worker is shown: long enough to ask why, the ledger keeps its time for good.
pub(super) const SHOWN_AFTER_END: Duration = Duration::from_secs(3600);

impl Owner {
    /// Returns whether a worker is on this host, as far as is decided.
    fn is_on(&self, worker: &WorkerId, host: &HostId) -> bool {
        self.workers.get(worker).is_some_and(|entry| entry.host == *host)
    }

    /// A worker asks for jobs.
    pub(super) fn offered(&mut self, host: &HostId, offer: &TakeOffer, now: Timestamp) {
        if !self.is_on(&offer.worker, host) {
            return;
        }
        self.step_worker(&offer.worker, &WorkerEvent::ProcessStarted, now);
        self.step_worker(&offer.worker, &WorkerEvent::Take, now);
        let Some(entry) = self.workers.get(&offer.worker) else { return };
        let occupation = match entry.machine.state() {
            WorkerState::Idle { since } => Occupation::Idle { since: *since },
            WorkerState::Running { .. } => Occupation::Busy,
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Stopped { .. }
            | WorkerState::Unhealthy { .. } => return,
        };
        let offer_made = Offer {
            endpoint: entry.endpoint.clone(),
            release_version: entry.release.row.version,
            occupation,
            slots: offer.slots,
        };
        self.ready.offer(&offer.worker, offer_made);
    }

    /// A worker no longer asks.
    pub(super) fn offer_ended(&mut self, host: &HostId, worker: &WorkerId) {
        if self.is_on(worker, host) {
            self.ready.withdraw(worker);
        }
    }

    /// Gives every waiting job for which there is a worker to that worker.
    pub(super) fn hand_over(&mut self, now: Timestamp) {
        while let Some(HandOver { job, worker, endpoint }) = self.ready.hand_over() {
            match self.step_job(&job, &JobEvent::Assigned(worker.clone()), now) {
                Moved::Yes => {}
                Moved::No(reason) => {
                    tracing::warn!(%job, reason, "a waiting job can't be handed over");
                    continue;
                }
            }
            self.step_worker(&worker, &WorkerEvent::JobGiven, now);
            let Some(entry) = self.jobs.get_mut(&job) else { continue };
            entry.epoch = self.epoch;
            let attempt = entry.machine.attempt().unwrap_or(Attempt::FIRST);
            let handover = Handover {
                tenant: entry.tenant.clone(),
                worker: worker.clone(),
                job: job.clone(),
                attempt,
                epoch: self.epoch,
                payload: entry.payload.clone(),
            };
            if attempt == Attempt::FIRST.next()
                && let Some(endpoint_entry) = self.endpoints.get_mut(&endpoint)
            {
                endpoint_entry.row.tally.retried += 1;
                self.write_endpoint(&endpoint);
            }
            let Some(worker) = self.workers.get_mut(&worker) else { continue };
            worker.jobs.insert(job);
            let host = worker.host.clone();
            self.send(&host, Outgoing::Assign(handover));
        }
        // A worker that asks for nothing but what it lost would hold its place for ever: another may do better.
        while let Some(worker) = self.ready.barred_worker().cloned() {
            tracing::info!(%worker, "a worker is replaced: only jobs that it has lost wait for it");
            self.ready.withdraw(&worker);
            self.step_worker(&worker, &WorkerEvent::StopRequested(StopReason::JobLost), now);
        }
    }

    /// Something happened to a job. Numbered events are taken once, and acknowledged when what they tell is durable.
    pub(super) fn job_happened(&mut self, host: &HostId, event: api::JobEvent, now: Timestamp) {
        if event.number > 0 {
            let Some(entry) = self.hosts.get_mut(host) else { return };
            self.acknowledging.insert(host.clone());
            if event.number <= entry.acknowledged {
                self.late_results += 1;
                return;
            }
            entry.acknowledged = event.number;
            self.written_hosts.insert(host.clone());
        }
        if !self.is_on(&event.worker, host) {
            self.late_results += 1;
            tracing::debug!(job = %event.job, worker = %event.worker, late = self.late_results, "an event of a worker that is not known");
            return;
        }
        let at = event.at.min(now);
        let (worker, job) = (event.worker, event.job);
        match event.kind {
            JobEventKind::Accepted => {
                self.step_job(&job, &JobEvent::Pinged(worker, Listing::Listed), at);
            }
            JobEventKind::Returned => {
                self.step_job(&job, &JobEvent::Returned(worker), now);
            }
            JobEventKind::NotAccepted => {
                self.step_job(&job, &JobEvent::NotAccepted, now);
            }
            JobEventKind::Vanished => self.job_vanished(&job, &worker, now),
            JobEventKind::Progress(output) => {
                self.step_job(&job, &JobEvent::Progress(worker.clone()), at);
                if self.has_now(&job, &worker)
                    && let Some(entry) = self.jobs.get_mut(&job)
                {
                    entry.progress = Some(output);
                    self.wake_job(&job);
                }
            }
            JobEventKind::Chunk { index, output } => {
                self.step_job(&job, &JobEvent::Chunk(worker.clone()), at);
                if self.has_now(&job, &worker) {
                    self.add_chunk(&job, index, output);
                }
            }
            JobEventKind::Done { outcome, stop_worker, streamed: _ } => {
                self.job_done(&job, &worker, outcome, now);
                // Also a job that was over already, which the worker had been told to stop.
                self.take_from_worker(&job, &worker, &WorkerEvent::JobEnded, now);
                if stop_worker {
                    self.step_worker(&worker, &WorkerEvent::StopRequested(StopReason::RefreshAsked), now);
                }
            }
        }
    }

    /// Returns whether a job is with this worker now.
    fn has_now(&self, job: &JobId, with: &WorkerId) -> bool {
        self.jobs.get(job).is_some_and(|entry| match entry.machine.state() {
            JobState::InProgress { worker, .. } => worker == with,
            JobState::InQueue { .. } | JobState::Ended { .. } => false,
        })
    }

    fn add_chunk(&mut self, job: &JobId, index: u32, output: Box<serde_json::value::RawValue>) {
        let Some(entry) = self.jobs.get_mut(job) else { return };
        entry.chunks = entry.chunks.max(index.saturating_add(1));
        let row = ChunkRow { tenant: entry.tenant.clone(), job: job.clone(), index, output };
        self.write(Mutation::PutChunk(row));
        self.wake_job(job);
    }

    /// The first final result is recorded; a later one is counted.
    fn job_done(&mut self, job: &JobId, worker: &WorkerId, outcome: Outcome, now: Timestamp) {
        let kind = if outcome.error.is_some() { ResultKind::Error } else { ResultKind::Output };
        match self.step_job(job, &JobEvent::Done(worker.clone(), kind), now) {
            Moved::Yes => {
                let Some(entry) = self.jobs.get(job) else { return };
                let (tenant, job) = (entry.tenant.clone(), job.clone());
                let Outcome { output, error } = outcome;
                self.write(Mutation::PutOutput(OutputRow { tenant, job, output, error }));
            }
            Moved::No(reason) => {
                self.late_results += 1;
                tracing::debug!(%job, %worker, reason, late = self.late_results, "a result is not taken");
            }
        }
    }

    /// The agent watches the pings and says so once; the machine counts them.
    fn job_vanished(&mut self, job: &JobId, worker: &WorkerId, now: Timestamp) {
        for _ in 0..PINGS_MISSED_MAX {
            if self.has_now(job, worker) {
                self.step_job(job, &JobEvent::Pinged(worker.clone(), Listing::Missing), now);
            }
        }
        self.take_from_worker(job, worker, &WorkerEvent::JobDropped, now);
    }
}
