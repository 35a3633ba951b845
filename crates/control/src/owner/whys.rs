//! Why models are where they are, as far as the server knows; and models that an import found.

use std::sync::Arc;

use api::{ImportedManifest, Problem, WhyView, WorkerUse};
use scheduler::WorkerState;
use state::{PullRow, PullStanding, Retention};
use types::{Choice, ErrorCode, Fault, HostId, ModelKey, ModelRef, Revision, TenantId};

use super::{Owner, model_views::Known};

impl Owner {
    /// Returns what the server knows of a model, and the hosts that may know more.
    pub(crate) fn why_model(
        &self,
        tenant: &TenantId,
        text: &str,
    ) -> Result<(ModelKey, WhyView, Vec<HostId>), Problem> {
        let (reference, key) = self.model_among(tenant, text, Known::Ever)?;
        let pull = self.pulls.get(&(tenant.clone(), key.clone()));
        let view = WhyView {
            model: self.model_view(tenant, &reference, &key),
            pull: pull.map(|pull| standing_words(&pull.standing)),
            workers: self.workers_with(tenant, &key),
            hosts: Vec::new(),
        };
        Ok((key, view, self.hosts.keys().cloned().collect()))
    }

    fn workers_with(&self, tenant: &TenantId, key: &ModelKey) -> Vec<WorkerUse> {
        let mine =
            self.workers.iter().filter(|(_, entry)| entry.tenant == *tenant && entry.ended_at.is_none());
        let using = mine.filter(|(_, entry)| entry.release.row.models.iter().any(|model| model.key == *key));
        using
            .map(|(id, entry)| WorkerUse {
                worker_id: id.clone(),
                endpoint: entry.endpoint_name.clone(),
                host: entry.host.clone(),
                waits: match entry.machine.state() {
                    WorkerState::Initializing { .. } => Some("for its models".to_owned()),
                    WorkerState::Throttled { .. } => Some("for room on its host".to_owned()),
                    WorkerState::Launching { .. }
                    | WorkerState::Starting { .. }
                    | WorkerState::Idle { .. }
                    | WorkerState::Running { .. }
                    | WorkerState::Draining { .. }
                    | WorkerState::Stopped { .. }
                    | WorkerState::Unhealthy { .. } => None,
                },
            })
            .collect()
    }

    /// Returns the host that a cache is imported on: the one that is named, or the only one.
    pub(crate) fn import_host(&self, wished: Option<HostId>) -> Result<HostId, Problem> {
        match wished {
            Some(host) if self.hosts.contains_key(&host) => Ok(host),
            Some(host) => Err(self.host_unknown(host.as_str())),
            None => {
                let mut hosts = self.hosts.keys();
                match (hosts.next(), hosts.next()) {
                    (Some(host), None) => Ok(host.clone()),
                    (None, _) => Err(Fault::new(ErrorCode::HostNotFound, "no host has joined").into()),
                    (Some(_), Some(_)) => Err(Fault::new(
                        ErrorCode::FieldInvalid,
                        "there are several hosts, and none was named",
                    )
                    .with_hint("name the host on which the folder stands, with --host")
                    .into()),
                }
            }
        }
    }

    /// Says that no host has this id.
    pub(crate) fn host_unknown(&self, text: &str) -> Problem {
        let shown: String = text.chars().take(80).collect();
        Fault::new(ErrorCode::HostNotFound, format!("no host has the id {shown:?}"))
            .with_hint("larder host list shows those that have joined")
            .into()
    }

    /// Takes up a model that an import found on a host: from now on it is known as one that was pulled there.
    pub(crate) fn imported(&mut self, tenant: &TenantId, host: &HostId, model: ImportedManifest) {
        let now = self.clock.now();
        let manifest = Arc::new(model.manifest);
        let key = manifest.key().clone();
        self.keep_manifest(tenant, &manifest, now);
        self.found_whole(host, &manifest, now);
        self.models_changed();
        if self.pulls.contains_key(&(tenant.clone(), key.clone())) {
            return;
        }
        let Some(hub_endpoint) = self.hub_endpoint_of(tenant, &key) else { return };
        // The name under which the cache knew it, else its commit.
        let main = Revision::main();
        let named = model.refs.iter().find(|name| **name != main.as_str());
        let is_main = model.refs.iter().any(|name| *name == main.as_str());
        let revision = match named {
            _ if is_main => None,
            Some(name) => name.parse().ok(),
            None => key.commit.to_string().parse().ok(),
        };
        let reference = ModelRef {
            hub: Some(key.repo.hub.clone()),
            repo: key.repo.name.clone(),
            revision,
            variant: None,
        };
        self.put_pull(PullRow {
            tenant: tenant.clone(),
            key,
            reference,
            // What somebody else's program put there, whatever it left out.
            choice: Choice::default(),
            hub_endpoint,
            token: None,
            created_at: now,
            standing: PullStanding::Satisfied { at: now },
            retention: Retention::Evictable,
        });
    }
}

fn standing_words(standing: &PullStanding) -> String {
    match standing {
        PullStanding::Wanted { hosts } if hosts.is_empty() => "goes to the first host that joins".to_owned(),
        PullStanding::Wanted { hosts } => {
            let hosts: Vec<&str> = hosts.iter().map(HostId::as_str).collect();
            format!("under way to {}", hosts.join(", "))
        }
        PullStanding::Satisfied { at } => format!("done since {}", at.to_rfc3339()),
        PullStanding::Cancelled { at } => format!("called off at {}", at.to_rfc3339()),
        PullStanding::Removed { at } => format!("removed at {}", at.to_rfc3339()),
    }
}
