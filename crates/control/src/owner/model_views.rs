//! Models as clients see them, and how a reference finds one.

use std::collections::BTreeMap;

use api::{
    FetchView, ModelEnd, ModelEvent, ModelList, ModelPathView, ModelPlace, ModelStatus, ModelView, Problem,
};
use scheduler::{Desire, FetchState, HostModel};
use state::{PullRow, PullStanding, Retention};
use tokio::sync::watch;
use types::{EndpointName, ErrorCode, Fault, HostId, ModelKey, ModelRef, TenantId};
use url::Url;

use super::{After, Owner};

/// Where workers see models: the path of Runpod's contract.
const WORKER_HUB: &str = "/runpod-volume/huggingface-cache/hub";

/// Which models a reference may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Those that are used, wanted, or on a host.
    Present,
    /// Also those that are gone again.
    Ever,
}

/// One look at a model by somebody who watches it.
#[derive(Debug)]
pub(crate) struct ModelLook {
    pub(crate) event: ModelEvent,
    /// Changes with every change of any model.
    pub(crate) changed: watch::Receiver<u64>,
}

impl Owner {
    /// Returns the models that a tenant's endpoints and pulls use, by key, with references of each.
    pub(super) fn models_of(&self, tenant: &TenantId) -> BTreeMap<ModelKey, Vec<ModelRef>> {
        self.models_known(tenant, Known::Present)
    }

    fn models_known(&self, tenant: &TenantId, known: Known) -> BTreeMap<ModelKey, Vec<ModelRef>> {
        let mut models: BTreeMap<ModelKey, Vec<ModelRef>> = BTreeMap::new();
        let endpoints = self.endpoints.values().filter(|entry| entry.row.tenant == *tenant);
        for model in endpoints.flat_map(|entry| &entry.release().row.models) {
            models.entry(model.key.clone()).or_default().push(model.reference.clone());
        }
        let pulls = self.pulls.values().filter(|pull| pull.tenant == *tenant);
        for pull in pulls.filter(|pull| known == Known::Ever || self.is_still_known(pull)) {
            models.entry(pull.key.clone()).or_default().push(pull.reference.clone());
        }
        models
    }

    /// Returns whether a pulled model is still something to a host, or is to be.
    fn is_still_known(&self, pull: &PullRow) -> bool {
        match pull.standing {
            PullStanding::Wanted { .. } => true,
            PullStanding::Satisfied { .. }
            | PullStanding::Cancelled { .. }
            | PullStanding::Removed { .. } => {
                pull.retention == Retention::Pinned || self.fleet.holders_of(&pull.key).next().is_some()
            }
        }
    }

    /// Returns the models that a tenant uses.
    pub(crate) fn model_list(&self, tenant: &TenantId) -> ModelList {
        let models = self.models_of(tenant);
        let views = models
            .iter()
            .filter_map(|(key, references)| Some(self.model_view(tenant, references.first()?, key)));
        ModelList { models: views.collect() }
    }

    /// Returns the model that a reference means among those that a tenant uses.
    pub(crate) fn model_of(&self, tenant: &TenantId, text: &str) -> Result<(ModelRef, ModelKey), Problem> {
        self.model_among(tenant, text, Known::Present)
    }

    /// Returns the model that a reference means. Of several, one that is on a host or wanted comes first.
    pub(crate) fn model_among(
        &self,
        tenant: &TenantId,
        text: &str,
        known: Known,
    ) -> Result<(ModelRef, ModelKey), Problem> {
        let asked: ModelRef = text.parse().map_err(|error: types::ModelRefError| {
            Problem::from(
                Fault::from_error(ErrorCode::ModelRefInvalid, &error)
                    .with_hint(types::ModelRefError::EXPECTED),
            )
        })?;
        let mut found = None;
        for (key, references) in self.models_known(tenant, known) {
            let chosen = self.choice_of(tenant, &key).name;
            if let Some(reference) = references.iter().find(|known| means(&asked, &key, known, &chosen)) {
                let present = self.fleet.holders_of(&key).next().is_some();
                if present || found.is_none() {
                    found = Some((reference.clone(), key));
                }
                if present {
                    break;
                }
            }
        }
        found.ok_or_else(|| {
            Fault::new(ErrorCode::ModelNotFound, format!("no endpoint and no pull uses {asked}"))
                .with_hint("larder model list shows those that do; larder model pull brings one to the hosts")
                .into()
        })
    }

