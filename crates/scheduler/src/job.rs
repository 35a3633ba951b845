//! A job's life, as a state machine.
//!
//! ```text
//!             Assigned                      Done
//!  InQueue ─────────────► InProgress ─────────────────► Ended(COMPLETED or FAILED)
//!     ▲                       │
//!     │  not accepted, vanished, worker gone: another attempt, while there are any
//!     ├───────────────────────┤  else Ended(FAILED)
//!     │                       └ cancelled, too long, expired: Ended(CANCELLED or TIMED_OUT), stop signal
//!     └─ Retry, from FAILED or TIMED_OUT only ─ Ended
//! ```
//! A handler may run more than once; exactly one final result is recorded: the first, whichever attempt it is from.
//! It keeps no payload. [`Job::due`] says which limit of time has passed, so that the caller needs one timer only.

mod step;

use std::time::Duration;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use types::{Attempt, Fault, JobStatus, WorkerId};

use crate::policy::ACCEPTANCE_TIMEOUT;

/// The limits of one job, fixed when it is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLimits {
    /// The longest that one attempt may run, from its acceptance.
    pub execution_timeout: Duration,
    /// How long after submission the job is over, whatever its state.
    pub ttl: Duration,
    /// Attempts before it fails; each retry by hand grants as many again.
    pub attempts_max: u32,
}

/// Whether the worker has shown that it took the job on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "acceptance", rename_all = "snake_case")]
pub enum Acceptance {
    /// Not yet.
    Awaited,
    /// By a ping that lists it, or by progress, a chunk or the result.
    Given {
        /// When.
        at: Timestamp,
        /// Pings in a row, since the last that listed it, that did not.
        pings_missed: u32,
    },
}

/// Where a job stands, with what belongs to it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for a worker.
    InQueue {
        /// Since when.
        since: Timestamp,
    },
    /// Handed to a worker.
    InProgress {
        /// Which.
        worker: WorkerId,
        /// When.
        given_at: Timestamp,
        /// Since when it waited for this attempt.
        queued_since: Timestamp,
        /// Whether the worker took it on.
        acceptance: Acceptance,
    },
    /// Over.
    Ended {
        /// How: one of the four terminal words.
        status: JobStatus,
        /// When.
        at: Timestamp,
        /// Why, when it was not by a result.
        fault: Option<Fault>,
    },
}

/// How one hand-over ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum AttemptEnd {
    /// With a result.
    Result,
    /// Without one; this is the reason.
    Lost {
        /// What went wrong.
        fault: Fault,
    },
    /// The job was over before the attempt was: cancelled, too long, expired, or another attempt's result came first.
    Overtaken,
}

/// One hand-over, as it is remembered and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number.
    pub attempt: Attempt,
    /// To whom.
    pub worker: WorkerId,
    /// Since when the job waited for it.
    pub queued_since: Timestamp,
    /// When.
    pub given_at: Timestamp,
    /// When the worker showed that it took the job on, if it did.
    pub accepted_at: Option<Timestamp>,
    /// When it ended, and how; none while it lasts.
    pub ended: Option<(Timestamp, AttemptEnd)>,
}

/// A job as its state machine sees it.
///
/// Invariant: `attempts` holds the latest hand-overs in order, at most [`crate::ATTEMPT_HISTORY_MAX`]; all but the
/// last have ended, and the last has not exactly while the job is in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    submitted_at: Timestamp,
    limits: JobLimits,
    state: JobState,
    attempts: Vec<AttemptRecord>,
    attempts_made: u32,
    attempts_granted: u32,
}

/// Whether a result is an output or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// The handler returned.
    Output,
    /// The handler raised, or said that it failed.
    Error,
}

/// Whether a ping lists a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It does.
    Listed,
    /// It does not.
    Missing,
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// It was handed to a worker.
    Assigned(WorkerId),
    /// The worker pinged.
    Pinged(WorkerId, Listing),
    /// The worker sent progress.
    Progress(WorkerId),
    /// The worker sent a chunk of its stream.
    Chunk(WorkerId),
    /// A worker sent a final result.
    Done(WorkerId, ResultKind),
    /// The worker's request had ended before the job reached it: it never had it.
    Returned(WorkerId),
    /// The worker had its time to take the job on.
    NotAccepted,
    /// The worker has ended.
    WorkerGone(WorkerId, Fault),
    /// The caller wants it no more.
    CancelRequested,
    /// The queue is emptied.
    Purged,
    /// The attempt ran for too long.
    ExecutionTimeout,
    /// The job's time is over.
    TtlExpired,
    /// The caller wants it tried again.
    RetryRequested,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEffect {
    /// Put it in the ready index, at the place it had by its submission.
    Enqueue,
    /// Take it out of the ready index.
    Dequeue,
    /// Tell this worker to stop working on it. It still has it, until it pings without it or sends a result.
    StopSignal(WorkerId),
    /// This worker ended it with its result.
    WorkerDone(WorkerId),
    /// This worker no longer has it and gave no result.
    WorkerDropped(WorkerId),
    /// Record that it is over: tell waiting callers, the webhook, the counters.
    Ended(JobStatus),
    /// Count another attempt, for this reason.
    AttemptLost(Fault),
}

