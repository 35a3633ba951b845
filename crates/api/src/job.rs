//! The job API in Runpod's shapes: what `/run`, `/status`, `/health` and their kin take and give.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::{Attempt, Fault, JobId, JobStatus, WorkerId};

/// The body of `/run` and `/runsync`. Fields that are not listed are ignored, as Runpod's clients send more.
#[derive(Clone, Debug, Deserialize)]
pub struct JobBody {
    /// What the handler gets, kept to the letter. Required; `null` is a value.
    #[serde(default, deserialize_with = "present")]
    pub input: Option<Box<RawValue>>,
    /// Where to post the ended job.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Limits of this job.
    #[serde(default)]
    pub policy: PolicyBody,
    /// Passed to the worker as it is. It holds a secret and is never logged.
    #[serde(default, rename = "s3Config")]
    pub s3_config: Option<Box<RawValue>>,
}

/// Reads a value that is there, so that only a missing field is `None`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Limits of one job, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyBody {
    /// The longest that one attempt may run.
    pub execution_timeout: Option<u64>,
    /// How long after submission the job is forgotten.
    pub ttl: Option<u64>,
    /// Whether the job causes no further worker to start.
    pub low_priority: bool,
}

/// The answer to `/run`, `/cancel` and `/retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The job.
    pub id: JobId,
    /// Where it stands now.
    pub status: JobStatus,
}

/// A job as `/status` and `/runsync` show it. Terminal ones always have `delayTime`, `executionTime` and `workerId`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Where it stands.
    pub status: JobStatus,
    /// Milliseconds in the queue before the last attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_time: Option<i64>,
    /// Milliseconds of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_time: Option<i64>,
    /// Hand-overs after the first, when there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The worker of the last attempt; empty for a job that ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// The output; while the job runs, its latest progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// What went wrong, as the worker or Larder says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the job waits for, or why its start fails, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<crate::WaitView>,
    /// The hand-overs so far, with the reason why each ended. Shown on our own routes only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
}

/// One hand-over of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptView {
    /// Its number, from 1.
    pub attempt: Attempt,
    /// The worker.
    pub worker_id: WorkerId,
    /// When it was handed over, RFC 3339.
    pub given_at: String,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it ended without a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// The answer to `/stream`: chunks that have not been read yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamView {
    /// Where the job stands.
    pub status: JobStatus,
    /// The chunks, oldest first. Always there, as the JavaScript client needs it.
    pub stream: Vec<ChunkView>,
}

/// One chunk of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChunkView {
    /// What the handler yielded.
    pub output: Box<RawValue>,
}

/// The answer to `/purge-queue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeView {
    /// How many queued jobs were removed.
    pub removed: u64,
    /// Always `completed`.
    pub status: String,
}

/// The answer to `/health`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Jobs by state.
    pub jobs: JobCounters,
    /// Workers by state.
    pub workers: WorkerCounters,
}

/// Jobs of an endpoint by state; ended ones since the endpoint was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobCounters {
    /// Ended with an output.
    pub completed: u64,
    /// Ended with an error or by a limit of time.
    pub failed: u64,
    /// With a worker.
    pub in_progress: u64,
    /// Waiting.
    pub in_queue: u64,
    /// Handed over more than once.
    pub retried: u64,
}

/// Workers of an endpoint by state. `ready` counts warm ones and overlaps `idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounters {
    /// Warm, without a job.
    pub idle: u32,
    /// Held or starting.
    pub initializing: u32,
    /// Warm, with or without a job.
    pub ready: u32,
    /// With a job.
    pub running: u32,
    /// Waiting for room on a host.
    pub throttled: u32,
    /// Crashed.
    pub unhealthy: u32,
}
