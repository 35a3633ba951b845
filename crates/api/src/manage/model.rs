//! Models: where they stand on hosts, and what may be done with them.

use base::Redacted;
use serde::{Deserialize, Serialize};
use types::{Commit, EndpointName, Fault, HostId, HubName, ModelRef, RepoName, SelectionKey, WeightsPolicy};
use url::Url;

use super::selection::ChoiceView;

/// How far a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchView {
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<u64>,
    /// Who sends, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Large files that are under way; a bounded number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileView>,
}

/// How far one file of a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileView {
    /// Its path in the repository.
    pub path: String,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes here.
    pub bytes_done: u64,
}

/// `GET /models`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelList {
    /// Models on hosts and models wanted.
    pub models: Vec<ModelView>,
}

/// Where a model stands on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ModelStatus {
    /// On no host, and none fetches it.
    Absent,
    /// Wanted; the fetch has not begun.
    Waiting,
    /// On its way.
    Fetching(FetchView),
    /// Complete and verified.
    Ready,
    /// The last fetch failed.
    Failed {
        /// Why.
        fault: Fault,
        /// When it is tried again, RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<String>,
    },
}

/// A model, as resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelView {
    /// As somebody wrote it.
    pub reference: ModelRef,
    /// The hub.
    pub hub: HubName,
    /// The hub's spelling of the name.
    pub repo: RepoName,
    /// The commit that it was resolved to.
    pub commit: Commit,
    /// Which files were kept.
    pub selection: SelectionKey,
    /// What was chosen, and what stays in the repository.
    #[serde(default)]
    pub choice: ChoiceView,
    /// The sum of its files.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// Where it stands.
    pub status: ModelStatus,
    /// The hosts that hold it.
    pub hosts: Vec<HostId>,
    /// Names of the endpoints that use it.
    pub endpoints: Vec<EndpointName>,
    /// Whether an operator keeps it from eviction.
    #[serde(default)]
    pub pinned: bool,
    /// Where it stands on each host that has to do with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<ModelPlace>,
}

/// Where a model stands on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelPlace {
    /// The host.
    pub host: HostId,
    /// Where it stands there.
    pub status: ModelStatus,
}

/// One event of `GET /models/events?reference=`: the whole present, so that a client that reconnects misses nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelEvent {
    /// Where the model stands.
    pub model: ModelView,
    /// Set in the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<ModelEnd>,
}

/// Why a stream of events ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelEnd {
    /// The model is whole on every connected host that it was to be brought to.
    Ready,
    /// Its fetch failed, and without a person it fails again.
    Failed,
    /// Its fetch was called off.
    Cancelled,
    /// It is on no host and nobody wants it.
    Absent,
}

/// `POST /models/pull`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullModel {
    /// A model reference.
    pub reference: String,
    /// Patterns of paths that are wanted, as Python's `fnmatch` reads them. With patterns no rule chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns of paths that are not wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Whether weights may be pickled. By default they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightsPolicy>,
    /// A hub token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_token: Option<Redacted<String>>,
    /// The address of the hub, when it is not the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<Url>,
    /// Keep it from eviction once it is there.
    #[serde(default)]
    pub pin: bool,
}

/// `DELETE /models?reference=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovedView {
    /// Bytes that are free again on the hosts that could be asked.
    pub freed_bytes: u64,
    /// Those hosts.
    pub hosts: Vec<HostId>,
    /// Hosts that hold it and are away: it stays there until it is evicted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<HostId>,
}

/// `GET /models/path?reference=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelPathView {
    /// The snapshot folder as a worker sees it.
    pub worker_path: String,
    /// The record of it on the host, when a host holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
}

/// `POST /models/verify?reference=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyView {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Paths whose bytes are not what they must be, or are missing.
    pub damaged: Vec<String>,
    /// Hosts that bring the damaged files again; `GET /models/events` tells how far they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairing: Vec<HostId>,
}

/// How far a host is with what it was asked to do, in `progress` events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkView {
    /// The host.
    pub host: HostId,
    /// What it is at: a file's path, say.
    pub at: String,
    /// Files done.
    pub files_done: u64,
    /// Files in all.
    pub files_total: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}