impl Job {
    /// Makes a job that was just submitted.
    pub fn submitted(now: Timestamp, limits: JobLimits) -> Self {
        Self {
            submitted_at: now,
            limits,
            state: JobState::InQueue { since: now },
            attempts: Vec::new(),
            attempts_made: 0,
            attempts_granted: limits.attempts_max,
        }
    }

    /// Returns where it stands.
    pub const fn state(&self) -> &JobState {
        &self.state
    }

    /// Returns its status, as the API calls it.
    pub const fn status(&self) -> JobStatus {
        match &self.state {
            JobState::InQueue { .. } => JobStatus::InQueue,
            JobState::InProgress { .. } => JobStatus::InProgress,
            JobState::Ended { status, .. } => *status,
        }
    }

    /// Returns when it was submitted.
    pub const fn submitted_at(&self) -> Timestamp {
        self.submitted_at
    }

    /// Returns its limits.
    pub const fn limits(&self) -> JobLimits {
        self.limits
    }

    /// Returns its latest hand-overs, oldest first.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.attempts
    }

    /// Returns the workers that it must not go to again while they live: they had it and gave no result, so they may
    /// have it still, and nobody could tell what they say of one hand-over from what they say of the other.
    pub fn barred_from(&self) -> impl Iterator<Item = &WorkerId> {
        let without_result = self.attempts.iter().filter(|record| match &record.ended {
            Some((_, AttemptEnd::Lost { .. } | AttemptEnd::Overtaken)) | None => true,
            Some((_, AttemptEnd::Result)) => false,
        });
        without_result.map(|record| &record.worker)
    }

    /// Returns the number of the latest hand-over, or none before the first.
    pub const fn attempt(&self) -> Option<Attempt> {
        if self.attempts_made == 0 { None } else { Some(Attempt(self.attempts_made)) }
    }

    /// Returns hand-overs after the first.
    pub const fn retries(&self) -> u32 {
        self.attempts_made.saturating_sub(1)
    }

    /// Returns how long it waited before the latest hand-over, or has waited if there is none.
    pub fn delay_time(&self, now: Timestamp) -> Duration {
        match (&self.state, self.attempts.last()) {
            (JobState::InQueue { since }, _) => now.since(*since),
            (JobState::InProgress { .. } | JobState::Ended { .. }, Some(last)) => {
                last.given_at.since(last.queued_since)
            }
            (JobState::Ended { at, .. }, None) => at.since(self.submitted_at),
            (JobState::InProgress { .. }, None) => Duration::ZERO,
        }
    }

    /// Returns how long the latest attempt ran, or has run; zero before the first.
    pub fn execution_time(&self, now: Timestamp) -> Duration {
        self.attempts.last().map_or(Duration::ZERO, |last| {
            last.ended.as_ref().map_or(now, |(at, _)| *at).since(last.given_at)
        })
    }

    /// Returns when a limit of time is next reached, with the event to step the job with then.
    pub fn deadline(&self) -> Option<(Timestamp, JobEvent)> {
        let expiry = (self.submitted_at + self.limits.ttl, JobEvent::TtlExpired);
        let sooner = match &self.state {
            JobState::Ended { .. } => return None,
            JobState::InQueue { .. } => return Some(expiry),
            JobState::InProgress { given_at, acceptance: Acceptance::Awaited, .. } => {
                (*given_at + ACCEPTANCE_TIMEOUT, JobEvent::NotAccepted)
            }
            JobState::InProgress { acceptance: Acceptance::Given { at, .. }, .. } => {
                (*at + self.limits.execution_timeout, JobEvent::ExecutionTimeout)
            }
        };
        Some(if sooner.0 < expiry.0 { sooner } else { expiry })
    }

    /// Returns the event of a limit of time that has been reached, if one has.
    pub fn due(&self, now: Timestamp) -> Option<JobEvent> {
        self.deadline().filter(|(at, _)| *at <= now).map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests;
