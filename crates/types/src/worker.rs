//! Where a worker stands in its life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The phase of a worker. The state machine that moves it is `scheduler`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerPhase {
    /// Held: its models or image are being brought to its host. Unbilled, holding no GPU.
    Initializing,
    /// Its models are there but the host has no room for it. Unbilled.
    Throttled,
    /// Its process runs but has not asked for work yet. Billed once it has pinged.
    Starting,
    /// It has jobs. Billed.
    Running,
    /// Warm and asking for work. Billed.
    Idle,
    /// Finishing its jobs before it ends. Billed.
    Draining,
    /// It crashed or never became ready. Unbilled.
    Unhealthy,
    /// Ended.
    Stopped,
}

impl WorkerPhase {
    /// Returns whether the worker will never do anything again.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Unhealthy | Self::Stopped => true,
            Self::Initializing
            | Self::Throttled
            | Self::Starting
            | Self::Running
            | Self::Idle
            | Self::Draining => false,
        }
    }

    /// Returns the word that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Throttled => "throttled",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for WorkerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
