//! Workers, the timeline of their start, and their logs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{
    EndpointId, EndpointName, Fault, HostId, Isolation, LedgerPhase, StartMark, WorkerId, WorkerPhase,
};

use super::model::FetchView;

/// `GET /workers` and `GET /serverless/{id}/workers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerList {
    /// The workers, newest first; ended ones for a while.
    pub workers: Vec<WorkerView>,
}

/// A worker as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerView {
    /// Its identity.
    pub id: WorkerId,
    /// Its endpoint.
    pub endpoint_id: EndpointId,
    /// Its endpoint's name.
    pub endpoint_name: EndpointName,
    /// The number of its release.
    pub version: u32,
    /// Its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<HostId>,
    /// Where it stands.
    pub phase: WorkerPhase,
    /// How it is kept apart from its host.
    pub isolation: Isolation,
    /// The marks of its start so far.
    pub timeline: Vec<TimelineMark>,
    /// Milliseconds by phase so far.
    pub phases: BTreeMap<LedgerPhase, u64>,
    /// Jobs that it has now.
    pub jobs: Vec<types::JobId>,
    /// The fetch that it is held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchView>,
    /// Why it ended, or why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When it was wanted.
    pub created_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// One mark of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineMark {
    /// What happened.
    pub mark: StartMark,
    /// When, RFC 3339.
    pub at: String,
    /// Milliseconds since the first mark.
    pub after: i64,
}

/// `GET /workers/{id}/logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogList {
    /// The last lines, oldest first.
    pub lines: Vec<LogView>,
}

/// One line of a worker's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// `container` or `system`.
    pub source: String,
    /// The text.
    pub line: String,
    /// When, RFC 3339.
    pub ts: String,
}
