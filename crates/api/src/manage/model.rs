//! Models: where they stand on hosts, and what may be done with them.

use base::Redacted;
use serde::{Deserialize, Serialize};
use types::{Commit, EndpointName, Fault, HostId, HubName, ModelRef, RepoName, SelectionKey};
use url::Url;

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
}

/// `GET /models`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelList {
    /// Models on hosts and models wanted.
    pub models: Vec<ModelView>,
}

/// Where a model stands on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
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
}

/// `POST /models/pull`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullModel {
    /// A model reference.
    pub reference: String,
    /// A hub token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_token: Option<Redacted<String>>,
    /// The address of the hub, when it is not the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<Url>,
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
}
