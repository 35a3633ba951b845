//! What is known of models on hosts: why they are there or gone, and what an import brought. The same shapes travel
//! from the agent to the server.

use serde::{Deserialize, Serialize};
use types::{EndpointName, HostId, WorkerId};

use super::ModelView;

/// `GET /models/why?reference=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyView {
    /// The model, and where it stands.
    pub model: ModelView,
    /// What became of its pull, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<String>,
    /// Its workers.
    pub workers: Vec<WorkerUse>,
    /// What each host knows of it.
    pub hosts: Vec<HostWhy>,
}

/// A worker that a model is on a host for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerUse {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its endpoint.
    pub endpoint: EndpointName,
    /// Its host.
    pub host: HostId,
    /// What it waits for before it can start, if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// What a host knows of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostWhy {
    /// The host.
    pub host: HostId,
    /// What it knows; nothing when it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<ModelPresence>,
    /// Why it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Whether and why a model is on a host. Moments are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "presence", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ModelPresence {
    /// It is there.
    Here {
        /// Since when it is whole.
        since: String,
        /// Whether it lacks files that were damaged.
        damaged: bool,
        /// The bytes of its files.
        bytes: u64,
        /// The bytes that are free when it goes.
        frees: u64,
        /// Views of it that workers hold.
        leases: u64,
        /// Since when it is kept from eviction, if it is.
        pinned_since: Option<String>,
        /// How it was used, where that is known.
        uses: Option<UsesView>,
        /// How it came, where that is known.
        arrival: Option<ArrivalView>,
        /// When the least recently verified of its files was.
        verified_at: String,
    },
    /// It was there.
    Gone {
        /// When it left.
        at: String,
        /// Why.
        cause: DepartureView,
        /// Since when it had been whole.
        since: String,
        /// The bytes of its files.
        bytes: u64,
        /// Bytes that the disk had free again.
        freed: u64,
        /// How it was used, where that is known.
        uses: Option<UsesView>,
        /// How it had come, where that is known.
        arrival: Option<ArrivalView>,
    },
    /// It was never there, as far as is known.
    Never,
}

/// How a model was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsesView {
    /// How often, its arrival included.
    pub count: u64,
    /// When last.
    pub last_at: String,
}

/// How a model came to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArrivalView {
    /// In which way.
    pub way: ArrivalWay,
    /// From where: each source with the bytes that it gave, or the folder.
    pub from: Vec<ShareView>,
    /// Bytes that were brought for it.
    pub bytes: u64,
    /// Milliseconds that it took.
    pub took: u64,
    /// Bytes a second, when it took any time.
    pub bytes_per_second: Option<u64>,
    /// When it was whole.
    pub at: String,
}

/// In which way a model came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalWay {
    /// Over a network.
    Fetched,
    /// From a folder, as copies.
    Imported,
    /// From a folder, as further names of its files.
    Linked,
}

/// What one source gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// The source.
    pub source: String,
    /// Bytes that it gave.
    pub bytes: u64,
}

/// Why a model left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum DepartureView {
    /// Somebody removed it.
    Removed,
    /// It was evicted.
    Evicted {
        /// The model that needed its room; none when the store was above its mark.
        room_for: Option<String>,
        /// What the policy thought of it.
        score: String,
    },
}

/// `POST /models/import`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportModels {
    /// The folder, as the host sees it.
    pub folder: String,
    /// The hub that its models came from; the configured one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The host; the only one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// Whether files are linked rather than copied.
    #[serde(default)]
    pub link: bool,
}

/// The answer to `POST /models/import`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportView {
    /// The host.
    pub host: HostId,
    /// What came of it.
    #[serde(flatten)]
    pub summary: ImportSummary,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportSummary {
    /// The snapshots of the cache.
    pub snapshots: Vec<SnapshotView>,
    /// Entries that are no model, with why they were left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Bytes that have one more name now.
    pub linked: u64,
    /// Bytes that share their blocks with the cache.
    pub cloned: u64,
    /// Bytes that were copied.
    pub copied: u64,
    /// Bytes that were there already.
    pub already_here: u64,
    /// Milliseconds that it took.
    pub took: u64,
    /// Why it ended before its end, if it did; running it again goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<types::Fault>,
}

/// One snapshot of an imported cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotView {
    /// The repository.
    pub repo: String,
    /// The commit.
    pub commit: String,
    /// Names of the commit in the cache.
    pub refs: Vec<String>,
    /// Its sound files.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
    /// What became of it.
    pub outcome: SnapshotEnd,
    /// What is wrong with it or its files; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaws: Vec<String>,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotEnd {
    /// It is a model of the host now.
    Imported,
    /// It was one before.
    AlreadyHere,
    /// Files of it are missing or damaged; the sound ones are kept for a fetch.
    Incomplete,
    /// Nothing of it was taken.
    Refused,
}
