//! Jobs: taking them, what callers do with them, and how they look.

use api::{Acknowledged, AttemptView, HealthView, JobCounters, JobView, Problem, PurgeView, WorkerCounters};
use base::Timestamp;
use scheduler::{AttemptEnd, JobEvent, JobState, Priority};
use state::Mutation;
use tokio::sync::watch;
use types::{EndpointId, ErrorCode, JobId, JobStatus, TenantId};

use super::{Owner, Timer, problem, stepping::Moved};
use crate::{
    handle::{job_not_found, parse_job},
    picture::JobEntry,
};

/// What a reader of a stream needs to know.
pub(crate) struct StreamLook {
    pub(crate) job: JobId,
    pub(crate) status: JobStatus,
    /// Whether there are chunks from `from` on.
    pub(crate) unread: bool,
    pub(crate) from: u32,
    pub(crate) changed: watch::Receiver<u64>,
}

impl Owner {
    /// Returns the id and entry of a job that this tenant may see at this endpoint.
    fn job_of(&self, tenant: &TenantId, endpoint: &str, job: &str) -> Result<(JobId, &JobEntry), Problem> {
        let endpoint = self.endpoint_of(tenant, endpoint)?;
        let id = parse_job(job)?;
        match self.jobs.get(&id) {
            Some(entry) if entry.tenant == *tenant && entry.endpoint == endpoint => Ok((id, entry)),
            Some(_) | None => Err(job_not_found(job)),
        }
    }

    /// Returns whether a job has ended, and what to wait on for its next change.
    pub(crate) fn watch_job(
        &self,
        tenant: &TenantId,
        endpoint: &str,
        job: &str,
    ) -> Result<(bool, watch::Receiver<u64>), Problem> {
        let (_, entry) = self.job_of(tenant, endpoint, job)?;
        Ok((entry.machine.status().is_terminal(), entry.changed.subscribe()))
    }

    /// Returns what a reader of a job's stream needs.
    pub(crate) fn look_at_stream(
        &self,
        tenant: &TenantId,
        endpoint: &str,
        job: &str,
    ) -> Result<StreamLook, Problem> {
        let (id, entry) = self.job_of(tenant, endpoint, job)?;
        Ok(StreamLook {
            job: id,
            status: entry.machine.status(),
            // After a restart nobody knows how many there are: reading tells.
            unread: entry.chunks > entry.chunks_read || entry.machine.status().is_terminal(),
            from: entry.chunks_read,
            changed: entry.changed.subscribe(),
        })
    }

