//! Endpoints: what an owner writes and sees.

use std::collections::BTreeMap;

use base::Redacted;
use serde::{Deserialize, Serialize};
use types::{EndpointId, EndpointName, Fault, HubAccess, ReleaseId, WeightsPolicy, WorkerId};
use url::Url;

use super::model::{FetchView, ModelView};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelBody {
    /// A model reference, kept as text here so that a bad one is answered with its field's name.
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
