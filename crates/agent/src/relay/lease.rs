//! A job in a worker's hands, as a pure state machine: what its signs of life mean.
//!
//! ```text
//!  Given ── ping, chunk, progress ──▶ Accepted ── missing from three pings ──▶ Lost
//!    └───── nothing for too long ──────────────────────────────────────────────▶ Lost
//!  a result ends the lease in every state
//! ```
//!
//! A lost lease is reported once and kept, so that a late result still finds its attempt. The server decides what
//! becomes of the job.

use std::time::Duration;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use types::{Attempt, Epoch};

/// Pings in a row that lack a job before it counts as dropped. The list in a ping and the result of a job travel on
/// different connections, so one or two may cross.
const MISSED_PINGS_MAX: u32 = 3;

/// A job in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) attempt: Attempt,
    pub(crate) epoch: Epoch,
    pub(crate) given_at: Timestamp,
    pub(crate) standing: Standing,
    /// The number of the next chunk of its stream.
    pub(crate) next_chunk: u32,
}

/// What is known of a job in a worker's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// The answer to the worker's request was written.
    Given,
    /// The worker showed it.
    Accepted {
        /// How many of its last pings in a row lacked it.
        missed: u32,
    },
    /// Reported as not accepted or as vanished.
    Lost,
}

/// What a sign, or the lack of one, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing new.
    Nothing,
    /// The worker has it: tell the server.
    Accepted,
    /// The worker never had it: tell the server.
    NotAccepted,
    /// The worker had it and has it no more: tell the server.
    Vanished,
}

impl Lease {
    pub(crate) const fn new(attempt: Attempt, epoch: Epoch, now: Timestamp) -> Self {
        Self { attempt, epoch, given_at: now, standing: Standing::Given, next_chunk: 0 }
    }

    /// The worker showed the job: in a ping, by a chunk, by progress.
    pub(crate) fn shown(&mut self) -> Verdict {
        match self.standing {
            Standing::Given => {
                self.standing = Standing::Accepted { missed: 0 };
                Verdict::Accepted
            }
            Standing::Accepted { .. } => {
                self.standing = Standing::Accepted { missed: 0 };
                Verdict::Nothing
            }
            Standing::Lost => Verdict::Nothing,
        }
    }

    /// A ping came that lacks the job.
    pub(crate) fn missed(&mut self) -> Verdict {
        match self.standing {
            Standing::Accepted { missed } if missed + 1 >= MISSED_PINGS_MAX => {
                self.standing = Standing::Lost;
                Verdict::Vanished
            }
            Standing::Accepted { missed } => {
                self.standing = Standing::Accepted { missed: missed + 1 };
                Verdict::Nothing
            }
            Standing::Given | Standing::Lost => Verdict::Nothing,
        }
    }

    /// Time passed.
    pub(crate) fn elapsed(&mut self, now: Timestamp, acceptance_timeout: Duration) -> Verdict {
        match self.standing {
            Standing::Given if now.since(self.given_at) >= acceptance_timeout => {
                self.standing = Standing::Lost;
                Verdict::NotAccepted
            }
            Standing::Given | Standing::Accepted { .. } | Standing::Lost => Verdict::Nothing,
        }
    }

    /// Returns whether the worker may still be working on it.
    pub(crate) const fn is_live(&self) -> bool {
        match self.standing {
            Standing::Given | Standing::Accepted { .. } => true,
            Standing::Lost => false,
        }
    }
}

#[cfg(test)]
mod tests;
