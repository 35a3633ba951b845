//! What should be on a host, whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use types::{
    EndpointId, EndpointName, HubAccess, HubName, Launch, Manifest, ModelKey, ModelRef, ReleaseId, Revision,
    SecretRef, Stamp, TenantId, WorkerId, WorkerLimits,
};
use url::Url;

/// What should be on a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Desired {
    /// Orders desired states; an agent refuses an older one.
    pub stamp: Stamp,
    /// Models that should be there.
    pub models: Vec<DesiredModel>,
    /// Workers that should be there. One that is not listed should not run.
    pub workers: Vec<DesiredWorker>,
    /// Models that are not to be evicted while they are there.
    #[serde(default)]
    pub pins: BTreeSet<ModelKey>,
    /// Models of this host that others hold too, sorted by key: what is elsewhere is cheaper to lose.
    #[serde(default)]
    pub copies: Vec<ModelCopies>,
}

/// How often a model is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCopies {
    /// The model.
    pub key: ModelKey,
    /// Other hosts that hold it, whole.
    pub hosts: u32,
}

/// A model that should be on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DesiredModel {
    /// Its files.
    pub manifest: Manifest,
    /// Where the hub answers.
    pub hub_endpoint: Url,
    /// Whether the operator trusts the hub to say what bytes a name has (the store's trust rule).
    pub hub_trusted: bool,
    /// For whom it is fetched.
    pub tenant: TenantId,
    /// The token to fetch it with.
    pub token: Option<SecretRef>,
}

/// A worker that should be on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DesiredWorker {
    /// Its identity.
    pub worker: WorkerId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its endpoint's name.
    pub endpoint_name: EndpointName,
    /// Its release.
    pub release: ReleaseId,
    /// What should be done with it.
    pub intent: WorkerIntent,
    /// What it runs.
    pub launch: Launch,
    /// The secret whose value is a JSON object: the environment that the owner set.
    pub env: Option<SecretRef>,
    /// Its models, in the owner's order.
    pub views: Vec<ViewOrder>,
    /// Whether libraries may ask the hub.
    pub hub_access: HubAccess,
    /// The hub that its libraries reach through the agent, where they do.
    #[serde(default)]
    pub hub: Option<HubOrigin>,
    /// GPUs that it is assigned, by UUID.
    pub gpus: Vec<String>,
    /// What it may use.
    pub limits: WorkerLimits,
}

/// A hub, and where it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubOrigin {
    /// Its name in model references.
    pub name: HubName,
    /// Where it answers.
    pub endpoint: Url,
}

/// What should be done with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerIntent {
    /// Keep its models and wait: it is not started yet.
    Hold,
    /// Run it.
    Run,
    /// Give it no more jobs, let it finish, end it.
    Drain,
    /// End it now, with the grace of a signal.
    Stop,
}

/// A model in a worker's view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewOrder {
    /// As the owner wrote it: the spelling and the revision become names in the view.
    pub reference: ModelRef,
    /// Which model.
    pub key: ModelKey,
    /// Names that point at the commit, besides `main`.
    pub refs: BTreeSet<Revision>,
}
