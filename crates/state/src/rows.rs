//! Rows: what stands in the database, as plain values. Apart from the domain and from the wire, so that each can
//! change alone. Every row that belongs to somebody carries its tenant.

use std::collections::{BTreeMap, BTreeSet};

use base::{Redacted, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::{
    Choice, EndpointId, EndpointName, Epoch, GpuNeed, HostCapacity, HostId, HubAccess, JobId, KeyId, Launch,
    LedgerPhase, ModelKey, ModelRef, ReleaseId, ReleaseModel, RepoId, Scaling, SecretRef, StartMark,
    TenantId, WorkerId, WorkerLimits,
};
use url::Url;

use crate::KeyHash;

/// An owner of endpoints, keys and grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRow {
    /// Its identity.
    pub tenant: TenantId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Everything of its tenant.
    Admin,
    /// Sending jobs and looking at them.
    Invoke,
    /// Looking.
    Read,
}

/// An access key, of which only a hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its identity.
    pub key: KeyId,
    /// The keyed hash of its text.
    pub hash: KeyHash,
    /// What it allows.
    pub scopes: BTreeSet<KeyScope>,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A secret in clear, on its way into or out of the database. In the database it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its reference.
    pub secret: SecretRef,
    /// Its value.
    pub value: Redacted<String>,
}

/// An endpoint without its releases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its identity.
    pub endpoint: EndpointId,
    /// Its name.
    pub name: EndpointName,
    /// What applies without a release.
    pub scaling: Scaling,
    /// Its present release.
    pub release: ReleaseId,
    /// Jobs that ended and were handed over again, since it was made.
    pub tally: JobTally,
    /// What is remembered of workers that crashed in a row, as its owner writes it: the pause outlives a restart.
    #[serde(default)]
    pub crashes: Option<serde_json::Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted: it goes when its last worker has.
    pub deleted_at: Option<Timestamp>,
}

/// Counts of an endpoint's jobs since it was made; they outlive the jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTally {
    /// Ended with an output.
    pub completed: u64,
    /// Ended with an error or by a limit of time.
    pub failed: u64,
    /// Handed over more than once.
    pub retried: u64,
}

/// An immutable version of an endpoint's spec. Values of the environment are in a secret, names are here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its identity.
    pub release: ReleaseId,
    /// Its number within the endpoint.
    pub version: u32,
    /// What runs.
    pub launch: Launch,
    /// The secret whose value is a JSON object: the environment that the owner set.
    pub env: Option<SecretRef>,
    /// Its models, in the owner's order.
    pub models: Vec<ReleaseModel>,
    /// The secret of the owner's hub token.
    pub hub_token: Option<SecretRef>,
    /// Whether libraries may ask the hub.
    pub hub_access: HubAccess,
    /// The hub's address, when the endpoint names one of its own.
    pub hub_endpoint: Option<Url>,
    /// GPUs of a worker.
    pub gpu: GpuNeed,
    /// Limits of a worker.
    pub limits: WorkerLimits,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A job without its payload and its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its identity.
    pub job: JobId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its place in the order of submissions.
    pub place: u64,
    /// Whether it causes no further worker to start.
    pub low_priority: bool,
    /// The machine that moves it, with its latest hand-overs, as its owner writes it.
    pub machine: serde_json::Value,
    /// Whose term its latest hand-over was made in.
    pub epoch: Epoch,
    /// When it is forgotten, once it has ended.
    pub forget_at: Option<Timestamp>,
}

/// What a job brings to its worker. The credentials for an object store are sealed in the database.
#[derive(Clone, Debug)]
pub struct JobPayload {
    /// What the handler gets, as it was sent.
    pub input: Box<RawValue>,
    /// Where to post the ended job.
    pub webhook: Option<String>,
    /// Credentials that the worker uses itself: JSON text.
    pub s3_config: Option<Redacted<String>>,
}

/// What a job ended with, to the letter.
#[derive(Clone, Debug)]
pub struct OutputRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// The handler's output.
    pub output: Option<Box<RawValue>>,
    /// The handler's error text.
    pub error: Option<String>,
}

/// A chunk of a stream.
#[derive(Clone, Debug)]
pub struct ChunkRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// Its number within the attempt, from 0.
    pub index: u32,
    /// The chunk.
    pub output: Box<RawValue>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its identity.
    pub worker: WorkerId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its release.
    pub release: ReleaseId,
    /// The host that it is on, or is to be on.
    pub host: HostId,
    /// GPUs that it is assigned, by UUID.
    pub gpus: Vec<String>,
    /// The machine that moves it, as its owner writes it.
    pub machine: serde_json::Value,
    /// Marks of its start.
    pub marks: BTreeMap<StartMark, Timestamp>,
    /// Milliseconds by phase, of the intervals that are closed.
    pub phases: BTreeMap<LedgerPhase, u64>,
    /// When it was wanted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A stretch of a worker's time. Written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The worker.
    pub worker: WorkerId,
    /// What the time was.
    pub phase: LedgerPhase,
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// Bytes that were fetched for the worker in it.
    pub fetched_bytes: u64,
}

/// A model that somebody asked to have on the hosts, apart from any endpoint. Its row stays when that is done, and
/// when it is undone: it is how the model is still known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The model.
    pub key: ModelKey,
    /// As they wrote it.
    pub reference: ModelRef,
    /// Which of its files, by whose word, and whether some are pickled.
    #[serde(default)]
    pub choice: Choice,
    /// The hub's address.
    pub hub_endpoint: Url,
    /// The token to fetch it with.
    pub token: Option<SecretRef>,
    /// When they asked.
    pub created_at: Timestamp,
    /// What became of it.
    #[serde(default = "long_satisfied")]
    pub standing: PullStanding,
    /// Whether it is kept from eviction where it is.
    #[serde(default)]
    pub retention: Retention,
}

/// What rows say that were written before they told: models that came long ago.
fn long_satisfied() -> PullStanding {
    PullStanding::Satisfied { at: Timestamp::EPOCH }
}

/// What became of a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum PullStanding {
    /// The model is brought to these hosts: those that do not have it yet. None: to the first host that joins.
    Wanted {
        /// The hosts.
        hosts: BTreeSet<HostId>,
    },
    /// It came to every one of them, and is a cached model like any other since then.
    Satisfied {
        /// Since when.
        at: Timestamp,
    },
    /// Somebody called the fetch off.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Somebody removed it from the hosts.
    Removed {
        /// When.
        at: Timestamp,
    },
}

/// Whether a model that nobody uses may be evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// It may.
    #[default]
    Evictable,
    /// An operator's word keeps it.
    Pinned,
}

/// A tenant's proven right to read a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The repository.
    pub repo: RepoId,
    /// When the right was proved last.
    pub proved_at: Timestamp,
}

/// A released folder's archive, which stands in a file named by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The SHA-256 of the archive, in hex.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
    /// When it was put.
    pub created_at: Timestamp,
}

/// A host that has dialled in once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// Its identity.
    pub host: HostId,
    /// What it has.
    pub capacity: HostCapacity,
    /// The highest of its job events that is committed.
    pub acknowledged: u64,
    /// When its agent was heard last, to the precision of a commit.
    pub seen_at: Timestamp,
}
