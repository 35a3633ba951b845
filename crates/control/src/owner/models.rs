//! Models that an operator wants on the hosts, or wants gone.

use std::sync::Arc;

use api::{ModelView, Problem};
use base::Redacted;
use scheduler::{Desire, HostModel};
use state::{Mutation, PullRow};
use types::{ErrorCode, Fault, HostId, Manifest, ModelKey, ModelRef, TenantId};
use url::Url;

use super::Owner;

impl Owner {
    /// Wants a model on every host until it is removed.
    pub(crate) fn pull_model(
        &mut self,
        tenant: &TenantId,
        reference: &ModelRef,
        hub_endpoint: Url,
        token: Option<Redacted<String>>,
        manifest: &Arc<Manifest>,
    ) -> Result<ModelView, Problem> {
        let (key, now) = (manifest.key().clone(), self.clock.now());
        self.keep_manifest(tenant, manifest, now);
        let place = (tenant.clone(), key.clone());
        if let Some(earlier) = self.pulls.remove(&place).and_then(|pull| pull.token) {
            self.secrets.remove(&earlier);
            self.write(Mutation::RemoveSecret(tenant.clone(), earlier));
        }
        let token = token.map(|value| self.keep_secret(tenant, value));
        let row = PullRow {
            tenant: tenant.clone(),
            key: key.clone(),
            reference: reference.clone(),
            hub_endpoint,
            token,
            created_at: now,
        };
        self.write(Mutation::PutPull(row.clone()));
        self.pulls.insert(place, row);
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.want_on(&host, &key);
        }
        Ok(self.model_view(reference, &key))
    }

    /// Stops wanting a model; returns the connected hosts that hold it, which can then be told to remove it.
    pub(crate) fn release_model(
        &mut self,
        tenant: &TenantId,
        text: &str,
    ) -> Result<(ModelKey, Vec<HostId>), Problem> {
        let (_, key) = self.model_of(tenant, text)?;
        let in_use = |who: String| {
            Fault::new(ErrorCode::ModelInUse, format!("{key} is used by {who}"))
                .with_hint("delete the endpoint, or change its models, first")
        };
        for entry in self.endpoints.values() {
            if entry.releases.values().any(|release| release.row.models.iter().any(|model| model.key == key))
                && (entry.release().row.models.iter().any(|model| model.key == key)
                    || self.fleet.workers_of(&entry.row.endpoint).next().is_some())
            {
                let mine = entry.row.tenant == *tenant;
                let who = if mine {
                    format!("the endpoint {}", entry.row.name)
                } else {
                    "another tenant".to_owned()
                };
                return Err(in_use(who).into());
            }
        }
        if self.pulls.keys().any(|(owner, pulled)| owner != tenant && *pulled == key) {
            return Err(in_use("another tenant".to_owned()).into());
        }
        if let Some(pull) = self.pulls.remove(&(tenant.clone(), key.clone())) {
            self.write(Mutation::RemovePull(tenant.clone(), key.clone()));
            if let Some(secret) = pull.token {
                self.secrets.remove(&secret);
                self.write(Mutation::RemoveSecret(tenant.clone(), secret));
            }
        }
        let holders: Vec<HostId> = self.fleet.holders_of(&key).cloned().collect();
        for host in &holders {
            if let Some(held) = self.fleet.model(host, &key) {
                let unwanted = HostModel { desire: Desire::None, ..held.clone() };
                self.fleet.put_model(host, &key, unwanted);
                self.desired_changed.insert(host.clone());
            }
        }
        let connected = |host: &HostId| self.hosts.get(host).is_some_and(|entry| entry.link.is_some());
        Ok((key, holders.into_iter().filter(connected).collect()))
    }

    /// Notes that a host has removed a model.
    pub(crate) fn model_removed(&mut self, host: &HostId, key: &ModelKey) {
        if self.fleet.model(host, key).is_some_and(|held| held.desire == Desire::None) {
            self.fleet.remove_model(host, key);
        }
    }
}