    /// Looks at a model for somebody who watches it.
    pub(crate) fn look_at_model(&self, tenant: &TenantId, text: &str) -> Result<ModelLook, Problem> {
        let (reference, key) = self.model_among(tenant, text, Known::Ever)?;
        let model = self.model_view(tenant, &reference, &key);
        let end = self.end_of(tenant, &key, &model);
        Ok(ModelLook { event: ModelEvent { model, end }, changed: self.watched_models() })
    }

    /// Returns why there is nothing more to see of a model, if so.
    fn end_of(&self, tenant: &TenantId, key: &ModelKey, view: &ModelView) -> Option<ModelEnd> {
        let pull = self.pulls.get(&(tenant.clone(), key.clone()));
        let standing = pull.map(|pull| &pull.standing);
        match &view.status {
            ModelStatus::Failed { fault, .. } => needs_a_person(fault).then_some(ModelEnd::Failed),
            ModelStatus::Waiting | ModelStatus::Fetching(_) => None,
            ModelStatus::Absent => Some(match standing {
                Some(PullStanding::Cancelled { .. }) => ModelEnd::Cancelled,
                Some(
                    PullStanding::Wanted { .. }
                    | PullStanding::Satisfied { .. }
                    | PullStanding::Removed { .. },
                )
                | None => ModelEnd::Absent,
            }),
            ModelStatus::Ready => match standing {
                Some(PullStanding::Wanted { hosts }) => {
                    let is_connected =
                        |host: &HostId| self.hosts.get(host).is_some_and(|entry| entry.link.is_some());
                    (!hosts.iter().any(is_connected)).then_some(ModelEnd::Ready)
                }
                Some(
                    PullStanding::Satisfied { .. }
                    | PullStanding::Cancelled { .. }
                    | PullStanding::Removed { .. },
                )
                | None => Some(ModelEnd::Ready),
            },
        }
    }

    /// Wakes those who watch models, once what is gathered is durable.
    pub(super) fn models_changed(&mut self) {
        let watched = self.models_watch.clone();
        self.after.push(After::Wake(watched));
    }

    fn watched_models(&self) -> watch::Receiver<u64> {
        self.models_watch.subscribe()
    }

    /// Returns where the hub of a model answers, as a tenant's endpoints and pulls know it.
    pub(super) fn hub_endpoint_of(&self, tenant: &TenantId, key: &ModelKey) -> Option<Url> {
        let configured = self.options.hubs.iter().find(|hub| hub.name == key.repo.hub);
        let own = || {
            let mine = self.endpoints.values().filter(|entry| entry.row.tenant == *tenant);
            let mut rows = mine.map(|entry| &entry.release().row);
            let using = rows.find(|row| row.models.iter().any(|model| model.key == *key))?;
            using.hub_endpoint.clone()
        };
        configured.map(|hub| hub.endpoint.clone()).or_else(own)
    }

    /// Returns the hosts that hold a model, whole.
    pub(crate) fn hosts_with(&self, key: &ModelKey) -> Vec<HostId> {
        self.fleet.holders_of(key).filter(|host| self.is_whole_on(host, key)).cloned().collect()
    }

    /// Returns the hosts that have to do with a model, whole or not.
    pub(crate) fn hosts_with_any(&self, key: &ModelKey) -> Vec<HostId> {
        self.fleet.holders_of(key).cloned().collect()
    }

