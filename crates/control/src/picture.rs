//! What the owner keeps in memory: entries for endpoints, jobs, workers and hosts, and how they become rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::{Answer, Observed, WorkProgress};
use base::{Redacted, Timestamp};
use scheduler::{Crashes, Job, LaunchKind, ModelNeed, Place, Priority, SharedNeed, Worker, WorkerNeed};
use serde_json::value::RawValue;
use state::{EndpointRow, HostRow, JobPayload, JobRow, ReleaseRow, WorkerRow};
use tokio::sync::{oneshot, watch};
use types::{
    EndpointId, EndpointName, Epoch, Fault, HostCapacity, HostId, JobId, LedgerPhase, ReleaseId, SecretRef,
    Stamp, StartMark, TenantId, WorkerId,
};

use crate::link::LinkSender;

/// An immutable version of an endpoint, with its environment in memory.
#[derive(Debug)]
pub(crate) struct ReleaseEntry {
    pub(crate) row: ReleaseRow,
    pub(crate) env: BTreeMap<String, Redacted<String>>,
    pub(crate) need: SharedNeed,
}

impl ReleaseEntry {
    pub(crate) fn new(row: ReleaseRow, env: BTreeMap<String, Redacted<String>>) -> Self {
        let models = row.models.iter().map(|model| ModelNeed { key: model.key.clone(), total: model.bytes });
        let need = WorkerNeed {
            launch: LaunchKind::from(&row.launch),
            models: models.collect(),
            gpu: row.gpu.clone(),
            memory: row.limits.memory.unwrap_or_default(),
        };
        Self { row, env, need: Arc::new(need) }
    }
}

/// An endpoint.
#[derive(Debug)]
pub(crate) struct EndpointEntry {
    /// Without `crashes`, which stand beside it; [`EndpointEntry::row`] is what is written.
    pub(crate) row: EndpointRow,
    pub(crate) releases: BTreeMap<ReleaseId, Arc<ReleaseEntry>>,
    /// Jobs with workers.
    pub(crate) in_progress: u32,
    pub(crate) crashes: Option<Crashes>,
}

impl EndpointEntry {
    /// Returns its present release.
    pub(crate) fn release(&self) -> &Arc<ReleaseEntry> {
        self.releases.get(&self.row.release).expect("an endpoint is kept with its present release")
    }

    pub(crate) fn row(&self) -> EndpointRow {
        let crashes = self.crashes.as_ref();
        let crashes =
            crashes.map(|crashes| serde_json::to_value(crashes).expect("a count, a moment and a text"));
        EndpointRow { crashes, ..self.row.clone() }
    }
}

/// A job.
#[derive(Debug)]
pub(crate) struct JobEntry {
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: EndpointId,
    pub(crate) place: Place,
    pub(crate) priority: Priority,
    pub(crate) machine: Job,
    pub(crate) epoch: Epoch,
    pub(crate) forget_at: Option<Timestamp>,
    /// Kept for small payloads while the job waits; others are read when they are needed.
    pub(crate) payload: Option<Arc<JobPayload>>,
    /// The latest progress of the present attempt.
    pub(crate) progress: Option<Box<RawValue>>,
    /// Chunks of the stream that are committed or about to be.
    pub(crate) chunks: u32,
    /// Chunks that a reader has been given.
    pub(crate) chunks_read: u32,
    /// Counts changes, for those who wait for one.
    pub(crate) changed: watch::Sender<u64>,
}

impl JobEntry {
    pub(crate) fn row(&self, job: &JobId) -> JobRow {
        JobRow {
            tenant: self.tenant.clone(),
            job: job.clone(),
            endpoint: self.endpoint.clone(),
            place: self.place.0,
            low_priority: self.priority == Priority::Low,
            machine: serde_json::to_value(&self.machine).expect("a state machine is plain data"),
            epoch: self.epoch,
            forget_at: self.forget_at,
        }
    }
}

/// A worker, also for a while after its end.
#[derive(Debug)]
pub(crate) struct WorkerEntry {
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: EndpointId,
    /// Also shown when the endpoint is gone.
    pub(crate) endpoint_name: EndpointName,
    pub(crate) release: Arc<ReleaseEntry>,
    pub(crate) host: HostId,
    pub(crate) gpus: Vec<String>,
    pub(crate) machine: Worker,
    pub(crate) marks: BTreeMap<StartMark, Timestamp>,
    /// Milliseconds of closed intervals, by phase.
    pub(crate) phases: BTreeMap<LedgerPhase, u64>,
    /// Bytes fetched for its start that stand in no interval yet.
    pub(crate) fetched_bytes: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// Jobs that it has, as far as is known.
    pub(crate) jobs: BTreeSet<JobId>,
    /// Those of them that it was told to stop, and when.
    pub(crate) stopping: BTreeMap<JobId, Timestamp>,
    /// Since which desired state its host is told to run it: a host that has taken that up and does not list it has
    /// lost it.
    pub(crate) run_since: Option<Stamp>,
}

impl WorkerEntry {
    pub(crate) fn row(&self, worker: &WorkerId) -> WorkerRow {
        WorkerRow {
            tenant: self.tenant.clone(),
            worker: worker.clone(),
            endpoint: self.endpoint.clone(),
            release: self.release.row.release.clone(),
            host: self.host.clone(),
            gpus: self.gpus.clone(),
            machine: serde_json::to_value(&self.machine).expect("a state machine is plain data"),
            marks: self.marks.clone(),
            phases: self.phases.clone(),
            created_at: self.created_at,
            ended_at: self.ended_at,
        }
    }
}

/// The link with one host's agent.
#[derive(Debug)]
pub(crate) struct LinkEntry {
    /// Tells this link from earlier ones of the same host.
    pub(crate) number: u64,
    pub(crate) sender: LinkSender,
    /// Whether the agent has reported once: only then is it known what it still has.
    pub(crate) synced: bool,
    /// The desired state that was sent last, without its stamp.
    pub(crate) sent: Option<String>,
    pub(crate) stamp: Stamp,
    pub(crate) secrets_sent: BTreeSet<SecretRef>,
    pub(crate) questions: BTreeMap<u64, PendingQuestion>,
}

/// A question that was not answered yet.
#[derive(Debug)]
pub(crate) struct PendingQuestion {
    pub(crate) answer: oneshot::Sender<Result<Answer, Fault>>,
    pub(crate) progress: watch::Sender<WorkProgress>,
}

impl Drop for LinkEntry {
    /// Whoever forgets a link ends it: also the owner that ends, whose agents must dial the next one.
    fn drop(&mut self) {
        self.sender.end();
    }
}

/// A host.
#[derive(Debug)]
pub(crate) struct HostEntry {
    pub(crate) capacity: HostCapacity,
    pub(crate) acknowledged: u64,
    pub(crate) seen_at: Timestamp,
    pub(crate) link: Option<LinkEntry>,
    pub(crate) observed: Observed,
}

impl HostEntry {
    pub(crate) fn row(&self, host: &HostId) -> HostRow {
        HostRow {
            host: host.clone(),
            capacity: self.capacity.clone(),
            acknowledged: self.acknowledged,
            seen_at: self.seen_at,
        }
    }
}
