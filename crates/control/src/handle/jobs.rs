//! Jobs: submitting, looking, waiting, cancelling.

use api::{Acknowledged, HealthView, JobBody, JobView, Problem, PurgeView};
use base::Timestamp;
use serde_json::value::RawValue;
use state::KeyScope;
use types::{ErrorCode, JobId, JobRoute, JobStatus};

use super::Handle;
use crate::{
    Caller,
    owner::problem,
    validate::{JobDraft, job_draft},
};

/// Bytes of chunks that one read of a stream returns at most beyond its first: Runpod's limit for a result.
const STREAM_BYTES_MAX: usize = 20 * 1024 * 1024;

/// What a reader of a stream gets.
#[derive(Clone, Debug)]
pub struct StreamRead {
    /// Where the job stands.
    pub status: JobStatus,
    /// Chunks that nobody has read yet, in order.
    pub chunks: Vec<Box<RawValue>>,
}

impl Handle {
    /// Takes a job. It is durable when this returns.
    ///
    /// # Errors
    /// `field-invalid` for a body that breaks a rule; `endpoint-not-found`; `queue-full`.
    pub async fn submit(
        &self,
        caller: &Caller,
        endpoint: &str,
        route: JobRoute,
        body: JobBody,
    ) -> Result<Acknowledged, Problem> {
        caller.needs(KeyScope::Invoke)?;
        let draft: JobDraft = job_draft(body)?;
        let (tenant, endpoint) = (caller.tenant.clone(), endpoint.to_owned());
        let job = JobId::generate(&self.shared.entropy, route);
        self.call(move |owner| owner.submit(&tenant, &endpoint, job, draft)).await
    }

    /// Returns a job.
    ///
    /// # Errors
    /// `job-not-found`, also for one whose retention is over.
    pub async fn job(&self, caller: &Caller, endpoint: &str, job: &str) -> Result<JobView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, name, id) = (caller.tenant.clone(), endpoint.to_owned(), job.to_owned());
        let mut view = self.call(move |owner| owner.job_view(&tenant, &name, &id)).await?;
        if view.status.is_terminal() {
            let output = self.shared.state.output(&caller.tenant, &view.id).await;
            if let Some(row) = output.map_err(|error| Problem::from(error.fault()))? {
                view.output = row.output;
                view.error = row.error.or(view.error);
            }
        }
        Ok(view)
    }

    /// Returns a job once it has ended, or as it stands at the deadline.
    ///
    /// # Errors
    /// As [`Handle::job`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait_job(
        &self,
        caller: &Caller,
        endpoint: &str,
        job: &str,
        deadline: Timestamp,
    ) -> Result<JobView, Problem> {
        caller.needs(KeyScope::Read)?;
        loop {
            let (tenant, name, id) = (caller.tenant.clone(), endpoint.to_owned(), job.to_owned());
            let (ended, mut changed) = self.call(move |owner| owner.watch_job(&tenant, &name, &id)).await?;
            if ended || self.shared.clock.now() >= deadline {
                return self.job(caller, endpoint, job).await;
            }
            tokio::select! {
                // A change that is missed here is seen by looking again; an error means that the owner is another.
                _ = changed.changed() => {}
                // Nothing is lost: it only waits.
                () = self.shared.clock.sleep_until(deadline) => {}
            }
        }
    }

    /// Cancels a job. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`Handle::job`].
    pub async fn cancel_job(
        &self,
        caller: &Caller,
        endpoint: &str,
        job: &str,
    ) -> Result<Acknowledged, Problem> {
        caller.needs(KeyScope::Invoke)?;
        let (tenant, name, id) = (caller.tenant.clone(), endpoint.to_owned(), job.to_owned());
        self.call(move |owner| owner.cancel_job(&tenant, &name, &id)).await
    }

    /// Puts a failed or timed out job back in the queue.
    ///
    /// # Errors
    /// As [`Handle::job`], and `job-not-retryable`.
    pub async fn retry_job(
        &self,
        caller: &Caller,
        endpoint: &str,
        job: &str,
    ) -> Result<Acknowledged, Problem> {
        caller.needs(KeyScope::Invoke)?;
        let (tenant, name, id) = (caller.tenant.clone(), endpoint.to_owned(), job.to_owned());
        self.call(move |owner| owner.retry_job(&tenant, &name, &id)).await
    }

    /// Removes the queued jobs of an endpoint.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn purge_queue(&self, caller: &Caller, endpoint: &str) -> Result<PurgeView, Problem> {
        caller.needs(KeyScope::Invoke)?;
        let (tenant, name) = (caller.tenant.clone(), endpoint.to_owned());
        self.call(move |owner| owner.purge_queue(&tenant, &name)).await
    }

    /// Returns an endpoint's counters.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn health(&self, caller: &Caller, endpoint: &str) -> Result<HealthView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, name) = (caller.tenant.clone(), endpoint.to_owned());
        self.call(move |owner| owner.health(&tenant, &name)).await
    }

    /// Returns the chunks of a job that nobody has read yet; waits for one until the deadline.
    ///
    /// # Errors
    /// As [`Handle::job`].
    ///
    /// # Cancel safety
    /// Chunks count as read once this returns; dropping the future before loses none.
    pub async fn stream(
        &self,
        caller: &Caller,
        endpoint: &str,
        job: &str,
        deadline: Timestamp,
    ) -> Result<StreamRead, Problem> {
        caller.needs(KeyScope::Read)?;
        loop {
            let (tenant, name, id) = (caller.tenant.clone(), endpoint.to_owned(), job.to_owned());
            let mut look = self.call(move |owner| owner.look_at_stream(&tenant, &name, &id)).await?;
            let chunks = if look.unread {
                let read =
                    self.shared.state.chunks(&caller.tenant, &look.job, look.from, STREAM_BYTES_MAX).await;
                read.map_err(|error| Problem::from(error.fault()))?
            } else {
                Vec::new()
            };
            if let Some(last) = chunks.last() {
                let (job, read) = (look.job.clone(), last.index + 1);
                self.call(move |owner| {
                    owner.note_read(&job, read);
                    Ok(())
                })
                .await?;
            }
            if !chunks.is_empty() || look.status.is_terminal() || self.shared.clock.now() >= deadline {
                let chunks = chunks.into_iter().map(|row| row.output).collect();
                return Ok(StreamRead { status: look.status, chunks });
            }
            tokio::select! {
                // A change that is missed here is seen by looking again.
                _ = look.changed.changed() => {}
                // Nothing is lost: it only waits.
                () = self.shared.clock.sleep_until(deadline) => {}
            }
        }
    }
}

/// Parses a job's id; a text that is none names no job.
pub(crate) fn parse_job(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| job_not_found(text))
}

/// Says that there is no such job.
pub(crate) fn job_not_found(text: &str) -> Problem {
    let shown: String = text.chars().take(80).collect();
    let mut problem = problem(ErrorCode::JobNotFound, format!("no job {shown:?} is known here"));
    problem.hint =
        Some("results are kept 1 minute for runsync and 30 minutes for run after the job ended".to_owned());
    problem
}
