//! Moving jobs and workers: the machines decide, this carries out.

use std::time::Duration;

use api::{JobStop, ServerMessage};
use base::Timestamp;
use scheduler::{Crashes, JobEffect, JobEvent, Step, WorkerEffect, WorkerEvent};
use state::{IntervalRow, Mutation};
use types::{JobId, JobRoute, JobStatus, LedgerPhase, WorkerId};

use super::{Owner, Timer, workers::SHOWN_AFTER_END};
use crate::link::Outgoing;

/// How long results are kept after the job ended: Runpod's documented times.
const RETENTION_SYNC: Duration = Duration::from_secs(60);
const RETENTION_ASYNC: Duration = Duration::from_secs(30 * 60);

/// Whether an event changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It did.
    Yes,
    /// It did not, for this reason.
    No(&'static str),
}

impl Owner {
    /// Steps a job and carries out what follows.
    pub(super) fn step_job(&mut self, job: &JobId, event: &JobEvent, now: Timestamp) -> Moved {
        let Some(entry) = self.jobs.get_mut(job) else { return Moved::No("the job is forgotten") };
        let before = entry.machine.status();
        let effects = match entry.machine.step(event, now) {
            Step::Next(next, effects) => {
                entry.machine = next;
                effects
            }
            Step::Denied(reason) | Step::Ignored(reason) => return Moved::No(reason),
        };
        let (after, endpoint) = (entry.machine.status(), entry.endpoint.clone());
        let deadline = entry.machine.deadline().map(|(at, _)| at);
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            let counts = |status| u32::from(status == JobStatus::InProgress);
            endpoint.in_progress = (endpoint.in_progress + counts(after)).saturating_sub(counts(before));
        }
        self.timers.set(&Timer::Job(job.clone()), deadline);
        self.demand_changed.insert(endpoint);
        self.written_jobs.insert(job.clone());
        self.wake_job(job);
        for effect in effects {
            self.carry_out_for_job(job, effect, now);
        }
        Moved::Yes
    }

    fn carry_out_for_job(&mut self, job: &JobId, effect: JobEffect, now: Timestamp) {
        match effect {
            JobEffect::Enqueue => {
                // What an earlier attempt sent is not part of the next one's result.
                self.clear_output(job);
                if let Some(entry) = self.jobs.get(job) {
                    self.ready.enqueue(&entry.endpoint, job, entry.priority, entry.place);
                    self.ready.bar(job, entry.machine.barred_from().cloned());
                }
            }
            JobEffect::Dequeue => {
                self.ready.dequeue(job);
            }
            JobEffect::StopSignal(worker) => {
                if let Some(host) = self.workers.get(&worker).map(|entry| entry.host.clone()) {
                    let stop = JobStop { worker: worker.clone(), jobs: vec![job.clone()] };
                    self.send(&host, Outgoing::Message(ServerMessage::Stop(stop)));
                }
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.stopping.insert(job.clone(), now);
                }
            }
            JobEffect::WorkerDone(worker) => self.take_from_worker(job, &worker, &WorkerEvent::JobEnded, now),
            JobEffect::WorkerDropped(worker) => {
                self.take_from_worker(job, &worker, &WorkerEvent::JobDropped, now);
            }
            JobEffect::Ended(status) => self.job_ended(job, status, now),
            JobEffect::AttemptLost(fault) => {
                tracing::info!(%job, code = %fault.code, reason = %fault, "an attempt came to nothing");
            }
        }
    }

    /// Notes that a worker no longer has a job.
    pub(super) fn take_from_worker(
        &mut self,
        job: &JobId,
        worker: &WorkerId,
        event: &WorkerEvent,
        now: Timestamp,
    ) {
        let had = self.workers.get_mut(worker).is_some_and(|entry| {
            entry.stopping.remove(job);
            entry.jobs.remove(job)
        });
        if had {
            self.step_worker(worker, event, now);
        }
    }

    fn job_ended(&mut self, job: &JobId, status: JobStatus, now: Timestamp) {
        self.drop_payload(job);
        let retention = match job.route() {
            JobRoute::Sync => RETENTION_SYNC,
            JobRoute::Async => RETENTION_ASYNC,
        };
        let Some(entry) = self.jobs.get_mut(job) else { return };
        entry.progress = None;
        entry.forget_at = Some(now + retention);
        self.timers.set(&Timer::ForgetJob(job.clone()), entry.forget_at);
        let endpoint = entry.endpoint.clone();
        if let Some(entry) = self.endpoints.get_mut(&endpoint) {
            match status {
                JobStatus::Completed => entry.row.tally.completed += 1,
                JobStatus::Failed | JobStatus::TimedOut => entry.row.tally.failed += 1,
                JobStatus::Cancelled | JobStatus::InQueue | JobStatus::InProgress => {}
            }
            self.write_endpoint(&endpoint);
        }
    }

    /// Steps a worker and carries out what follows.
    pub(super) fn step_worker(&mut self, worker: &WorkerId, event: &WorkerEvent, now: Timestamp) -> Moved {
        match self.fleet.step_worker(worker, event, now) {
            None => Moved::No("the worker is forgotten"),
            Some(Step::Denied(reason) | Step::Ignored(reason)) => Moved::No(reason),
            Some(Step::Next(_, effects)) => {
                self.worker_stepped(worker, effects, now);
                Moved::Yes
            }
        }
    }

    /// Lets a worker's entry follow the fleet, and carries out what follows from its step.
    pub(super) fn worker_stepped(&mut self, worker: &WorkerId, effects: Vec<WorkerEffect>, now: Timestamp) {
        let (Some(facts), Some(entry)) = (self.fleet.worker(worker), self.workers.get_mut(worker)) else {
            return;
        };
        entry.machine = facts.worker.clone();
        entry.host.clone_from(&facts.host);
        entry.gpus.clone_from(&facts.gpus);
        self.desired_changed.insert(entry.host.clone());
        if entry.machine.phase().is_over() && entry.ended_at.is_none() {
            entry.ended_at = Some(entry.machine.interval_from());
            self.timers.set(&Timer::ForgetWorker(worker.clone()), Some(now + SHOWN_AFTER_END));
            self.ready.withdraw(worker);
        }
        self.written_workers.insert(worker.clone());
        for effect in effects {
            self.carry_out_for_worker(worker, effect, now);
        }
    }

    fn carry_out_for_worker(&mut self, worker: &WorkerId, effect: WorkerEffect, now: Timestamp) {
        let Some(entry) = self.workers.get_mut(worker) else { return };
        match effect {
            WorkerEffect::Interval(interval) => {
                let fetched_bytes = match interval.phase {
                    LedgerPhase::Initializing => std::mem::take(&mut entry.fetched_bytes),
                    LedgerPhase::Throttled
                    | LedgerPhase::Starting
                    | LedgerPhase::Executing
                    | LedgerPhase::Idle
                    | LedgerPhase::Draining
                    | LedgerPhase::Unhealthy => 0,
                };
                let millis = u64::try_from(interval.to.since(interval.from).as_millis()).unwrap_or(u64::MAX);
                *entry.phases.entry(interval.phase).or_default() += millis;
                let row = IntervalRow {
                    tenant: entry.tenant.clone(),
                    endpoint: entry.endpoint.clone(),
                    worker: worker.clone(),
                    phase: interval.phase,
                    from: interval.from,
                    to: interval.to,
                    fetched_bytes,
                };
                self.write(Mutation::AddInterval(row));
            }
            WorkerEffect::Mark(mark, at) => {
                entry.marks.entry(mark).or_insert(at);
            }
            WorkerEffect::ReleasePolls => self.ready.withdraw(worker),
            // The host's desired state says so, and was noted as changed.
            WorkerEffect::EndProcess => {}
            WorkerEffect::JobsLost(fault) => {
                entry.stopping.clear();
                for job in std::mem::take(&mut entry.jobs) {
                    self.step_job(&job, &JobEvent::WorkerGone(worker.clone(), fault.clone()), now);
                }
            }
            WorkerEffect::CrashCounted(fault) => {
                let endpoint = entry.endpoint.clone();
                tracing::info!(%worker, %endpoint, code = %fault.code, reason = %fault, "a worker crashed");
                if let Some(entry) = self.endpoints.get_mut(&endpoint) {
                    entry.crashes = Some(Crashes::after(entry.crashes.as_ref(), fault, now));
                    self.fleet.set_crashes(&endpoint, entry.crashes.clone());
                    self.write_endpoint(&endpoint);
                }
            }
            WorkerEffect::CrashesForgotten => {
                let endpoint = entry.endpoint.clone();
                if let Some(entry) = self.endpoints.get_mut(&endpoint) {
                    entry.crashes = None;
                    self.fleet.set_crashes(&endpoint, None);
                    self.write_endpoint(&endpoint);
                }
            }
        }
    }
}
