//! What every driver does, in one trait, and the values that pass through it.
//!
//! A driver is given a *resolved start*. It knows nothing of endpoints, models or jobs: names of repositories,
//! billing and scaling stop above this line. It does not decide either: whether a worker should be ended, or
//! started again, is the agent's and the planner's business.
//!
//! ```text
//!            start ──▶ running ──▶ ended ──▶ removed
//!                        ▲   stop, kill, or by itself
//!   adopt (a new agent) ─┘
//! ```

use std::{fmt, future::Future, net::TcpListener, path::PathBuf, pin::Pin, time::Duration};

use base::{Redacted, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use types::{CommandLine, Isolation, WorkerId, WorkerLimits};

use crate::{DriverError, Mount, PythonEnvironment};

/// Events that wait for whoever takes them. Two belong to a worker's whole life, so this is room for the ends of
/// more workers than a host runs; a full channel makes the watcher of one worker wait, and nothing is lost.
pub(crate) const EVENTS_MAX: usize = 1024;

/// What an operation of a [`Driver`] returns: a future on the heap, so that drivers can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a worker may reach anything but its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// A network of its own in which there is only `lo`, with the relay on it.
    None,
    /// The host's network. The relay is one loopback listener that all such workers share.
    Shared,
}

/// Everything that a driver needs to start a worker, with nothing left to look up.
#[derive(Clone, Debug)]
pub struct ResolvedStart {
    /// Its identity: a driver starts each one once.
    pub worker: WorkerId,
    /// What runs. A program without a slash is looked for in `PATH` as the worker sees it.
    pub command: CommandLine,
    /// Its environment. Beside it there is only `PATH`, `HOME` and `LANG`, where these are not given here.
    pub env: Vec<(String, Redacted<String>)>,
    /// More of its environment: each value is the relay's URL followed by this path, because the relay's port is
    /// known only to the driver.
    pub relay_env: Vec<(String, Redacted<String>)>,
    /// The released folder that it starts in, readable by everyone. The worker may write into its own copy.
    pub folder: Option<PathBuf>,
    /// A Python environment whose programs come first.
    pub python: Option<PythonEnvironment>,
    /// What is mounted, in this order ([`crate::mounts`]).
    pub mounts: Vec<Mount>,
    /// Device files of the host that it may use.
    pub devices: Vec<PathBuf>,
    /// What it may use of the host.
    pub limits: WorkerLimits,
    /// What it may reach.
    pub egress: Egress,
}

/// Whether a relay's listener is one worker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelaySharing {
    /// It stands in the worker's own network: only that worker can connect.
    Own,
    /// One socket for every worker with egress; accept on one duplicate of it, the others are the same queue.
    Shared,
}

/// Where a worker finds its relay, and the listening socket behind that address.
///
/// The socket is non-blocking, and the shim keeps a duplicate: connects queue while an agent restarts.
#[derive(Debug)]
pub struct Relay {
    /// The listening socket.
    pub listener: TcpListener,
    /// Its address as the worker sees it, `http://IP:port`.
    pub url: String,
    /// Whether other workers connect to it too.
    pub sharing: RelaySharing,
}

/// The processes behind a worker, as the host numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIds {
    /// The shim that outlives the agent.
    pub shim: u32,
    /// The process whose end is the end of the whole worker: the first of its namespace, or without isolation the
    /// command itself.
    pub init: u32,
}

/// A worker whose command runs.
#[derive(Debug)]
pub struct Started {
    /// Where it finds its relay.
    pub relay: Relay,
    /// Its processes.
    pub processes: ProcessIds,
    /// When the command was executed.
    pub at: Timestamp,
    /// What was asked for and could not be had, in sentences for an operator: limits, above all.
    pub notes: Vec<String>,
}

/// A worker that ran on while its agent was away.
#[derive(Debug)]
pub struct Adopted {
    /// Its identity.
    pub worker: WorkerId,
    /// Where it finds its relay.
    pub relay: Relay,
    /// Its processes.
    pub processes: ProcessIds,
    /// When its command was executed.
    pub started_at: Timestamp,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// Its command returned this code.
    Code(i32),
    /// Its command was ended by this signal, which was not ours.
    Signal(i32),
    /// It needed more memory than it may have.
    OutOfMemory,
    /// It was ended by [`Driver::kill`], or because its grace after [`Driver::stop`] was over.
    Killed,
    /// Its shim is gone and left no word: the machine was restarted, or somebody ended the shim.
    Lost,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("ran out of memory"),
            Self::Killed => f.write_str("was killed"),
            Self::Lost => f.write_str("is gone without a word"),
        }
    }
}

/// What happened to a worker by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverEvent {
    /// Its command was executed.
    ProcessStarted {
        /// The worker.
        worker: WorkerId,
        /// When.
        at: Timestamp,
    },
    /// It ended, with every process of its own.
    Exited {
        /// The worker.
        worker: WorkerId,
        /// How.
        status: ExitReason,
        /// When.
        at: Timestamp,
    },
}

/// Where a line of a log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The worker's standard output.
    Output,
    /// The worker's standard error.
    Error,
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: LogStream,
    /// The line without its end. Bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Starts, ends and finds again the workers of a host.
pub trait Driver: Send + Sync + fmt::Debug {
    /// Finds out how workers are kept apart here.
    ///
    /// # Errors
    /// [`DriverError::NamespacesForbidden`] when the system does not let the driver do its work.
    fn probe(&self) -> BoxFuture<'_, Result<Isolation, DriverError>>;

    /// Starts a worker and returns when its command has been executed.
    ///
    /// # Errors
    /// What could not be found, mounted or executed. Nothing of the worker remains then.
    ///
    /// # Cancel safety
    /// Dropping the future ends what was begun; whether the worker had started is told by no event.
    fn start(&self, start: ResolvedStart) -> BoxFuture<'_, Result<Started, DriverError>>;

    /// Asks a worker to end, and ends it by force after the grace. Its end is an event. A worker that has ended
    /// already is left as it is.
    ///
    /// # Errors
    /// [`DriverError::UnknownWorker`].
    fn stop<'a>(&'a self, worker: &'a WorkerId, grace: Duration) -> BoxFuture<'a, Result<(), DriverError>>;

    /// Ends a worker with all its processes at once. Its end is an event.
    ///
    /// # Errors
    /// [`DriverError::UnknownWorker`].
    fn kill<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>>;

    /// Finds the workers that an earlier driver left running. Those that ended meanwhile come as events. Call it
    /// once, before the first start.
    ///
    /// # Errors
    /// When the place where workers are recorded can't be read.
    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Adopted>, DriverError>>;

    /// Returns the channel of events, the first time that it is asked for.
    fn take_events(&self) -> Option<mpsc::Receiver<DriverEvent>>;

    /// Returns the last lines that a worker wrote, oldest first, also after its end.
    ///
    /// # Errors
    /// [`DriverError::UnknownWorker`].
    fn logs<'a>(
        &'a self,
        worker: &'a WorkerId,
        lines_max: usize,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, DriverError>>;

    /// Removes what is left of a worker that has ended, but for its log. Repeating it is harmless.
    ///
    /// # Errors
    /// [`DriverError::StillRunning`].
    fn strip<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>>;

    /// Forgets a worker that has ended, with its log. Repeating it is harmless.
    ///
    /// # Errors
    /// [`DriverError::StillRunning`].
    fn remove<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>>;
}
