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
    /// Workers on it.
    pub workers: u32,
    /// GPUs.
    pub gpus: Vec<String>,
    /// What an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `PUT /folders/{digest}` and `GET /folders/{digest}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderView {
    /// The SHA-256 of the archive.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}
