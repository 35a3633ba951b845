//! Taking a job.

use std::sync::Arc;

use api::{Acknowledged, Problem};
use scheduler::{ATTEMPTS_MAX, Job, JobLimits, Place, Priority};
use state::Mutation;
use tokio::sync::watch;
use types::{ErrorCode, Fault, JobId, JobStatus, TenantId};

use super::{Owner, Timer};
use crate::{picture::JobEntry, validate::JobDraft};

/// Jobs of one endpoint that may wait: Runpod's limit for queued requests.
const QUEUE_JOBS_MAX: u32 = 50_000;
/// A payload up to this size stays in memory while its job waits: nearly all are smaller.
const PAYLOAD_KEPT_BYTES_MAX: usize = 64 * 1024;
/// All payloads in memory together; above it they are read when they are handed over.
const PAYLOADS_KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Owner {
    /// Takes a job into the queue of an endpoint.
    pub(crate) fn submit(
        &mut self,
        tenant: &TenantId,
        endpoint: &str,
        job: JobId,
        draft: JobDraft,
    ) -> Result<Acknowledged, Problem> {
        let endpoint = self.endpoint_of(tenant, endpoint)?;
        let waiting =
            self.ready.waiting(&endpoint, Priority::Normal) + self.ready.waiting(&endpoint, Priority::Low);
        if waiting >= QUEUE_JOBS_MAX {
            let fault =
                Fault::new(ErrorCode::QueueFull, format!("{waiting} jobs wait for the endpoint already"))
                    .with_hint("raise the endpoint's workers, or send more slowly");
            return Err(fault.into());
        }
        let scaling = &self.endpoints.get(&endpoint).expect("its id was just found").row.scaling;
        let limits = JobLimits {
            execution_timeout: draft.policy.execution_timeout.unwrap_or(scaling.execution_timeout),
            ttl: draft.policy.ttl.unwrap_or(scaling.job_ttl),
            attempts_max: ATTEMPTS_MAX,
        };
        let machine = Job::submitted(self.clock.now(), limits);
        let place = Place(self.next_place);
        self.next_place += 1;
        let priority = if draft.policy.low_priority { Priority::Low } else { Priority::Normal };
        self.timers.set(&Timer::Job(job.clone()), machine.deadline().map(|(at, _)| at));
        let mut entry = JobEntry {
            tenant: tenant.clone(),
            endpoint: endpoint.clone(),
            place,
            priority,
            machine,
            epoch: self.epoch,
            forget_at: None,
            payload: None,
            progress: None,
            chunks: 0,
            chunks_read: 0,
            changed: watch::Sender::new(0),
        };
        self.write(Mutation::AddJob(entry.row(&job), draft.payload.clone()));
        let bytes = draft.payload.input.get().len();
        if bytes <= PAYLOAD_KEPT_BYTES_MAX && self.payload_bytes + bytes <= PAYLOADS_KEPT_BYTES_MAX {
            self.payload_bytes += bytes;
            entry.payload = Some(Arc::new(draft.payload));
        }
        self.jobs.insert(job.clone(), entry);
        self.ready.enqueue(&endpoint, &job, priority, place);
        self.demand_changed.insert(endpoint);
        Ok(Acknowledged { id: job, status: JobStatus::InQueue })
    }

    /// Lets go of a payload in memory.
    pub(super) fn drop_payload(&mut self, job: &JobId) -> Option<Arc<state::JobPayload>> {
        let payload = self.jobs.get_mut(job)?.payload.take()?;
        self.payload_bytes = self.payload_bytes.saturating_sub(payload.input.get().len());
        Some(payload)
    }
}
