//! The face of the control plane inside the process: what `server` calls for its clients.
//!
//! Every method checks the caller's scope, sees only the caller's tenant, and returns after what it did is durable.
//! Endpoints are named by id or name.

use api::{
    Acknowledged, CreateEndpoint, EndpointList, EndpointView, FolderView, HealthView, HostList, JobBody,
    JobView, LogList, ModelList, ModelPathView, ModelView, Problem, PullModel, PurgeView, UpdateEndpoint,
    UsageView, VerifyView, WorkerList, WorkerView,
};
use base::{Redacted, Timestamp};
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use types::{ErrorCode, Fault, JobRoute, JobStatus};

use crate::Caller;

/// Asks the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {}

/// What a reader of a stream gets.
#[derive(Clone, Debug)]
pub struct StreamRead {
    /// Where the job stands.
    pub status: JobStatus,
    /// Chunks that nobody has read yet, in order.
    pub chunks: Vec<Box<RawValue>>,
}

fn starting<T>() -> Result<T, Problem> {
    Err(Fault::new(ErrorCode::Unavailable, "the control plane is starting").into())
}

#[expect(clippy::unused_async, unused_variables, reason = "the bodies follow")]
impl Handle {
    /// Returns whose key this is.
    ///
    /// # Errors
    /// `key-wrong` when no tenant has it.
    pub fn authenticate(&self, key: &Redacted<String>) -> Result<Caller, Problem> {
        starting()
    }

    /// Serves one agent until its link ends.
    ///
    /// # Errors
    /// [`api::LinkError`] when the link broke rather than ended.
    pub async fn attach_agent<S>(&self, stream: S) -> Result<(), api::LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Ok(())
    }

    /// Makes an endpoint: checks every field, resolves its models with its own token.
    ///
    /// # Errors
    /// `field-invalid` with the fields named; what the hub answered, by its code; `endpoint-name-taken`.
    pub async fn create_endpoint(
        &self,
        caller: &Caller,
        body: CreateEndpoint,
    ) -> Result<EndpointView, Problem> {
        starting()
    }

    /// Changes what is given of an endpoint.
    ///
    /// # Errors
    /// As [`Handle::create_endpoint`], and `endpoint-not-found`.
    pub async fn update_endpoint(
        &self,
        caller: &Caller,
        endpoint: &str,
        body: UpdateEndpoint,
    ) -> Result<EndpointView, Problem> {
        starting()
    }

    /// Deletes an endpoint: its jobs are cancelled, its workers end.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn delete_endpoint(&self, caller: &Caller, endpoint: &str) -> Result<(), Problem> {
        starting()
    }

    /// Returns an endpoint.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn endpoint(&self, caller: &Caller, endpoint: &str) -> Result<EndpointView, Problem> {
        starting()
    }

    /// Returns the endpoints, by name.
    ///
    /// # Errors
    /// `key-forbidden`.
    pub async fn endpoints(&self, caller: &Caller) -> Result<EndpointList, Problem> {
        starting()
    }

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
        starting()
    }

    /// Returns a job.
    ///
    /// # Errors
    /// `job-not-found`, also for one whose retention is over.
    pub async fn job(&self, caller: &Caller, endpoint: &str, job: &str) -> Result<JobView, Problem> {
        starting()
    }

    /// Returns a job once it has ended, or as it stands at the deadline.
    ///
    /// # Errors
    /// As [`Handle::job`].
    pub async fn wait_job(
        &self,
        caller: &Caller,
        endpoint: &str,
        job: &str,
        deadline: Timestamp,
    ) -> Result<JobView, Problem> {
        starting()
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
        starting()
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
        starting()
    }

    /// Removes the queued jobs of an endpoint.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn purge_queue(&self, caller: &Caller, endpoint: &str) -> Result<PurgeView, Problem> {
        starting()
    }

    /// Returns an endpoint's counters.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn health(&self, caller: &Caller, endpoint: &str) -> Result<HealthView, Problem> {
        starting()
    }

    /// Returns the chunks of a job that nobody has read yet; waits for one until the deadline.
    ///
    /// # Errors
    /// As [`Handle::job`].
    pub async fn stream(
        &self,
        caller: &Caller,
        endpoint: &str,
        job: &str,
        deadline: Timestamp,
    ) -> Result<StreamRead, Problem> {
        starting()
    }

    /// Returns the workers of one endpoint, or of all, newest first.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn workers(&self, caller: &Caller, endpoint: Option<&str>) -> Result<WorkerList, Problem> {
        starting()
    }

    /// Returns a worker.
    ///
    /// # Errors
    /// `worker-not-found`.
    pub async fn worker(&self, caller: &Caller, worker: &str) -> Result<WorkerView, Problem> {
        starting()
    }

    /// Returns the last lines of a worker's log, oldest first.
    ///
    /// # Errors
    /// `worker-not-found`; `host-away` when its host can't be asked.
    pub async fn worker_logs(&self, caller: &Caller, worker: &str, tail: u32) -> Result<LogList, Problem> {
        starting()
    }

    /// Returns the models that the caller's endpoints and pulls use.
    ///
    /// # Errors
    /// `key-forbidden`.
    pub async fn models(&self, caller: &Caller) -> Result<ModelList, Problem> {
        starting()
    }

    /// Brings a model to the hosts and keeps it there.
    ///
    /// # Errors
    /// What the hub answered, by its code.
    pub async fn pull_model(&self, caller: &Caller, body: PullModel) -> Result<ModelView, Problem> {
        starting()
    }

    /// Removes a model from the hosts; returns how many bytes are free again.
    ///
    /// # Errors
    /// `model-not-found`; `model-in-use`.
    pub async fn remove_model(&self, caller: &Caller, reference: &str) -> Result<u64, Problem> {
        starting()
    }

    /// Reads every byte of a model again, on each host that holds it.
    ///
    /// # Errors
    /// `model-not-found`; `host-away`.
    pub async fn verify_model(&self, caller: &Caller, reference: &str) -> Result<VerifyView, Problem> {
        starting()
    }

    /// Returns where a model stands for a worker, and on a host.
    ///
    /// # Errors
    /// `model-not-found`.
    pub async fn model_path(&self, caller: &Caller, reference: &str) -> Result<ModelPathView, Problem> {
        starting()
    }

    /// Returns what the caller's endpoints used in a window.
    ///
    /// # Errors
    /// `state-error`.
    pub async fn usage(&self, caller: &Caller, from: Timestamp, to: Timestamp) -> Result<UsageView, Problem> {
        starting()
    }

    /// Returns the hosts.
    ///
    /// # Errors
    /// `key-forbidden`.
    pub async fn hosts(&self, caller: &Caller) -> Result<HostList, Problem> {
        starting()
    }

    /// Keeps a folder's archive, named by its SHA-256 in hex.
    ///
    /// # Errors
    /// `field-invalid` when the bytes are others; `folder-too-large`.
    pub async fn put_folder(
        &self,
        caller: &Caller,
        digest: &str,
        bytes: Bytes,
    ) -> Result<FolderView, Problem> {
        starting()
    }

    /// Returns a folder's archive that the caller has put.
    ///
    /// # Errors
    /// `folder-not-found`.
    pub async fn folder(&self, caller: &Caller, digest: &str) -> Result<FolderView, Problem> {
        starting()
    }
}
