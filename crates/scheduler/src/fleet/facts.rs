//! The facts that the planner goes by, as plain values.

use std::collections::BTreeSet;

use base::{ByteSize, Timestamp};
use serde::{Deserialize, Serialize};
use types::{
    EndpointId, GpuNeed, HostCapacity, HostId, Launch, ModelKey, ReleaseId, Scaler, Scaling, TenantId,
    WorkerSpec,
};

use super::SharedNeed;
use crate::{crash::Crashes, fetch::FetchState, worker::Worker};

/// Whether a host's agent is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "link", rename_all = "snake_case")]
pub enum Link {
    /// It is, and has told its present state.
    Connected,
    /// It is not.
    Away {
        /// When it was last heard of.
        since: Timestamp,
    },
}

/// Whether a host takes new workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cordon {
    /// It does.
    Open,
    /// It keeps what it has and gets nothing new.
    Cordoned,
}

/// The kinds of [`Launch`] that a host's drivers can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchKind {
    /// A command in namespaces of its own.
    Command,
    /// A container image.
    Image,
}

impl From<&Launch> for LaunchKind {
    fn from(launch: &Launch) -> Self {
        match launch {
            Launch::Command { .. } => Self::Command,
            Launch::Image { .. } => Self::Image,
        }
    }
}

/// Room for models on a host's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRoom {
    /// Bytes that may be written without removing anything.
    pub free: ByteSize,
    /// Bytes that may be removed: neither leased nor pinned.
    pub evictable: ByteSize,
}

/// What is known of a host beside its models and workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// What it has in all.
    pub capacity: HostCapacity,
    /// What its drivers can start.
    pub launches: BTreeSet<LaunchKind>,
    /// Whether its agent is connected.
    pub link: Link,
    /// Whether it takes new workers.
    pub cordon: Cordon,
    /// Bytes per second that it was seen to fetch from the hub.
    pub hub_rate_bytes: Option<u64>,
    /// Room for models on its disk.
    pub cache: CacheRoom,
}

/// Whether a model is to be on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desire {
    /// Nobody asks for it; what is there may be evicted.
    None,
    /// For as long as a worker on the host needs it.
    ForWorkers,
    /// Until an operator says otherwise.
    ByOperator,
}

/// A model on one host, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostModel {
    /// The sum of its files.
    pub total: ByteSize,
    /// Whether it is to be there.
    pub desire: Desire,
    /// Where it stands.
    pub state: FetchState,
}

/// One model that a worker needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelNeed {
    /// Which.
    pub key: ModelKey,
    /// The sum of its files.
    pub total: ByteSize,
}

/// What a worker of a release needs of its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerNeed {
    /// How it is started.
    pub launch: LaunchKind,
    /// Models that must be there first.
    pub models: Vec<ModelNeed>,
    /// GPUs.
    pub gpu: GpuNeed,
    /// Memory that is set aside for it; zero when it has no limit.
    pub memory: ByteSize,
}

impl From<&WorkerSpec> for WorkerNeed {
    fn from(spec: &WorkerSpec) -> Self {
        Self {
            launch: LaunchKind::from(&spec.launch),
            models: spec
                .models
                .iter()
                .map(|model| ModelNeed { key: model.key.clone(), total: model.bytes })
                .collect(),
            gpu: spec.gpu.clone(),
            memory: spec.limits.memory.unwrap_or_default(),
        }
    }
}

/// What waits for an endpoint's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Jobs of normal priority in queue.
    pub queued: u32,
    /// Jobs of low priority in queue.
    pub queued_low: u32,
    /// Since when the job of normal priority waits that has waited longest.
    pub oldest_since: Option<Timestamp>,
    /// Jobs of normal priority that are with workers.
    pub in_progress: u32,
}

/// Whether an endpoint stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It does.
    Active,
    /// It goes when its last worker has.
    Deleting,
}

/// What is known of an endpoint beside its workers.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointFacts {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its present release.
    pub release: ReleaseId,
    /// What a worker of that release needs.
    pub need: SharedNeed,
    /// How it scales.
    pub scaling: Scaling,
    /// Whether it stays.
    pub lifecycle: Lifecycle,
    /// What waits for it.
    pub demand: Demand,
    /// Crashes in a row, if there are any.
    pub crashes: Option<Crashes>,
}

impl EndpointFacts {
    /// Returns whether a change of some host may help it: a start is held, or it may want more workers.
    pub(super) fn is_hungry<'a>(&self, workers: impl Iterator<Item = &'a WorkerFacts>) -> bool {
        let mut live = 0;
        for facts in workers {
            if facts.worker.is_held() {
                return true;
            }
            live += u32::from(facts.worker.is_live() && facts.release == self.release);
        }
        let counted = match self.scaling.scaler {
            Scaler::QueueDelay { .. } => self.demand.queued,
            Scaler::RequestCount { .. } => self.demand.queued.saturating_add(self.demand.in_progress),
        };
        let some_wait = counted > 0 && live < self.scaling.workers_max;
        self.lifecycle == Lifecycle::Active && (some_wait || live < self.scaling.workers_min)
    }
}

/// What is known of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerFacts {
    /// The endpoint that it works for.
    pub endpoint: EndpointId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The release that it runs.
    pub release: ReleaseId,
    /// What it needs.
    pub need: SharedNeed,
    /// The host that it is on, or is to be on.
    pub host: HostId,
    /// The GPUs that it holds, by the vendor's ids; empty while its start is held.
    pub gpus: Vec<String>,
    /// When it was wanted first: held starts are released in this order.
    pub created_at: Timestamp,
    /// Where it stands.
    pub worker: Worker,
}
