//! Jobs: their states, the rules that a caller may set, and how one ends.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Where a job stands, in the words of Runpod's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Waiting for a worker.
    InQueue,
    /// Handed to a worker.
    InProgress,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by its caller.
    Cancelled,
    /// Ended by a limit of time.
    TimedOut,
}

impl JobStatus {
    /// Returns whether the job has ended.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::InQueue | Self::InProgress => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut => true,
        }
    }

    /// Returns the word that the API shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InQueue => "IN_QUEUE",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a caller may ask of one job; what is not asked comes from the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobPolicy {
    /// The longest that one attempt may run.
    pub execution_timeout: Option<Duration>,
    /// How long after submission the job is forgotten, whatever its state.
    pub ttl: Option<Duration>,
    /// Whether the job causes no further worker to start.
    pub low_priority: bool,
}

/// How a worker says that a job ended. `output` and `error` are JSON texts exactly as the worker sent them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The handler's output, when it sent one.
    pub output: Option<Box<serde_json::value::RawValue>>,
    /// The handler's error text, when it sent one: the job failed then, with or without an output.
    pub error: Option<String>,
}
