//! Endpoints: making, changing and deleting them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::{EndpointView, Problem};
use base::{Redacted, Timestamp};
use scheduler::JobEvent;
use state::{EndpointRow, GrantRow, JobTally, Mutation, ReleaseRow, SecretRow};
use types::{
    Choice, EndpointId, EndpointName, ErrorCode, Fault, JobStatus, Launch, Manifest, ReleaseId, ReleaseModel,
    Scaling, SecretRef, TenantId, WorkerLimits,
};

use super::{Owner, Secret};
use crate::{
    picture::{EndpointEntry, ReleaseEntry},
    validate::{HubChoice, ModelDraft, SpecDraft},
};

/// A spec whose models are resolved.
pub(crate) struct ResolvedSpec {
    pub(crate) draft: SpecDraft,
    /// In the order of the draft's models.
    pub(crate) models: Vec<ChosenModel>,
}

/// The files of a model, and why these.
#[derive(Clone, Debug)]
pub(crate) struct ChosenModel {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) choice: Choice,
}

impl Owner {
    /// Returns the id of an endpoint that is named by id or name.
    pub(crate) fn endpoint_of(&self, tenant: &TenantId, text: &str) -> Result<EndpointId, Problem> {
        let by_name =
            text.parse::<EndpointName>().ok().and_then(|name| self.names.get(&(tenant.clone(), name)));
        let by_id = || text.parse::<EndpointId>().ok().filter(|id| self.is_of(tenant, id));
        by_name.cloned().or_else(by_id).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Fault::new(ErrorCode::EndpointNotFound, format!("no endpoint has the id or name {shown:?}"))
                .with_hint("larder endpoint list shows what there is")
                .into()
        })
    }

    fn is_of(&self, tenant: &TenantId, endpoint: &EndpointId) -> bool {
        self.endpoints
            .get(endpoint)
            .is_some_and(|entry| entry.row.tenant == *tenant && entry.row.deleted_at.is_none())
    }

    /// Refuses a name that another endpoint has.
    pub(crate) fn check_name(&self, tenant: &TenantId, name: &EndpointName) -> Result<(), Problem> {
        if !self.names.contains_key(&(tenant.clone(), name.clone())) {
            return Ok(());
        }
        Err(Fault::new(ErrorCode::EndpointNameTaken, format!("another endpoint is named {name}"))
            .with_hint("choose another name, or change that endpoint with larder endpoint update")
            .into())
    }

    /// Refuses a folder that this tenant has not put.
    pub(crate) fn check_folder(&self, tenant: &TenantId, launch: &Launch) -> Result<(), Problem> {
        let Launch::Command { folder: Some(digest), .. } = launch else { return Ok(()) };
        if self.folders.contains_key(&(tenant.clone(), digest.to_string())) {
            return Ok(());
        }
        let fault = Fault::new(ErrorCode::FolderNotFound, format!("the folder {digest} was not uploaded"))
            .with_hint("upload its archive first; larder endpoint create does so by itself");
        let mut problem = Problem::from(fault);
        problem.errors =
            vec![api::FieldProblem { field: "folder".to_owned(), message: "was not uploaded".to_owned() }];
        Err(problem)
    }

    /// Makes an endpoint.
    pub(crate) fn create_endpoint(
        &mut self,
        tenant: &TenantId,
        name: EndpointName,
        spec: ResolvedSpec,
        scaling: Scaling,
    ) -> Result<EndpointView, Problem> {
        self.check_name(tenant, &name)?;
        self.check_folder(tenant, &spec.draft.launch)?;
        let (id, now) = (EndpointId::generate(&self.entropy), self.clock.now());
        let release = self.make_release(tenant, &id, 1, spec, now);
        let row = EndpointRow {
            tenant: tenant.clone(),
            endpoint: id.clone(),
            name: name.clone(),
            scaling,
            release: release.row.release.clone(),
            tally: JobTally::default(),
            crashes: None,
            created_at: now,
            deleted_at: None,
        };
        let releases = BTreeMap::from([(row.release.clone(), release)]);
        self.names.insert((tenant.clone(), name), id.clone());
        self.endpoints.insert(id.clone(), EndpointEntry { row, releases, in_progress: 0, crashes: None });
        self.write_endpoint(&id);
        self.put_endpoint_facts(&id);
        self.endpoint_view(tenant, id.as_str())
    }

    /// Returns what an endpoint's spec and scaling are now, to be changed.
    pub(crate) fn present_spec(
        &self,
        tenant: &TenantId,
        endpoint: &str,
    ) -> Result<(SpecDraft, Scaling), Problem> {
        let id = self.endpoint_of(tenant, endpoint)?;
        let entry = self.endpoints.get(&id).expect("its id was just found");
        let release = entry.release();
        let row = &release.row;
        let token =
            row.hub_token.as_ref().and_then(|secret| self.secrets.get(secret)).map(|held| held.value.clone());
        let models = row.models.iter().map(|model| {
            let name = &model.key.repo.hub;
            let configured = self.options.hubs.iter().find(|hub| hub.name == *name);
            let endpoint = configured.map(|hub| hub.endpoint.clone()).or_else(|| row.hub_endpoint.clone());
            // Leaving the model out would change the endpoint behind its owner's back.
            let endpoint = endpoint.ok_or_else(|| {
                let text =
                    format!("the model {} is from the hub {name}, which is not configured", model.reference);
                Fault::new(ErrorCode::FieldInvalid, text)
                    .with_hint("configure the hub again, or make the endpoint anew with other models")
            })?;
            let trusted = configured.is_some_and(|hub| hub.trusted);
            let hub = HubChoice { name: name.clone(), endpoint, trusted };
            let wish = model.choice.wish.clone();
            Ok(ModelDraft { reference: model.reference.clone(), hub, wish })
        });
        let models = models.collect::<Result<Vec<_>, Fault>>()?;
        let spec = SpecDraft {
            launch: row.launch.clone(),
            env: release.env.clone(),
            models,
            hub_token: token,
            hub_endpoint: row.hub_endpoint.clone(),
            hub_access: row.hub_access,
            gpu: row.gpu.clone(),
        };
        Ok((spec, entry.row.scaling.clone()))
    }

    /// Returns the files of an endpoint's present models, for a change that leaves these as they are.
    pub(crate) fn present_models(
        &self,
        tenant: &TenantId,
        endpoint: &str,
    ) -> Result<Vec<ChosenModel>, Problem> {
        let id = self.endpoint_of(tenant, endpoint)?;
        let entry = self.endpoints.get(&id).expect("its id was just found");
        let models = entry.release().row.models.iter();
        let chosen = models.filter_map(|model| {
            let manifest = self.manifests.get(&model.key).cloned()?;
            Some(ChosenModel { manifest, choice: model.choice.clone() })
        });
        Ok(chosen.collect())
    }

    /// Changes an endpoint: its scaling at once, its spec by another release.
    pub(crate) fn update_endpoint(
        &mut self,
        tenant: &TenantId,
        endpoint: &str,
        spec: Option<ResolvedSpec>,
        scaling: Scaling,
    ) -> Result<EndpointView, Problem> {
        let id = self.endpoint_of(tenant, endpoint)?;
        if let Some(spec) = &spec {
            self.check_folder(tenant, &spec.draft.launch)?;
        }
        let now = self.clock.now();
        let version = self.endpoints.get(&id).expect("its id was just found").release().row.version;
        let release = spec.map(|spec| self.make_release(tenant, &id, version + 1, spec, now));
        let entry = self.endpoints.get_mut(&id).expect("its id was just found");
        entry.row.scaling = scaling;
        if let Some(release) = release {
            entry.row.release = release.row.release.clone();
            entry.releases.insert(release.row.release.clone(), release);
            // Another release may have mended what crashed.
            entry.crashes = None;
        }
        self.prune_releases(&id);
        self.write_endpoint(&id);
        self.put_endpoint_facts(&id);
        self.endpoint_view(tenant, id.as_str())
    }

    /// Removes the earlier releases of an endpoint that no worker is of, nor one that is still shown, with their
    /// secrets.
    pub(super) fn prune_releases(&mut self, endpoint: &EndpointId) {
        let workers = self.workers.values().filter(|worker| worker.endpoint == *endpoint);
        let used: BTreeSet<ReleaseId> = workers.map(|worker| worker.release.row.release.clone()).collect();
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let present = entry.row.release.clone();
        let unused =
            entry.releases.extract_if(.., |release, _| *release != present && !used.contains(release));
        for (release, entry) in unused.collect::<Vec<_>>() {
            self.remove_secrets_of(&entry.row);
            self.write(Mutation::RemoveRelease(entry.row.tenant.clone(), endpoint.clone(), release));
        }
    }

    /// Removes the secrets of a release, which no other release shares.
    pub(super) fn remove_secrets_of(&mut self, release: &ReleaseRow) {
        let tokens = release.models.iter().filter_map(|model| model.token.clone());
        let secrets = tokens.chain(release.hub_token.clone()).chain(release.env.clone());
        for secret in secrets.collect::<BTreeSet<_>>() {
            if self.secrets.remove(&secret).is_some() {
                self.write(Mutation::RemoveSecret(release.tenant.clone(), secret));
            }
        }
    }

    /// Deletes an endpoint: cancels its jobs; its workers end, and then it is gone.
    pub(crate) fn delete_endpoint(&mut self, tenant: &TenantId, endpoint: &str) -> Result<(), Problem> {
        let id = self.endpoint_of(tenant, endpoint)?;
        let now = self.clock.now();
        for status in [JobStatus::InQueue, JobStatus::InProgress] {
            for job in self.jobs_of(&id, status) {
                self.step_job(&job, &JobEvent::CancelRequested, now);
            }
        }
        let entry = self.endpoints.get_mut(&id).expect("its id was just found");
        entry.row.deleted_at = Some(now);
        self.names.remove(&(tenant.clone(), entry.row.name.clone()));
        self.write_endpoint(&id);
        self.put_endpoint_facts(&id);
        Ok(())
    }

    fn make_release(
        &mut self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        version: u32,
        spec: ResolvedSpec,
        now: Timestamp,
    ) -> Arc<ReleaseEntry> {
        let ResolvedSpec { draft, models } = spec;
        let token = draft.hub_token.map(|value| self.keep_secret(tenant, value));
        let env = (!draft.env.is_empty()).then(|| {
            let text = serde_json::to_string(&draft.env).expect("names and texts are plain data");
            self.keep_secret(tenant, Redacted::new(text))
        });
        let models = draft.models.into_iter().zip(models).map(|(model, chosen)| {
            let ChosenModel { manifest, choice } = chosen;
            self.keep_manifest(tenant, &manifest, now);
            ReleaseModel {
                reference: model.reference,
                key: manifest.key().clone(),
                choice,
                bytes: manifest.bytes(),
                token: token.clone(),
            }
        });
        let models = models.collect();
        let row = ReleaseRow {
            tenant: tenant.clone(),
            endpoint: endpoint.clone(),
            release: ReleaseId::generate(&self.entropy),
            version,
            launch: draft.launch,
            env,
            models,
            hub_token: token,
            hub_access: draft.hub_access,
            hub_endpoint: draft.hub_endpoint,
            gpu: draft.gpu,
            limits: WorkerLimits::default(),
            created_at: now,
        };
        self.write(Mutation::PutRelease(row.clone()));
        Arc::new(ReleaseEntry::new(row, draft.env))
    }

    /// Keeps a secret under a fresh reference.
    pub(super) fn keep_secret(&mut self, tenant: &TenantId, value: Redacted<String>) -> SecretRef {
        let secret = SecretRef::generate(&self.entropy);
        let row = SecretRow { tenant: tenant.clone(), secret: secret.clone(), value: value.clone() };
        self.write(Mutation::PutSecret(row));
        self.secrets.insert(secret.clone(), Secret { tenant: tenant.clone(), value });
        secret
    }

    /// Keeps a resolved model, and that this tenant has proved its right to it.
    pub(super) fn keep_manifest(&mut self, tenant: &TenantId, manifest: &Arc<Manifest>, now: Timestamp) {
        let key = manifest.key();
        if !self.manifests.contains_key(key) {
            self.write(Mutation::PutManifest(manifest.as_ref().clone()));
            self.manifests.insert(key.clone(), Arc::clone(manifest));
        }
        let grant = GrantRow { tenant: tenant.clone(), repo: key.repo.clone(), proved_at: now };
        self.write(Mutation::PutGrant(grant.clone()));
        self.grants.insert((tenant.clone(), key.repo.clone()), grant);
    }
}
