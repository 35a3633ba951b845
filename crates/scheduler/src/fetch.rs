//! A model's way to one host, as a state machine.
//!
//! ```text
//!            Begun                    Done
//!  Wanted ──────────► Fetching ────────────► Ready
//!    ▲  ▲   Lost         │ Failed              │ Lost (evicted, gone)
//!    │  └────────────────┤                     │
//!    │                   ▼                     │
//!    ├───RetryDue──── Failed                   │
//!    └─────────────────────────────────────────┘
//! ```
//! The agent does the fetching; this is what the control plane knows of it. Nothing here times out: a fetch that
//! stalls is the agent's to notice, and it tells so as `Failed`.

use std::time::Duration;

use base::{ByteSize, Timestamp};
use serde::{Deserialize, Serialize};
use types::Fault;

use crate::{policy::FETCH_BACKOFF, step::Step};

/// Where the bytes of a model come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The hub that its repository is on.
    Hub,
}

/// Where a model stands on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FetchState {
    /// Not whole, and nothing is being fetched yet (or any more).
    Wanted {
        /// Bytes of earlier fetches that are on the disk and count.
        present: ByteSize,
        /// Fetches that failed in a row before, none of which advanced.
        failures: u32,
    },
    /// On its way.
    Fetching {
        /// Bytes on the disk so far.
        present: ByteSize,
        /// Where the rest comes from.
        source: Source,
        /// Since when.
        since: Timestamp,
        /// Fetches that failed in a row before.
        failures: u32,
    },
    /// Every file verified and published.
    Ready,
    /// The last fetch failed; another is due at `retry_at`.
    Failed {
        /// Bytes on the disk that count.
        present: ByteSize,
        /// Why.
        fault: Fault,
        /// When the next fetch may begin.
        retry_at: Timestamp,
        /// Fetches that failed in a row, 1 or more.
        failures: u32,
    },
}

/// What happens to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// The agent began.
    Begun(Source),
    /// This many bytes are on the disk now.
    Progress(ByteSize),
    /// Every file is verified and published.
    Done,
    /// The fetch ended without the model.
    Failed {
        /// Why.
        fault: Fault,
        /// The pause that the hub asked for, when it asked for one.
        retry_after: Option<Duration>,
    },
    /// The pause is over.
    RetryDue,
    /// The agent no longer has the fetch or the model: restarted, evicted. So many bytes are left.
    Lost(ByteSize),
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEffect {
    /// Tell the agent to fetch (again).
    Fetch,
    /// Starts that wait for this model on this host may go on.
    ModelReady,
    /// Starts that wait for this model on this host carry this fault until the next progress.
    StartsFailing(Fault),
}

impl FetchState {
    /// The state of a model of which a host has nothing.
    pub const ABSENT: Self = Self::Wanted { present: ByteSize(0), failures: 0 };

    /// Returns whether every file is there.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Returns the bytes still to come of a model of `total` bytes.
    pub const fn missing(&self, total: ByteSize) -> ByteSize {
        match self {
            Self::Ready => ByteSize(0),
            Self::Wanted { present, .. } | Self::Fetching { present, .. } | Self::Failed { present, .. } => {
                ByteSize(total.0.saturating_sub(present.0))
            }
        }
    }

    /// Returns whether the last fetch failed and the next one, if it runs already, has not advanced yet.
    pub const fn is_failing(&self) -> bool {
        match self {
            Self::Ready => false,
            Self::Wanted { failures, .. }
            | Self::Fetching { failures, .. }
            | Self::Failed { failures, .. } => *failures > 0,
        }
    }

    /// Returns the state after an event.
    pub fn step(&self, event: &FetchEvent, now: Timestamp) -> Step<Self, FetchEffect> {
        match event {
            FetchEvent::Begun(source) => self.begun(*source, now),
            FetchEvent::Progress(present) => self.progress(*present),
            FetchEvent::Done => match self {
                Self::Ready => Step::Ignored("the model is already there"),
                Self::Wanted { .. } | Self::Fetching { .. } | Self::Failed { .. } => {
                    Step::Next(Self::Ready, vec![FetchEffect::ModelReady])
                }
            },
            FetchEvent::Failed { fault, retry_after } => self.failed(fault, *retry_after, now),
            FetchEvent::RetryDue => match self {
                Self::Failed { retry_at, .. } if now < *retry_at => Step::Denied("the pause is not over"),
                Self::Failed { present, failures, .. } => Step::Next(
                    Self::Wanted { present: *present, failures: *failures },
                    vec![FetchEffect::Fetch],
                ),
                Self::Wanted { .. } | Self::Fetching { .. } | Self::Ready => {
                    Step::Ignored("no fetch has failed")
                }
            },
            FetchEvent::Lost(present) => match self {
                Self::Wanted { present: known, .. } if known == present => Step::Ignored("nothing changed"),
                Self::Failed { .. } => Step::Ignored("the fetch waits for its next try"),
                Self::Wanted { failures, .. } | Self::Fetching { failures, .. } => {
                    Step::Next(Self::Wanted { present: *present, failures: *failures }, Vec::new())
                }
                Self::Ready => Step::Next(Self::Wanted { present: *present, failures: 0 }, Vec::new()),
            },
        }
    }

    fn begun(&self, source: Source, now: Timestamp) -> Step<Self, FetchEffect> {
        match self {
            Self::Wanted { present, failures } | Self::Failed { present, failures, .. } => Step::Next(
                Self::Fetching { present: *present, source, since: now, failures: *failures },
                Vec::new(),
            ),
            Self::Fetching { .. } => Step::Ignored("the fetch runs already"),
            Self::Ready => Step::Ignored("the model is already there"),
        }
    }

    fn progress(&self, present: ByteSize) -> Step<Self, FetchEffect> {
        match self {
            // Bytes that failed verification are thrown away, so progress may also go back. Only a fetch that
            // advances forgets earlier failures.
            Self::Fetching { present: known, source, since, failures } if *known != present => {
                let failures = if present > *known { 0 } else { *failures };
                let fetching = Self::Fetching { present, source: *source, since: *since, failures };
                Step::Next(fetching, Vec::new())
            }
            Self::Fetching { .. } => Step::Ignored("nothing changed"),
            Self::Wanted { .. } => Step::Denied("the fetch has not begun"),
            Self::Ready | Self::Failed { .. } => Step::Ignored("the fetch is over"),
        }
    }

    fn failed(
        &self,
        fault: &Fault,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Step<Self, FetchEffect> {
        match self {
            Self::Wanted { present, failures } | Self::Fetching { present, failures, .. } => {
                let failures = failures.saturating_add(1);
                let pause = FETCH_BACKOFF.after(failures).max(retry_after.unwrap_or_default());
                let failed =
                    Self::Failed { present: *present, fault: fault.clone(), retry_at: now + pause, failures };
                Step::Next(failed, vec![FetchEffect::StartsFailing(fault.clone())])
            }
            Self::Ready => Step::Ignored("the model is already there"),
            Self::Failed { .. } => Step::Ignored("the failure is known"),
        }
    }
}

#[cfg(test)]
mod tests;
