//! Jobs on their way to workers, and what becomes of them.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::{Attempt, Epoch, JobId, Outcome, WorkerId};

/// A worker asks for jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOffer {
    /// The worker.
    pub worker: WorkerId,
    /// How many it takes at most.
    pub slots: u32,
}

/// A job for a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The worker.
    pub worker: WorkerId,
    /// The job.
    pub job: JobId,
    /// Which hand-over this is.
    pub attempt: Attempt,
    /// Whose term it was made in.
    pub epoch: Epoch,
    /// The JSON object for the worker: `id`, `input` and what else it gets.
    pub body: Box<RawValue>,
}

/// Jobs that a worker should stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStop {
    /// The worker.
    pub worker: WorkerId,
    /// The jobs.
    pub jobs: Vec<JobId>,
}

/// Something happened to a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobEvent {
    /// Its number on this host, growing; zero for events that need no acknowledgement.
    pub number: u64,
    /// The worker.
    pub worker: WorkerId,
    /// The job.
    pub job: JobId,
    /// The hand-over that it belongs to; `None` when the agent knows no such assignment.
    pub attempt: Option<Attempt>,
    /// When it happened.
    pub at: Timestamp,
    /// What.
    pub kind: JobEventKind,
}

/// What happened to a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum JobEventKind {
    /// The worker showed that it has the job.
    Accepted,
    /// The worker's request was gone before the job could be given: it never had it.
    Returned,
    /// The job was given, and the worker did not show it within the time for that.
    NotAccepted,
    /// The job is no longer in the worker's pings and no result came.
    Vanished,
    /// A progress update.
    Progress(Box<RawValue>),
    /// A chunk of a stream. Durable with the result.
    Chunk {
        /// Its number, from 0.
        index: u32,
        /// The chunk.
        output: Box<RawValue>,
    },
    /// The final result. Durable.
    Done {
        /// How the worker says it ended.
        outcome: Outcome,
        /// Whether the worker asks to be replaced after this job.
        stop_worker: bool,
        /// Whether the output came as a stream.
        streamed: bool,
    },
}
