//! The words of the ledger: phases of a worker's time, and the marks of a start's timeline.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a stretch of a worker's time was. Every moment of a worker belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerPhase {
    /// Models or image on their way. Never billed.
    Initializing,
    /// No room on the host. Never billed.
    Throttled,
    /// From process start to the first take. Billed, unless the worker never reached its first ping.
    Starting,
    /// Working on jobs. Billed.
    Executing,
    /// Warm without a job. Billed.
    Idle,
    /// Finishing before its end. Billed.
    Draining,
    /// From process start to its end, of a worker that never pinged. Not billed.
    Unhealthy,
}

impl LedgerPhase {
    /// Every phase, in the order of a worker's life.
    pub const ALL: [Self; 7] = [
        Self::Initializing,
        Self::Throttled,
        Self::Starting,
        Self::Executing,
        Self::Idle,
        Self::Draining,
        Self::Unhealthy,
    ];

    /// Returns whether time in this phase is billed.
    pub const fn is_billed(self) -> bool {
        match self {
            Self::Starting | Self::Executing | Self::Idle | Self::Draining => true,
            Self::Initializing | Self::Throttled | Self::Unhealthy => false,
        }
    }

    /// Returns the word that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Throttled => "throttled",
            Self::Starting => "starting",
            Self::Executing => "executing",
            Self::Idle => "idle",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for LedgerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A moment in the start of a worker, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartMark {
    /// The job that caused the start was committed.
    Queued,
    /// The plan chose a host.
    Placed,
    /// The agent began to fetch (left out when nothing was missing).
    FetchStarted,
    /// Every file was verified and published (left out when nothing was missing).
    Fetched,
    /// The model stood in the worker's view.
    ViewMounted,
    /// The worker's process was started.
    ProcessStarted,
    /// The worker's first ping.
    FirstPing,
    /// The worker's first request for a job.
    FirstTake,
    /// The worker's first result.
    FirstDone,
}

impl StartMark {
    /// Returns the words that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Placed => "placed",
            Self::FetchStarted => "fetch started",
            Self::Fetched => "fetched",
            Self::ViewMounted => "view mounted",
            Self::ProcessStarted => "process started",
            Self::FirstPing => "first ping",
            Self::FirstTake => "first take",
            Self::FirstDone => "done",
        }
    }
}
