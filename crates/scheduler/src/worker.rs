//! A worker's life, as a state machine.
//!
//! ```text
//!  Initializing ─ModelReady─► Throttled ─Released─► Launching ─ProcessStarted─► Starting ─Take─► Idle ◄──► Running
//!        ▲                        │                                                                JobGiven/JobEnded
//!        └─────────Moved──────────┘
//!  not yet Launching ─StopRequested─► Stopped
//!  Starting, Idle, Running ─StopRequested, InitTimeout─► Draining ─Exited─► Stopped or Unhealthy
//!  Launching, Starting, Idle, Running ─StartFailed, Exited─► Unhealthy
//!  any ─HostLost─► Stopped
//! ```
//! Every moment from its making to its end belongs to exactly one ledger interval; an interval is emitted when it
//! closes. It does not know which jobs it has, only how many, and it starts no timer: the planner says when a start
//! took too long.

mod fault;
mod step;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use types::{Fault, LedgerPhase, StartMark, WorkerPhase};

use crate::ledger::LedgerInterval;

/// Why a worker ends without having failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was warm without a job for longer than the endpoint allows.
    IdleTimeout,
    /// The endpoint allows fewer workers now.
    OverMax,
    /// The endpoint has a newer release.
    Outdated,
    /// The endpoint was deleted.
    EndpointDeleted,
    /// It had not started yet, and nobody waits for it any more.
    NotNeeded,
    /// It asked to be replaced after a job.
    RefreshAsked,
    /// An operator said so.
    Operator,
    /// Its host was away for too long.
    HostLost,
    /// It asked for work while only jobs waited that it had lost before.
    JobLost,
}

impl StopReason {
    /// Returns the words that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle timeout",
            Self::OverMax => "over the maximum",
            Self::Outdated => "outdated release",
            Self::EndpointDeleted => "endpoint deleted",
            Self::NotNeeded => "no longer needed",
            Self::RefreshAsked => "refresh asked by the worker",
            Self::Operator => "stopped by an operator",
            Self::HostLost => "host lost",
            Self::JobLost => "replaced after it lost a job",
        }
    }
}

/// How a worker's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Exit {
    /// By itself.
    Code {
        /// Its exit code.
        code: i32,
    },
    /// By a signal.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Killed because it, or its host, was out of memory.
    OutOfMemory,
    /// Nobody saw how.
    Unknown,
}

/// What a draining worker becomes when its process has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum Ending {
    /// It stops, having done what it should.
    Stopped {
        /// Why it was ended.
        reason: StopReason,
    },
    /// It counts as crashed.
    Unhealthy {
        /// What went wrong.
        fault: Fault,
    },
}

/// Where a worker stands, with what belongs to it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WorkerState {
    /// Held: its models are not all on its host. Holds no room there.
    Initializing {
        /// Why the last fetch for it failed, until the next one advances.
        fault: Option<Fault>,
    },
    /// Its models are there; it waits for room. Holds none.
    Throttled {
        /// Since when.
        since: Timestamp,
    },
    /// Its host was told to start it. Holds its room from here on.
    Launching {
        /// Since when.
        since: Timestamp,
    },
    /// Its process runs and has not asked for work yet.
    Starting {
        /// When the process started: the init timeout runs from here.
        started_at: Timestamp,
        /// When it first pinged, if it has.
        first_ping: Option<Timestamp>,
        /// What it said is wrong with it, if it did.
        complaint: Option<String>,
    },
    /// Warm and asking for work.
    Idle {
        /// Since when: the idle timeout runs from here.
        since: Timestamp,
    },
    /// It has jobs.
    Running {
        /// How many, 1 or more.
        jobs: u32,
    },
    /// It gets no more jobs and ends when it has none.
    Draining {
        /// How many it still has.
        jobs: u32,
        /// What it becomes then.
        ending: Ending,
    },
    /// Ended.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// Ended by a failure.
    Unhealthy {
        /// Which.
        fault: Fault,
    },
}

/// A worker as its state machine sees it.
///
/// Invariant: `interval_from` is where the last emitted interval ended, and time never runs backwards in intervals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    state: WorkerState,
    interval_from: Timestamp,
    pinged: bool,
    done_once: bool,
}

