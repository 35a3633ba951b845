//! What endpoints used, by phase.

use serde::{Deserialize, Serialize};
use types::{EndpointId, LedgerPhase};

/// `GET /usage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageView {
    /// One record for each endpoint.
    pub records: Vec<UsageRecord>,
}

/// What an endpoint used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecord {
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// Its name; empty once it is deleted.
    pub endpoint_name: String,
    /// Workers that took part.
    pub workers: u64,
    /// Seconds billed, rounded up for each worker.
    pub billed_seconds: u64,
    /// Bytes fetched for its starts.
    pub fetched_bytes: u64,
    /// By phase.
    pub phases: Vec<UsagePhase>,
}

/// Time in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsagePhase {
    /// The phase.
    pub phase: LedgerPhase,
    /// Exact seconds.
    pub seconds: f64,
    /// Whether they are billed.
    pub billed: bool,
}