    /// Notes how far a job's stream was read.
    pub(crate) fn note_read(&mut self, job: &JobId, read: u32) {
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.chunks_read = entry.chunks_read.max(read);
        }
    }

    /// Cancels a job.
    pub(crate) fn cancel_job(
        &mut self,
        tenant: &TenantId,
        endpoint: &str,
        job: &str,
    ) -> Result<Acknowledged, Problem> {
        let (id, _) = self.job_of(tenant, endpoint, job)?;
        self.step_job(&id, &JobEvent::CancelRequested, self.clock.now());
        let status = self.jobs.get(&id).map_or(JobStatus::Cancelled, |entry| entry.machine.status());
        Ok(Acknowledged { id, status })
    }

    /// Puts an ended job back in the queue.
    pub(crate) fn retry_job(
        &mut self,
        tenant: &TenantId,
        endpoint: &str,
        job: &str,
    ) -> Result<Acknowledged, Problem> {
        let (id, _) = self.job_of(tenant, endpoint, job)?;
        match self.step_job(&id, &JobEvent::RetryRequested, self.clock.now()) {
            Moved::Yes => {}
            Moved::No(reason) => return Err(problem(ErrorCode::JobNotRetryable, reason)),
        }
        self.timers.set(&Timer::ForgetJob(id.clone()), None);
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.forget_at = None;
        }
        Ok(Acknowledged { id, status: JobStatus::InQueue })
    }

    /// Removes the queued jobs of an endpoint.
    pub(crate) fn purge_queue(&mut self, tenant: &TenantId, endpoint: &str) -> Result<PurgeView, Problem> {
        let endpoint = self.endpoint_of(tenant, endpoint)?;
        let now = self.clock.now();
        let mut removed = 0;
        for job in self.jobs_of(&endpoint, JobStatus::InQueue) {
            if matches!(self.step_job(&job, &JobEvent::Purged, now), Moved::Yes) {
                removed += 1;
            }
        }
        Ok(PurgeView { removed, status: "completed".to_owned() })
    }

    /// Returns the ids of an endpoint's jobs that stand somewhere.
    pub(super) fn jobs_of(&self, endpoint: &EndpointId, status: JobStatus) -> Vec<JobId> {
        let found = self.jobs.iter();
        found
            .filter(|(_, entry)| entry.endpoint == *endpoint && entry.machine.status() == status)
            .map(|(job, _)| job.clone())
            .collect()
    }

    /// Removes a job with all that belongs to it.
    pub(super) fn forget_job(&mut self, job: &JobId) {
        self.drop_payload(job);
        if let Some(entry) = self.jobs.remove(job) {
            self.timers.set(&Timer::Job(job.clone()), None);
            self.timers.set(&Timer::ForgetJob(job.clone()), None);
            self.written_jobs.remove(job);
            self.write(Mutation::RemoveJob(entry.tenant, job.clone()));
        }
    }

    /// Removes output and chunks of a job: what comes next is another attempt's.
    pub(super) fn clear_output(&mut self, job: &JobId) {
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.progress = None;
            (entry.chunks, entry.chunks_read) = (0, 0);
            let tenant = entry.tenant.clone();
            self.write(Mutation::ClearOutput(tenant, job.clone()));
        }
    }

    /// Returns an endpoint's counters.
    pub(crate) fn health(&self, tenant: &TenantId, endpoint: &str) -> Result<HealthView, Problem> {
        let endpoint = self.endpoint_of(tenant, endpoint)?;
        let entry = self.endpoints.get(&endpoint).expect("its id was just found");
        let waiting = |priority| u64::from(self.ready.waiting(&endpoint, priority));
        let jobs = JobCounters {
            completed: entry.row.tally.completed,
            failed: entry.row.tally.failed,
            in_progress: u64::from(entry.in_progress),
            in_queue: waiting(Priority::Normal) + waiting(Priority::Low),
            retried: entry.row.tally.retried,
        };
        Ok(HealthView { jobs, workers: self.worker_counters(&endpoint) })
    }

    /// Returns the workers of an endpoint by state.
    pub(super) fn worker_counters(&self, endpoint: &EndpointId) -> WorkerCounters {
        let phases = self.fleet.workers_of(endpoint).map(|(_, facts)| facts.worker.phase());
        let health = scheduler::worker_health(phases);
        WorkerCounters {
            idle: health.idle,
            initializing: health.initializing,
            ready: health.ready,
            running: health.running,
            throttled: health.throttled,
            unhealthy: health.unhealthy,
        }
    }

    /// Returns a job as clients see it, without the output of an ended one, which stays in the database.
    pub(crate) fn job_view(&self, tenant: &TenantId, endpoint: &str, job: &str) -> Result<JobView, Problem> {
        let (id, entry) = self.job_of(tenant, endpoint, job)?;
        let (machine, now) = (&entry.machine, self.clock.now());
        let status = machine.status();
        let queued = status == JobStatus::InQueue;
        let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let worker = machine.attempts().last().map(|record| record.worker.to_string());
        let error = match machine.state() {
            JobState::Ended { fault: Some(fault), .. } => Some(fault.message.clone()),
            JobState::Ended { fault: None, .. } | JobState::InQueue { .. } | JobState::InProgress { .. } => {
                None
            }
        };
        Ok(JobView {
            id,
            status,
            delay_time: (!queued).then(|| millis(machine.delay_time(now))),
            execution_time: status.is_terminal().then(|| millis(machine.execution_time(now))),
            retries: Some(machine.retries()).filter(|retries| *retries > 0),
            worker_id: if status.is_terminal() {
                Some(worker.unwrap_or_default())
            } else {
                worker.filter(|_| !queued)
            },
            output: entry.progress.clone().filter(|_| status == JobStatus::InProgress),
            error,
            waiting: if queued { self.wait_view(&entry.endpoint) } else { None },
            attempts: machine.attempts().iter().map(attempt_view).collect(),
        })
    }
}

fn attempt_view(record: &scheduler::AttemptRecord) -> AttemptView {
    let fault = match &record.ended {
        Some((_, AttemptEnd::Lost { fault })) => Some(fault.clone()),
        Some((_, AttemptEnd::Result | AttemptEnd::Overtaken)) | None => None,
    };
    AttemptView {
        attempt: record.attempt,
        worker_id: record.worker.clone(),
        given_at: record.given_at.to_rfc3339(),
        ended_at: record.ended.as_ref().map(|(at, _)| Timestamp::to_rfc3339(*at)),
        fault,
    }
}
