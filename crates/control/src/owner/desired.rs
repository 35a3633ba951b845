//! Desired states: derived from workers and pulls, sent whole when they change, each with a newer stamp.
//!
//! Same picture, same bytes: everything is in the order of its id or key, so that a resent state is the same state.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    Desired, DesiredModel, DesiredWorker, HubOrigin, ModelCopies, ServerMessage, ViewOrder, WorkerIntent,
};
use scheduler::WorkerState;
use types::{HostId, ModelKey, ModelRef, SecretRef, Stamp, TenantId, WorkerId};
use url::Url;

use super::{Owner, models::brings_to};
use crate::{HubConfig, link::Outgoing, picture::WorkerEntry};

impl Owner {
    /// Sends its desired state to every connected host for which it changed.
    pub(super) fn push_desired(&mut self) {
        for host in std::mem::take(&mut self.desired_changed) {
            self.push_desired_to(&host);
        }
    }

    fn push_desired_to(&mut self, host: &HostId) {
        // Before its first report a host could take a worker that has ended there for one to start.
        let synced =
            self.hosts.get(host).and_then(|entry| entry.link.as_ref()).is_some_and(|link| link.synced);
        if !synced {
            return;
        }
        let mut desired = self.desired_for(host);
        let text = serde_json::to_string(&desired).expect("a desired state is plain data");
        let stamp = Stamp { incarnation: self.incarnation, generation: self.next_generation };
        let Some(link) = self.hosts.get_mut(host).and_then(|entry| entry.link.as_mut()) else { return };
        if link.sent.as_ref() == Some(&text) {
            return;
        }
        self.next_generation += 1;
        (link.sent, link.stamp) = (Some(text), stamp);
        desired.stamp = stamp;
        let mut values = BTreeMap::new();
        for secret in secrets_of(&desired) {
            if let Some(held) = self.secrets.get(&secret)
                && link.secrets_sent.insert(secret.clone())
            {
                values.insert(secret, held.value.clone());
            }
        }
        for worker in &desired.workers {
            let started = !matches!(worker.intent, WorkerIntent::Hold);
            if started && let Some(entry) = self.workers.get_mut(&worker.worker) {
                entry.run_since.get_or_insert(stamp);
            }
        }
        if !values.is_empty() {
            self.send(host, Outgoing::Message(ServerMessage::Secrets(values)));
        }
        self.send(host, Outgoing::Message(ServerMessage::Desired(Box::new(desired))));
    }

    /// Returns what should be on a host, without a stamp.
    fn desired_for(&self, host: &HostId) -> Desired {
        let mut models: BTreeMap<ModelKey, DesiredModel> = BTreeMap::new();
        let mut workers = Vec::new();
        for (id, facts) in self.fleet.workers_on(host) {
            let Some(entry) = self.workers.get(id) else { continue };
            let Some(intent) = intent_of(facts.worker.state()) else { continue };
            workers.push(desired_worker(id, entry, intent, self.hub_of(entry)));
            for model in &entry.release.row.models {
                let own = entry.release.row.hub_endpoint.as_ref();
                let wanted = self.desired_model(&model.key, own, &entry.tenant, model.token.as_ref());
                if let Some(wanted) = wanted {
                    models.entry(model.key.clone()).or_insert(wanted);
                }
            }
        }
        for pull in self.pulls.values().filter(|pull| brings_to(pull, host)) {
            let wanted =
                self.desired_model(&pull.key, Some(&pull.hub_endpoint), &pull.tenant, pull.token.as_ref());
            if let Some(wanted) = wanted {
                models.entry(pull.key.clone()).or_insert(wanted);
            }
        }
        Desired {
            stamp: Stamp::default(),
            models: models.into_values().collect(),
            workers,
            pins: self.pinned(),
            copies: self.copies_for(host),
        }
    }

