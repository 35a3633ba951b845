//! Hosts, and the folders that are released to them.

use serde::{Deserialize, Serialize};
use types::{HostId, Isolation};

/// `GET /hosts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostList {
    /// The hosts.
    pub hosts: Vec<HostView>,
}

/// A host as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// Its identity.
    pub id: HostId,
    /// Whether its agent is connected.
    pub connected: bool,
    /// How it keeps workers apart.
    pub isolation: Isolation,
    /// Bytes that models take.
    pub cache_bytes: u64,
    /// Bytes that are free.
    pub disk_available: u64,
    /// What else its store has to tell.
    #[serde(default)]
    pub store: StoreView,
    /// Workers on it.
    pub workers: u32,
    /// GPUs.
    pub gpus: Vec<String>,
    /// What an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How the store of a host stands, in bytes where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoreView {
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
    /// Of no whole model.
    pub unreferenced: u64,
    /// Reserved by files that are not whole.
    pub partial: u64,
    /// Models evicted so far.
    pub evictions: u64,
    /// What their eviction freed.
    pub evicted: u64,
    /// Read again by the scrub so far.
    pub scrubbed: u64,
    /// Files that were found damaged so far.
    pub damaged_files: u64,
}

/// `PUT /folders/{digest}` and `GET /folders/{digest}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderView {
    /// The SHA-256 of the archive.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}
