//! Models as clients see them, and how a reference finds one.

use std::collections::BTreeMap;

use api::{FetchView, ModelList, ModelPathView, ModelStatus, ModelView, Problem};
use scheduler::{Desire, FetchState};
use types::{EndpointName, ErrorCode, Fault, HostId, ModelKey, ModelRef, TenantId};

use super::Owner;

/// Where workers see models: the path of Runpod's contract.
const WORKER_HUB: &str = "/runpod-volume/huggingface-cache/hub";

impl Owner {
    /// Returns the models that a tenant's endpoints and pulls use, by key, with a reference of each.
    fn models_of(&self, tenant: &TenantId) -> BTreeMap<ModelKey, Vec<ModelRef>> {
        let mut models: BTreeMap<ModelKey, Vec<ModelRef>> = BTreeMap::new();
        let endpoints = self.endpoints.values().filter(|entry| entry.row.tenant == *tenant);
        for model in endpoints.flat_map(|entry| &entry.release().row.models) {
            models.entry(model.key.clone()).or_default().push(model.reference.clone());
        }
        for pull in self.pulls.values().filter(|pull| pull.tenant == *tenant) {
            models.entry(pull.key.clone()).or_default().push(pull.reference.clone());
        }
        models
    }

    /// Returns the models that a tenant uses.
    pub(crate) fn model_list(&self, tenant: &TenantId) -> ModelList {
        let models = self.models_of(tenant);
        let views =
            models.iter().filter_map(|(key, references)| Some(self.model_view(references.first()?, key)));
        ModelList { models: views.collect() }
    }

    /// Returns the model that a reference means among those that a tenant uses.
    pub(crate) fn model_of(&self, tenant: &TenantId, text: &str) -> Result<(ModelRef, ModelKey), Problem> {
        let asked: ModelRef = text.parse().map_err(|error: types::ModelRefError| {
            Problem::from(
                Fault::from_error(ErrorCode::ModelRefInvalid, &error)
                    .with_hint(types::ModelRefError::EXPECTED),
            )
        })?;
        let means = |key: &ModelKey, known: &ModelRef| {
            let spelt = key.repo.name.as_str().eq_ignore_ascii_case(asked.repo.as_str())
                || known.repo.as_str().eq_ignore_ascii_case(asked.repo.as_str());
            let hub = asked.hub.as_ref().is_none_or(|hub| *hub == key.repo.hub);
            let revision = asked.revision.as_ref().is_none_or(|revision| {
                known.revision.as_ref() == Some(revision) || key.commit.to_string() == revision.as_str()
            });
            let variant =
                asked.variant.as_ref().is_none_or(|variant| known.variant.as_ref() == Some(variant));
            spelt && hub && revision && variant
        };
        for (key, references) in self.models_of(tenant) {
            if let Some(known) = references.iter().find(|known| means(&key, known)) {
                return Ok((known.clone(), key));
            }
        }
        Err(Fault::new(ErrorCode::ModelNotFound, format!("no endpoint and no pull uses {asked}"))
            .with_hint("larder model list shows those that do; larder model pull brings one to the hosts")
            .into())
    }

    /// Returns the hosts that hold a model, whole.
    pub(crate) fn hosts_with(&self, key: &ModelKey) -> Vec<HostId> {
        let holders = self.fleet.holders_of(key);
        holders
            .filter(|host| self.fleet.model(host, key).is_some_and(|held| held.state.is_ready()))
            .cloned()
            .collect()
    }

    /// Returns a model as clients see it.
    pub(super) fn model_view(&self, reference: &ModelRef, key: &ModelKey) -> ModelView {
        let manifest = self.manifests.get(key);
        let users = self.endpoints.values().filter(|entry| {
            entry.row.deleted_at.is_none() && entry.release().row.models.iter().any(|model| model.key == *key)
        });
        let mut endpoints: Vec<EndpointName> = users.map(|entry| entry.row.name.clone()).collect();
        endpoints.sort();
        ModelView {
            reference: reference.clone(),
            hub: key.repo.hub.clone(),
            repo: key.repo.name.clone(),
            commit: key.commit,
            selection: key.selection,
            bytes: manifest.map_or(0, |manifest| manifest.bytes().bytes()),
            files: manifest.map_or(0, |manifest| manifest.files().len() as u64),
            status: self.model_status(key),
            hosts: self.hosts_with(key),
            endpoints,
        }
    }

    /// Returns the best that any host says of a model.
    fn model_status(&self, key: &ModelKey) -> ModelStatus {
        let mut status = ModelStatus::Absent;
        for host in self.fleet.holders_of(key) {
            let Some(held) = self.fleet.model(host, key) else { continue };
            let here = match &held.state {
                FetchState::Ready => return ModelStatus::Ready,
                FetchState::Fetching { present, .. } => {
                    let known = FetchView {
                        bytes_total: held.total.bytes(),
                        bytes_done: present.bytes(),
                        ..FetchView::default()
                    };
                    ModelStatus::Fetching(self.fetch_view(host, key).unwrap_or(known))
                }
                FetchState::Failed { fault, retry_at, .. } => {
                    ModelStatus::Failed { fault: fault.clone(), retry_at: Some(retry_at.to_rfc3339()) }
                }
                FetchState::Wanted { .. } if held.desire == Desire::None => ModelStatus::Absent,
                FetchState::Wanted { .. } => ModelStatus::Waiting,
            };
            if rank(&here) > rank(&status) {
                status = here;
            }
        }
        status
    }

    /// Returns where a model stands for a worker.
    pub(crate) fn worker_path(&self, key: &ModelKey) -> ModelPathView {
        let worker_path = format!("{WORKER_HUB}/{}/snapshots/{}", key.repo.name.cache_folder(), key.commit);
        ModelPathView { worker_path, host_path: None }
    }
}

/// Nearer to ready is higher.
fn rank(status: &ModelStatus) -> u8 {
    match status {
        ModelStatus::Absent => 0,
        ModelStatus::Waiting => 1,
        ModelStatus::Failed { .. } => 2,
        ModelStatus::Fetching(_) => 3,
        ModelStatus::Ready => 4,
    }
}