    /// Returns a model as a tenant sees it.
    pub(super) fn model_view(&self, tenant: &TenantId, reference: &ModelRef, key: &ModelKey) -> ModelView {
        let manifest = self.manifests.get(key);
        let pull = self.pulls.get(&(tenant.clone(), key.clone()));
        let places = self.places_of(key);
        ModelView {
            reference: reference.clone(),
            hub: key.repo.hub.clone(),
            repo: key.repo.name.clone(),
            commit: key.commit,
            selection: key.selection,
            choice: (&self.choice_of(tenant, key)).into(),
            bytes: manifest.map_or(0, |manifest| manifest.bytes().bytes()),
            files: manifest.map_or(0, |manifest| manifest.files().len() as u64),
            status: self.model_status(pull, &places),
            hosts: self.hosts_with(key),
            endpoints: self.endpoints_with(key),
            pinned: pull.is_some_and(|pull| pull.retention == Retention::Pinned),
            places,
        }
    }

    /// Returns the names of the endpoints that use a model now.
    pub(super) fn endpoints_with(&self, key: &ModelKey) -> Vec<EndpointName> {
        let users = self.endpoints.values().filter(|entry| {
            entry.row.deleted_at.is_none() && entry.release().row.models.iter().any(|model| model.key == *key)
        });
        let mut endpoints: Vec<EndpointName> = users.map(|entry| entry.row.name.clone()).collect();
        endpoints.sort();
        endpoints
    }

    /// Returns the best that any host says of a model.
    fn model_status(&self, pull: Option<&PullRow>, places: &[ModelPlace]) -> ModelStatus {
        let wanted = pull.is_some_and(|pull| matches!(pull.standing, PullStanding::Wanted { .. }));
        let least = if wanted { ModelStatus::Waiting } else { ModelStatus::Absent };
        places
            .iter()
            .map(|place| &place.status)
            .fold(least, |best, here| if rank(here) > rank(&best) { here.clone() } else { best })
    }

    fn places_of(&self, key: &ModelKey) -> Vec<ModelPlace> {
        let held = self.fleet.holders_of(key).filter_map(|host| Some((host, self.fleet.model(host, key)?)));
        held.map(|(host, held)| ModelPlace { host: host.clone(), status: self.status_on(host, key, held) })
            .collect()
    }

    fn status_on(&self, host: &HostId, key: &ModelKey, held: &HostModel) -> ModelStatus {
        match &held.state {
            FetchState::Ready => ModelStatus::Ready,
            // What nobody wants any more is neither brought nor tried again.
            FetchState::Fetching { .. } | FetchState::Failed { .. } | FetchState::Wanted { .. }
                if held.desire == Desire::None =>
            {
                ModelStatus::Absent
            }
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
            FetchState::Wanted { .. } => ModelStatus::Waiting,
        }
    }

    /// Returns where a model stands for a worker.
    pub(crate) fn worker_path(&self, key: &ModelKey) -> ModelPathView {
        let worker_path = format!("{WORKER_HUB}/{}/snapshots/{}", key.repo.name.cache_folder(), key.commit);
        ModelPathView { worker_path, host_path: None }
    }
}

/// Returns whether a reference means a model that somebody knows by another.
fn means(asked: &ModelRef, key: &ModelKey, known: &ModelRef, chosen: &str) -> bool {
    let spelt = key.repo.name.as_str().eq_ignore_ascii_case(asked.repo.as_str())
        || known.repo.as_str().eq_ignore_ascii_case(asked.repo.as_str());
    let hub = asked.hub.as_ref().is_none_or(|hub| *hub == key.repo.hub);
    let revision = asked.revision.as_ref().is_none_or(|revision| {
        known.revision.as_ref() == Some(revision) || key.commit.to_string() == revision.as_str()
    });
    // What was chosen by default may be asked for by its name.
    let variant = asked.variant.as_ref().is_none_or(|variant| {
        known.variant.as_ref() == Some(variant) || chosen.eq_ignore_ascii_case(variant.as_str())
    });
    spelt && hub && revision && variant
}

/// Returns whether a fetch that failed so would fail again: its hub refuses, its bytes are wrong, or the disk is full.
/// A full cache is none of these: what holds its bytes may end.
fn needs_a_person(fault: &Fault) -> bool {
    let refused = (400..500).contains(&fault.code.http_status())
        && !matches!(fault.code, ErrorCode::HubRateLimited | ErrorCode::RateLimited);
    refused || matches!(fault.code, ErrorCode::ContentMismatch | ErrorCode::DiskFull)
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
