//! What is on a host, whole.

use std::collections::BTreeMap;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use types::{Fault, JobId, ModelKey, Stamp, StartMark, WorkerId};

/// What is on a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observed {
    /// The newest desired state that was taken up.
    pub stamp: Stamp,
    /// The host.
    pub host: HostReport,
    /// Models that are desired or held.
    pub models: Vec<ModelReport>,
    /// Workers that are desired or still there.
    pub workers: Vec<WorkerReport>,
}

/// How a host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Room on the store's disk.
    pub disk: DiskRoom,
    /// Bytes that published blobs take.
    pub cache_bytes: u64,
    /// What else the store has to tell.
    #[serde(default)]
    pub store: StoreReport,
}

/// How the store of a host stands, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreReport {
    /// The most that models may take.
    pub limit: u64,
    /// What of the disk is left free.
    pub floor: u64,
    /// May be written without removing anything.
    pub free: u64,
    /// May be evicted for something else.
    pub evictable: u64,
    /// Kept by a pin.
    pub pinned: u64,
    /// Kept because a worker sees it.
    pub leased: u64,
    /// Of no whole model: files of fetches that go on or were given up.
    pub unreferenced: u64,
    /// Reserved by files that are not whole.
    pub partial: u64,
    /// Models evicted so far.
    pub evictions: u64,
    /// What their eviction freed.
    pub evicted: u64,
    /// Read again by the present round of the scrub.
    pub scrubbed: u64,
    /// When the last round of the scrub was complete.
    pub scrub_completed_at: Option<Timestamp>,
    /// Files that a scrub or a verification found damaged so far.
    pub damaged_files: u64,
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRoom {
    /// In all.
    pub total: u64,
    /// Free for us.
    pub available: u64,
}

/// Where a model stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The model.
    pub key: ModelKey,
    /// Where it stands.
    pub state: ModelState,
    /// Bytes of it that are verified here.
    pub bytes_here: u64,
}

/// Where a model stands on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// The fetch has not begun, and why.
    Pending(String),
    /// On its way.
    Fetching(FetchProgress),
    /// Complete, verified, published.
    Ready {
        /// Since when.
        since: Timestamp,
        /// When its fetch began, if this agent fetched it.
        fetch_started_at: Option<Timestamp>,
        /// Bytes that came over the network for it.
        bytes_fetched: u64,
        /// Milliseconds that the fetch took.
        fetch_millis: u64,
    },
    /// The last try failed; the agent tries again by itself.
    Failed {
        /// Why.
        fault: Fault,
        /// How often in a row.
        failures: u32,
        /// When it is tried again.
        retry_at: Timestamp,
    },
}

/// How far a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchProgress {
    /// When it began.
    pub started_at: Timestamp,
    /// Files in all.
    pub files_total: u64,
    /// Files verified and published.
    pub files_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes here.
    pub bytes_done: u64,
    /// Bytes a second of late.
    pub bytes_per_second: u64,
    /// Milliseconds left at that rate, when known.
    pub eta_millis: Option<u64>,
    /// Who sends, by name.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Large files that are under way; a bounded number.
    #[serde(default)]
    pub files: Vec<FileProgress>,
}

/// How far one file of a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProgress {
    /// Its path in the repository.
    pub path: String,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes here.
    pub bytes_done: u64,
}

/// Where a worker stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub worker: WorkerId,
    /// Where it stands.
    pub state: WorkerState,
    /// Marks of its start that happened on the host.
    pub marks: BTreeMap<StartMark, Timestamp>,
    /// When it last pinged.
    pub last_ping_at: Option<Timestamp>,
    /// Jobs in its last ping.
    pub pinged_jobs: Vec<JobId>,
}

/// Where a worker stands on its host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Not started, and why.
    Pending(String),
    /// Its process runs.
    Alive,
    /// It could not be started.
    Failed(Fault),
    /// It ended.
    Ended {
        /// How.
        reason: EndReason,
        /// When its last process was gone.
        at: Timestamp,
        /// Its last log lines, for people who ask why.
        last_lines: Vec<String>,
    },
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// We asked it to.
    Stopped,
    /// It exited by itself with this code.
    Exited(i32),
    /// A signal that we did not send ended it.
    Signalled(i32),
    /// It used more memory than allowed.
    OutOfMemory,
    /// It was gone when the agent came back.
    Vanished,
}