/// What happens to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// Its agent began to fetch what is missing.
    FetchStarted,
    /// The fetch that it waits for advances.
    FetchProgress,
    /// The fetch that it waits for failed; it will be tried again.
    FetchFailed(Fault),
    /// All its models are on its host, verified.
    ModelReady,
    /// The plan gave it another host, where it is held again.
    Moved,
    /// There is room and the process may start.
    Released,
    /// Its models stand in its view.
    ViewMounted,
    /// Its process runs.
    ProcessStarted,
    /// The driver could not start it.
    StartFailed(Fault),
    /// It pinged.
    Ping,
    /// It pinged to say that a check of its own failed.
    Complained(String),
    /// It asked for work.
    Take,
    /// It was given a job.
    JobGiven,
    /// One of its jobs ended with a result.
    JobEnded,
    /// One of its jobs was taken from it: cancelled, timed out, vanished.
    JobDropped,
    /// It is to end.
    StopRequested(StopReason),
    /// Its process ended.
    Exited {
        /// How.
        exit: Exit,
        /// What it printed last, oldest first, for whoever asks why.
        last_lines: Vec<String>,
    },
    /// It took too long from its process's start to its first take.
    InitTimeout,
    /// Its host is lost; it was last known to be well then.
    HostLost(Timestamp),
    /// Its host is back and says that it still has it.
    HostReturned,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEffect {
    /// Append to the ledger.
    Interval(LedgerInterval),
    /// Note in the start's timeline.
    Mark(StartMark, Timestamp),
    /// Answer its open polls with nothing, and give it no more jobs.
    ReleasePolls,
    /// Ask the process to end, and kill it after grace.
    EndProcess,
    /// Its jobs have lost their worker.
    JobsLost(Fault),
    /// Count a crash of the endpoint.
    CrashCounted(Fault),
    /// Forget the endpoint's crashes: a worker of it did its work.
    CrashesForgotten,
}

impl Worker {
    /// Makes a worker whose models are still to be brought to its host.
    pub const fn held(now: Timestamp) -> Self {
        Self::new(WorkerState::Initializing { fault: None }, now)
    }

    /// Makes a worker whose models are there but whose host has no room.
    pub const fn throttled(now: Timestamp) -> Self {
        Self::new(WorkerState::Throttled { since: now }, now)
    }

    /// Makes a worker that its host starts at once.
    pub const fn launching(now: Timestamp) -> Self {
        Self::new(WorkerState::Launching { since: now }, now)
    }

    const fn new(state: WorkerState, now: Timestamp) -> Self {
        Self { state, interval_from: now, pinged: false, done_once: false }
    }

    /// Returns where it stands.
    pub const fn state(&self) -> &WorkerState {
        &self.state
    }

    /// Returns its phase, as everyone else calls it.
    pub const fn phase(&self) -> WorkerPhase {
        match &self.state {
            WorkerState::Initializing { .. } | WorkerState::Launching { .. } => WorkerPhase::Initializing,
            WorkerState::Throttled { .. } => WorkerPhase::Throttled,
            WorkerState::Starting { .. } => WorkerPhase::Starting,
            WorkerState::Idle { .. } => WorkerPhase::Idle,
            WorkerState::Running { .. } => WorkerPhase::Running,
            WorkerState::Draining { .. } => WorkerPhase::Draining,
            WorkerState::Stopped { .. } => WorkerPhase::Stopped,
            WorkerState::Unhealthy { .. } => WorkerPhase::Unhealthy,
        }
    }

    /// Returns what its time since [`Self::interval_from`] is, or none when it has ended.
    ///
    /// For a process that has not pinged yet this is a forecast: it becomes `Starting` with the first ping.
    pub const fn ledger_phase(&self) -> Option<LedgerPhase> {
        match &self.state {
            WorkerState::Initializing { .. } | WorkerState::Launching { .. } => {
                Some(LedgerPhase::Initializing)
            }
            WorkerState::Throttled { .. } => Some(LedgerPhase::Throttled),
            WorkerState::Starting { .. } if self.pinged => Some(LedgerPhase::Starting),
            WorkerState::Draining { .. } if self.pinged => Some(LedgerPhase::Draining),
            WorkerState::Starting { .. } | WorkerState::Draining { .. } => Some(LedgerPhase::Unhealthy),
            WorkerState::Idle { .. } => Some(LedgerPhase::Idle),
            WorkerState::Running { .. } => Some(LedgerPhase::Executing),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => None,
        }
    }

    /// Returns since when its time is in no emitted interval yet; for an ended worker, its end.
    pub const fn interval_from(&self) -> Timestamp {
        self.interval_from
    }

    /// Returns whether it holds room on its host: a process runs, or its host was told to start one.
    pub const fn holds_room(&self) -> bool {
        match &self.state {
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Stopped { .. }
            | WorkerState::Unhealthy { .. } => false,
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => true,
        }
    }

    /// Returns whether its start is held: it waits for bytes or for room.
    pub const fn is_held(&self) -> bool {
        matches!(self.state, WorkerState::Initializing { .. } | WorkerState::Throttled { .. })
    }

    /// Returns whether it does or will do work: neither ending nor ended.
    pub const fn is_live(&self) -> bool {
        match &self.state {
            WorkerState::Draining { .. } | WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => {
                false
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. } => true,
        }
    }

    /// Returns whether it is on its way: live, and not asking for work yet.
    pub const fn is_coming(&self) -> bool {
        match &self.state {
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. } => true,
            WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Stopped { .. }
            | WorkerState::Unhealthy { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
