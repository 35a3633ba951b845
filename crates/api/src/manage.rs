//! The management API: endpoints in the shapes of Runpod's REST v2, with what that lacks (models, commands, waits).
//!
//! Durations are milliseconds unless the field's name says seconds; moments are RFC 3339. Unknown fields are refused.

use std::collections::BTreeMap;

use base::Redacted;
use serde::{Deserialize, Serialize};
use types::{
    Commit, EndpointId, EndpointName, Fault, HostId, HubAccess, HubName, Isolation, LedgerPhase, ModelRef,
    ReleaseId, RepoName, SelectionKey, StartMark, WorkerId, WorkerPhase,
};
use url::Url;

use crate::WorkerCounters;

/// `POST /serverless`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateEndpoint {
    /// Its name, unique within the tenant.
    pub name: EndpointName,
    /// The program and arguments of a worker on the host. Exactly one of `command` and `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// A container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The SHA-256 of an uploaded folder archive, in which the command starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// A Python virtual environment on the hosts, whose programs come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Environment of the workers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Redacted<String>>,
    /// Models, in order: the first is `MODEL_NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelBody>,
    /// A hub token. Stored encrypted, never returned, never given to workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_token: Option<Redacted<String>>,
    /// The address of the hub, when it is not the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<Url>,
    /// Whether libraries in the worker may ask the hub. By default offline with models, online without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_access: Option<HubAccess>,
    /// GPUs of a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuBody>,
    /// Numbers of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersBody>,
    /// When further workers start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingBody>,
    /// The longest that one attempt of a job may run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// How long after submission a job is forgotten, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_ttl: Option<u64>,
    /// How long a started process may take to its first take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_timeout: Option<u64>,
}

/// `PATCH /serverless/{id}`: only what is given changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpdateEndpoint {
    /// See [`CreateEndpoint`]. A change of these makes a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Replaces the whole environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, Redacted<String>>>,
    /// Replaces the list of models, which are resolved anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelBody>>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_token: Option<Redacted<String>>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<Url>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_access: Option<HubAccess>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuBody>,
    /// See [`CreateEndpoint`]. Applies at once, as all below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersBody>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingBody>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_ttl: Option<u64>,
    /// See [`CreateEndpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_timeout: Option<u64>,
}

/// One model of an endpoint, as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelBody {
    /// A model reference, kept as text here so that a bad one is answered with its field's name.
    pub reference: String,
}

/// GPUs of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuBody {
    /// Types that will do, best first; empty means any.
    pub pools: Vec<String>,
    /// How many.
    pub count: u32,
}

/// Numbers of workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkersBody {
    /// Workers that always run.
    pub min: Option<u32>,
    /// No more than this many.
    pub max: Option<u32>,
    /// Seconds that a worker stays warm without a job.
    pub idle_timeout: Option<f64>,
}

/// When further workers start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum ScalingBody {
    /// When a job has waited longer.
    QueueDelay {
        /// Seconds, 0.5 or more.
        #[serde(rename = "queueDelay")]
        queue_delay: f64,
    },
    /// Enough workers for so many jobs each.
    RequestCount {
        /// Jobs for one worker, 1 or more.
        #[serde(rename = "requestCount")]
        request_count: u32,
    },
}

/// `GET /serverless`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointList {
    /// The endpoints, by name.
    pub endpoints: Vec<EndpointView>,
}

/// An endpoint as clients see it. No secret is in it: of the environment only the names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// Its identity.
    pub id: EndpointId,
    /// Its name.
    pub name: EndpointName,
    /// `QUEUE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where to send jobs.
    pub request_urls: RequestUrls,
    /// Its present release.
    pub release: ReleaseView,
    /// Names of the variables that its workers get from the owner.
    pub env_names: Vec<String>,
    /// Its models.
    pub models: Vec<ModelView>,
    /// Whether libraries may ask the hub.
    pub hub_access: HubAccess,
    /// The hub's address, when it is the endpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<Url>,
    /// The program of a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The image of a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The released folder's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The Python environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// GPUs of a worker.
    pub gpu: GpuBody,
    /// Numbers of workers.
    pub workers: WorkersBody,
    /// When further workers start.
    pub scaling: ScalingBody,
    /// The longest attempt, in milliseconds.
    pub timeout: u64,
    /// Job retention from submission, in milliseconds.
    pub job_ttl: u64,
    /// The longest start, in milliseconds.
    pub init_timeout: u64,
    /// Workers by state.
    pub worker_counts: WorkerCounters,
    /// What its starts wait for now, or why they fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitView>,
    /// What the owner should know: an isolation of `none`, a `MODEL_NAME` without a model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When it was made.
    pub created_at: String,
}

/// The release of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    /// Its identity.
    pub id: ReleaseId,
    /// Its number, from 1.
    pub version: u32,
    /// When it was made.
    pub created_at: String,
}

/// Where to send jobs of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestUrls {
    /// Asynchronous.
    pub run: String,
    /// Synchronous.
    pub run_sync: String,
    /// State of a job; the id follows.
    pub status: String,
    /// Ends a job; the id follows.
    pub cancel: String,
    /// Counters.
    pub health: String,
}

/// What a queued job or a start waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitView {
    /// In a sentence, for people.
    pub reason: String,
    /// The worker that is being started, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The fetch that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchView>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
}

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