    /// Returns which of a host's models are elsewhere too, and how often.
    fn copies_for(&self, host: &HostId) -> Vec<ModelCopies> {
        let here = self.fleet.models_on(host).filter(|(_, held)| held.state.is_ready());
        let copies = here.map(|(key, _)| {
            let others = self.hosts_with(key).iter().filter(|other| *other != host).count();
            ModelCopies { key: key.clone(), hosts: u32::try_from(others).unwrap_or(u32::MAX) }
        });
        copies.filter(|copies| copies.hosts > 0).collect()
    }

    /// Returns the hub that a worker's libraries mean: that of its first model, else the default one.
    fn hub_of(&self, entry: &WorkerEntry) -> Option<HubOrigin> {
        let row = &entry.release.row;
        let hubs = &self.options.hubs;
        let origin = |hub: &HubConfig| HubOrigin { name: hub.name.clone(), endpoint: hub.endpoint.clone() };
        let Some(first) = row.models.first() else { return hubs.first().map(origin) };
        let name = &first.key.repo.hub;
        let own = || row.hub_endpoint.clone().map(|endpoint| HubOrigin { name: name.clone(), endpoint });
        hubs.iter().find(|hub| hub.name == *name).map(origin).or_else(own)
    }

    fn desired_model(
        &self,
        key: &ModelKey,
        own: Option<&Url>,
        tenant: &TenantId,
        token: Option<&SecretRef>,
    ) -> Option<DesiredModel> {
        let configured = self.options.hubs.iter().find(|hub| hub.name == key.repo.hub);
        let hub_endpoint = configured.map(|hub| &hub.endpoint).or(own);
        let (Some(manifest), Some(hub_endpoint)) = (self.manifests.get(key), hub_endpoint) else {
            tracing::warn!(model = %key, "no configured hub has this model's name; it can't be fetched");
            return None;
        };
        Some(DesiredModel {
            manifest: manifest.as_ref().clone(),
            hub_endpoint: hub_endpoint.clone(),
            hub_trusted: configured.is_some_and(|hub| hub.trusted),
            tenant: tenant.clone(),
            token: token.cloned(),
        })
    }
}

fn desired_worker(
    id: &WorkerId,
    entry: &WorkerEntry,
    intent: WorkerIntent,
    hub: Option<HubOrigin>,
) -> DesiredWorker {
    let row = &entry.release.row;
    DesiredWorker {
        worker: id.clone(),
        tenant: entry.tenant.clone(),
        endpoint: entry.endpoint.clone(),
        endpoint_name: entry.endpoint_name.clone(),
        release: row.release.clone(),
        intent,
        launch: row.launch.clone(),
        env: row.env.clone(),
        views: row
            .models
            .iter()
            .map(|model| ViewOrder {
                reference: model.reference.clone(),
                key: model.key.clone(),
                refs: refs_of(&model.reference),
            })
            .collect(),
        hub_access: row.hub_access,
        hub,
        gpus: entry.gpus.clone(),
        limits: row.limits.clone(),
    }
}

/// Returns the names that point at a model's commit. A commit names itself.
fn refs_of(reference: &ModelRef) -> BTreeSet<types::Revision> {
    let named =
        reference.revision.iter().filter(|revision| revision.as_str().parse::<types::Commit>().is_err());
    named.cloned().collect()
}

/// Returns what should be done with a worker that stands here, or none when it should not be.
fn intent_of(state: &WorkerState) -> Option<WorkerIntent> {
    match state {
        WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => Some(WorkerIntent::Hold),
        WorkerState::Launching { .. }
        | WorkerState::Starting { .. }
        | WorkerState::Idle { .. }
        | WorkerState::Running { .. } => Some(WorkerIntent::Run),
        WorkerState::Draining { jobs: 0, .. } => Some(WorkerIntent::Stop),
        WorkerState::Draining { .. } => Some(WorkerIntent::Drain),
        WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => None,
    }
}

fn secrets_of(desired: &Desired) -> BTreeSet<SecretRef> {
    let tokens = desired.models.iter().filter_map(|model| model.token.clone());
    tokens.chain(desired.workers.iter().filter_map(|worker| worker.env.clone())).collect()
}
