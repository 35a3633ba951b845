//! The environment of a worker, composed from what is known of it. Pure.
//!
//! What the owner set always wins. Never in it: the hub's token, the agent's own environment, secrets of others.

use std::collections::BTreeMap;

use api::DesiredWorker;
use base::Redacted;
use runtime::{Egress, mounts::HUB_FOLDER};
use serde::Serialize;
use types::{Commit, HubAccess, ModelKey};

use crate::edge;

/// Between pings. Runpod's own workers were seen with it; below 1,000 the SDK's pings end.
pub(crate) const PING_INTERVAL_MILLIS: u32 = 4000;

/// What the environment depends on besides the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// What the owner set.
    pub(crate) owner: &'a BTreeMap<String, Redacted<String>>,
    /// The worker's key for the relay.
    pub(crate) secret: &'a Redacted<String>,
    /// What it may reach.
    pub(crate) egress: Egress,
    /// What `HF_HUB_CACHE` is, where the driver does not set it itself.
    pub(crate) hub_cache: Option<&'a str>,
    /// Where it sees the folder of each model, in the order of its views.
    pub(crate) model_folders: &'a [String],
    /// The type of its GPUs, as people name it.
    pub(crate) gpu_kind: Option<&'a str>,
    /// The host's id.
    pub(crate) hostname: &'a str,
}

/// A worker's environment: values, and paths to which the driver adds the relay's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) values: Vec<(String, Redacted<String>)>,
    pub(crate) relay_paths: Vec<(String, Redacted<String>)>,
}

#[derive(Serialize)]
struct AnnouncedModel<'a> {
    id: &'a str,
    commit: Commit,
    path: String,
}

/// Composes the environment of a worker.
pub(crate) fn compose(order: &DesiredWorker, circumstances: &Circumstances<'_>) -> Environment {
    let mut ours = BTreeMap::new();
    identify(order, circumstances, &mut ours);
    announce_models(order, circumstances, &mut ours);
    announce_gpus(order, &mut ours);
    let owner = circumstances.owner;
    let mut values: BTreeMap<String, Redacted<String>> =
        ours.into_iter().map(|(name, value)| (name.to_owned(), Redacted::new(value))).collect();
    values.insert("RUNPOD_AI_API_KEY".to_owned(), circumstances.secret.clone());
    values.extend(owner.iter().map(|(name, value)| (name.clone(), value.clone())));
    let mut relay_paths = relay_paths(order, circumstances.gpu_kind);
    match order.hub_access {
        HubAccess::Edge => {
            let path = edge::path(&order.worker, circumstances.secret);
            relay_paths.push(("HF_ENDPOINT".to_owned(), path));
        }
        HubAccess::Online | HubAccess::Offline => {}
    }
    relay_paths.retain(|(name, _)| !owner.contains_key(name));
    Environment { values: values.into_iter().collect(), relay_paths }
}

fn identify(order: &DesiredWorker, circumstances: &Circumstances<'_>, ours: &mut BTreeMap<&str, String>) {
    ours.insert("RUNPOD_POD_ID", order.worker.to_string());
    ours.insert("RUNPOD_ENDPOINT_ID", order.endpoint.to_string());
    ours.insert("RUNPOD_POD_HOSTNAME", circumstances.hostname.to_owned());
    ours.insert("RUNPOD_PING_INTERVAL", PING_INTERVAL_MILLIS.to_string());
    match circumstances.egress {
        // The SDK's checks connect to a public address, which such a host does not have.
        Egress::None => {
            ours.insert("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".to_owned());
            ours.insert("RUNPOD_SKIP_GPU_CHECK", "true".to_owned());
        }
        Egress::Shared => {}
    }
}

fn announce_models(
    order: &DesiredWorker,
    circumstances: &Circumstances<'_>,
    ours: &mut BTreeMap<&str, String>,
) {
    ours.insert("HF_HUB_DISABLE_TELEMETRY", "1".to_owned());
    match order.hub_access {
        HubAccess::Online => {}
        HubAccess::Edge => match circumstances.egress {
            Egress::Shared => {}
            // What Xet downloads from is named inside answers, where the agent does not follow.
            Egress::None => {
                ours.insert("HF_HUB_DISABLE_XET", "1".to_owned());
            }
        },
        HubAccess::Offline => {
            ours.insert("HF_HUB_OFFLINE", "1".to_owned());
            ours.insert("TRANSFORMERS_OFFLINE", "1".to_owned());
        }
    }
    let Some(first) = order.views.first() else { return };
    if let Some(folder) = circumstances.hub_cache {
        ours.insert("HF_HUB_CACHE", folder.to_owned());
    }
    ours.insert("MODEL_NAME", first.key.repo.name.to_string());
    ours.insert("MODEL_REVISION", first.key.commit.to_string());
    let announced: Vec<AnnouncedModel<'_>> = order
        .views
        .iter()
        .zip(circumstances.model_folders)
        .map(|(view, folder)| AnnouncedModel {
            id: view.key.repo.name.as_str(),
            commit: view.key.commit,
            path: format!("{folder}/snapshots/{}", view.key.commit),
        })
        .collect();
    let announced = serde_json::to_string(&announced).expect("names and paths are text");
    ours.insert("LARDER_MODELS", announced);
}

fn announce_gpus(order: &DesiredWorker, ours: &mut BTreeMap<&str, String>) {
    if order.gpus.is_empty() {
        return;
    }
    let uuids = order.gpus.join(",");
    ours.insert("RUNPOD_GPU_COUNT", order.gpus.len().to_string());
    ours.insert("CUDA_VISIBLE_DEVICES", uuids.clone());
    ours.insert("NVIDIA_VISIBLE_DEVICES", uuids);
    ours.insert("NVIDIA_DRIVER_CAPABILITIES", "compute,utility".to_owned());
}

/// The SDK adds `&…` to all but the ping's without looking, so those need a `?`; it finds its other routes by
/// replacing `/job-take/`.
fn relay_paths(order: &DesiredWorker, gpu_kind: Option<&str>) -> Vec<(String, Redacted<String>)> {
    let gpu: String = url::form_urlencoded::byte_serialize(gpu_kind.unwrap_or("none").as_bytes()).collect();
    let endpoint = &order.endpoint;
    let path = |name: &str, path: String| (name.to_owned(), Redacted::new(path));
    vec![
        path("RUNPOD_WEBHOOK_GET_JOB", format!("/v2/{endpoint}/job-take/$ID?gpu={gpu}")),
        path("RUNPOD_WEBHOOK_POST_OUTPUT", format!("/v2/{endpoint}/job-done/$RUNPOD_POD_ID/$ID?gpu={gpu}")),
        path("RUNPOD_WEBHOOK_POST_STREAM", format!("/v2/{endpoint}/job-stream/$RUNPOD_POD_ID/$ID?gpu={gpu}")),
        path("RUNPOD_WEBHOOK_PING", format!("/v2/{endpoint}/ping/$RUNPOD_POD_ID")),
    ]
}

/// Returns where a worker of its own root sees the folder of a model.
pub(crate) fn model_folder(key: &ModelKey) -> String {
    format!("{HUB_FOLDER}/{}", key.repo.name.cache_folder())
}

#[cfg(test)]
mod tests;
