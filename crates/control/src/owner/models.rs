//! Models that an operator wants on the hosts, keeps there, or wants gone.
//!
//! ```text
//!           pull                    whole on each of its hosts
//!   (none) ──────▶ Wanted ─────────────────────────────────────▶ Satisfied: cached, evictable unless pinned
//!                    │  cancel ▶ Cancelled     remove ▶ Removed   (and from there, by another pull, Wanted again)
//! ```
//! The row of a pull stays whatever became of it: by it the model is still known, and can be asked about.

use std::{collections::BTreeSet, sync::Arc};

use api::{ModelView, Problem};
use base::{Redacted, Timestamp};
use scheduler::{Desire, FetchState, HostModel};
use state::{Mutation, PullRow, PullStanding, Retention};
use types::{Choice, ErrorCode, Fault, HostId, Manifest, ModelKey, ModelRef, SecretRef, TenantId};
use url::Url;

use super::{Owner, model_views::Known};

/// What is asked of a pull.
#[derive(Clone, Debug)]
pub(crate) struct PullDraft {
    pub(crate) reference: ModelRef,
    pub(crate) hub_endpoint: Url,
    pub(crate) token: Option<Redacted<String>>,
    pub(crate) choice: Choice,
    pub(crate) pin: bool,
}

/// A model that is about to be removed.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) key: ModelKey,
    /// Hosts that have of it and can be told to remove it.
    pub(crate) connected: Vec<HostId>,
    /// Hosts that have of it and are away.
    pub(crate) away: Vec<HostId>,
}

impl Owner {
    /// Wants a model on every host, until it is there.
    pub(crate) fn pull_model(
        &mut self,
        tenant: &TenantId,
        draft: PullDraft,
        manifest: &Arc<Manifest>,
    ) -> Result<ModelView, Problem> {
        let (key, now) = (manifest.key().clone(), self.clock.now());
        self.keep_manifest(tenant, manifest, now);
        let earlier = self.pulls.get(&(tenant.clone(), key.clone())).cloned();
        if let Some(secret) = earlier.as_ref().and_then(|pull| pull.token.clone()) {
            self.forget_secret(tenant, &secret);
        }
        let token = draft.token.map(|value| self.keep_secret(tenant, value));
        let kept = earlier.is_some_and(|pull| pull.retention == Retention::Pinned);
        let hosts: BTreeSet<HostId> = self.hosts.keys().cloned().collect();
        let missing = hosts.iter().filter(|host| !self.is_whole_on(host, &key)).cloned().collect();
        let row = PullRow {
            tenant: tenant.clone(),
            key: key.clone(),
            reference: draft.reference.clone(),
            choice: draft.choice,
            hub_endpoint: draft.hub_endpoint,
            token,
            created_at: now,
            standing: PullStanding::Wanted { hosts: missing },
            retention: if draft.pin || kept { Retention::Pinned } else { Retention::Evictable },
        };
        if row.retention == Retention::Pinned {
            self.desired_changed.extend(hosts.iter().cloned());
        }
        self.put_pull(row);
        for host in &hosts {
            if !self.is_whole_on(host, &key) {
                self.want_on(host, &key);
            }
        }
        if let Some(host) = hosts.first() {
            self.note_arrival(host, &key, now);
        }
        Ok(self.model_view(tenant, &draft.reference, &key))
    }

    /// Takes up that a model is whole on a host: whoever pulled it there has it.
    pub(super) fn note_arrival(&mut self, host: &HostId, key: &ModelKey, now: Timestamp) {
        let waiting: Vec<PullRow> = self
            .pulls
            .values()
            .filter(|pull| pull.key == *key && matches!(pull.standing, PullStanding::Wanted { .. }))
            .cloned()
            .collect();
        let mut changed = false;
        for mut pull in waiting {
            let PullStanding::Wanted { hosts } = &mut pull.standing else { continue };
            changed |= self.is_whole_on(host, key) && hosts.remove(host);
            if !hosts.is_empty() {
                self.put_pull(pull);
            } else if self.fleet.holders_of(key).next().is_some() {
                pull.standing = PullStanding::Satisfied { at: now };
                tracing::info!(model = %key, "a pull is done");
                self.put_pull(pull);
                changed = true;
            }
        }
        if changed {
            self.want_no_more(key);
        }
    }

    /// Stops wanting a model for operators on hosts to which no pull brings it; workers there may need it on.
    fn want_no_more(&mut self, key: &ModelKey) {
        let holders: Vec<HostId> = self.fleet.holders_of(key).cloned().collect();
        for host in holders {
            let Some(held) = self.fleet.model(&host, key) else { continue };
            if held.desire == Desire::ByOperator && !self.is_pulled_to(&host, key) {
                // The planner lets go of what no worker needs.
                let held = HostModel { desire: Desire::ForWorkers, ..held.clone() };
                self.fleet.put_model(&host, key, held);
                self.desired_changed.insert(host);
            }
        }
    }

    /// Calls the fetch of a model off. What came of it stays on the disk until room is needed.
    pub(crate) fn cancel_pull(&mut self, tenant: &TenantId, text: &str) -> Result<ModelView, Problem> {
        let (reference, key) = self.model_among(tenant, text, Known::Ever)?;
        let now = self.clock.now();
        let pull = self.pulls.get(&(tenant.clone(), key.clone())).cloned();
        let wanted = pull.filter(|pull| matches!(pull.standing, PullStanding::Wanted { .. }));
        let Some(mut pull) = wanted else {
            return Err(Fault::new(ErrorCode::ModelNotFetching, format!("no pull brings {reference}"))
                .with_hint(
                    "a fetch for a start ends with the start: scale the endpoint down, or cancel its jobs",
                )
                .into());
        };
        pull.standing = PullStanding::Cancelled { at: now };
        self.put_pull(pull);
        self.want_no_more(&key);
        Ok(self.model_view(tenant, &reference, &key))
    }

    /// Keeps a model from eviction wherever it is, or no longer.
    pub(crate) fn retain_model(
        &mut self,
        tenant: &TenantId,
        text: &str,
        retention: Retention,
    ) -> Result<ModelView, Problem> {
        let (reference, key) = self.model_of(tenant, text)?;
        let place = (tenant.clone(), key.clone());
        let known = self.pulls.get(&place).cloned();
        let mut row = match known {
            Some(row) => row,
            None => self.row_of_used(tenant, &reference, &key)?,
        };
        row.retention = retention;
        self.put_pull(row);
        self.desired_changed.extend(self.hosts.keys().cloned());
        Ok(self.model_view(tenant, &reference, &key))
    }

    /// Makes the row of a model that came for an endpoint and that nobody pulled.
    fn row_of_used(
        &self,
        tenant: &TenantId,
        reference: &ModelRef,
        key: &ModelKey,
    ) -> Result<PullRow, Problem> {
        let hub_endpoint = self.hub_endpoint_of(tenant, key).ok_or_else(|| {
            Fault::new(ErrorCode::FieldInvalid, format!("no configured hub is named {}", key.repo.hub))
        })?;
        let now = self.clock.now();
        Ok(PullRow {
            tenant: tenant.clone(),
            key: key.clone(),
            reference: reference.clone(),
            choice: self.choice_of(tenant, key),
            hub_endpoint,
            token: None,
            created_at: now,
            standing: PullStanding::Satisfied { at: now },
            retention: Retention::Evictable,
        })
    }

    /// Stops wanting and keeping a model; returns the hosts that have of it.
    pub(crate) fn release_model(&mut self, tenant: &TenantId, text: &str) -> Result<Released, Problem> {
        let (reference, key) = self.model_of(tenant, text)?;
        self.check_unused(tenant, &key)?;
        let now = self.clock.now();
        let pull = self.pulls.get(&(tenant.clone(), key.clone()));
        if pull.is_some_and(|pull| pull.retention == Retention::Pinned) {
            return Err(Fault::new(ErrorCode::ModelPinned, format!("{reference} is pinned"))
                .with_hint(format!("let it go first: larder model unpin {reference}"))
                .into());
        }
        if let Some(mut pull) = self.pulls.get(&(tenant.clone(), key.clone())).cloned() {
            if let Some(secret) = pull.token.take() {
                self.forget_secret(tenant, &secret);
            }
            pull.standing = PullStanding::Removed { at: now };
            self.put_pull(pull);
        }
        let holders: Vec<HostId> = self.fleet.holders_of(&key).cloned().collect();
        for host in &holders {
            if let Some(held) = self.fleet.model(host, &key) {
                let unwanted = HostModel { desire: Desire::None, ..held.clone() };
                self.fleet.put_model(host, &key, unwanted);
            }
        }
        self.desired_changed.extend(self.hosts.keys().cloned());
        let is_connected = |host: &HostId| self.hosts.get(host).is_some_and(|entry| entry.link.is_some());
        let (connected, away) = holders.into_iter().partition(is_connected);
        Ok(Released { key, connected, away })
    }

    /// Refuses when an endpoint or another tenant uses a model.
    fn check_unused(&self, tenant: &TenantId, key: &ModelKey) -> Result<(), Problem> {
        let in_use = |who: String| {
            Fault::new(ErrorCode::ModelInUse, format!("{key} is used by {who}"))
                .with_hint("delete the endpoint, or change its models, first")
        };
        for entry in self.endpoints.values() {
            if entry.releases.values().any(|release| release.row.models.iter().any(|model| model.key == *key))
                && (entry.release().row.models.iter().any(|model| model.key == *key)
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
        let holds = |pull: &PullRow| match pull.standing {
            PullStanding::Wanted { .. } | PullStanding::Satisfied { .. } => true,
            PullStanding::Cancelled { .. } | PullStanding::Removed { .. } => {
                pull.retention == Retention::Pinned
            }
        };
        if self.pulls.values().any(|pull| pull.tenant != *tenant && pull.key == *key && holds(pull)) {
            return Err(in_use("another tenant".to_owned()).into());
        }
        Ok(())
    }

    /// Notes that a host has removed a model.
    pub(crate) fn model_removed(&mut self, host: &HostId, key: &ModelKey) {
        if self.fleet.model(host, key).is_some_and(|held| held.desire == Desire::None) {
            self.fleet.remove_model(host, key);
        }
    }

    /// Wants a model that was damaged there on a host once more.
    pub(crate) fn want_again(&mut self, tenant: &TenantId, key: &ModelKey, host: &HostId) {
        let place = (tenant.clone(), key.clone());
        let reference = self.models_of(tenant).remove(key).and_then(|known| known.into_iter().next());
        let row = match self.pulls.get(&place).cloned() {
            Some(row) => Some(row),
            None => reference.and_then(|reference| self.row_of_used(tenant, &reference, key).ok()),
        };
        let Some(mut row) = row else { return };
        row.standing = match row.standing {
            PullStanding::Wanted { mut hosts } => {
                hosts.insert(host.clone());
                PullStanding::Wanted { hosts }
            }
            PullStanding::Satisfied { .. }
            | PullStanding::Cancelled { .. }
            | PullStanding::Removed { .. } => PullStanding::Wanted { hosts: BTreeSet::from([host.clone()]) },
        };
        self.put_pull(row);
        if let Some(held) = self.fleet.model(host, key) {
            let state = FetchState::ABSENT;
            let held = HostModel { state, desire: Desire::ByOperator, ..held.clone() };
            self.fleet.put_model(host, key, held);
        }
        self.want_on(host, key);
    }

    /// Returns whether a pull brings a model to a host.
    pub(super) fn is_pulled_to(&self, host: &HostId, key: &ModelKey) -> bool {
        self.pulls.values().any(|pull| pull.key == *key && brings_to(pull, host))
    }

    /// Returns the models that are kept from eviction.
    pub(super) fn pinned(&self) -> BTreeSet<ModelKey> {
        let pinned = self.pulls.values().filter(|pull| pull.retention == Retention::Pinned);
        pinned.map(|pull| pull.key.clone()).collect()
    }

    /// Returns whether a host has every file of a model.
    pub(super) fn is_whole_on(&self, host: &HostId, key: &ModelKey) -> bool {
        self.fleet.model(host, key).is_some_and(|held| held.state.is_ready())
    }

    /// Marks what was pulled as wanted on a host. One that was pulled when no host was known goes to the first.
    pub(super) fn want_pulls_on(&mut self, host: &HostId) {
        let mut keys = Vec::new();
        for pull in self.pulls.values().cloned().collect::<Vec<_>>() {
            match &pull.standing {
                PullStanding::Wanted { hosts } if hosts.is_empty() => {
                    let standing = PullStanding::Wanted { hosts: BTreeSet::from([host.clone()]) };
                    keys.push(pull.key.clone());
                    self.put_pull(PullRow { standing, ..pull });
                }
                PullStanding::Wanted { hosts } if hosts.contains(host) => keys.push(pull.key.clone()),
                PullStanding::Wanted { .. }
                | PullStanding::Satisfied { .. }
                | PullStanding::Cancelled { .. }
                | PullStanding::Removed { .. } => {}
            }
        }
        for key in keys {
            self.want_on(host, &key);
        }
    }

    /// Marks a model as wanted on a host by an operator.
    fn want_on(&mut self, host: &HostId, key: &ModelKey) {
        let Some(total) = self.manifests.get(key).map(|manifest| manifest.bytes()) else { return };
        let state = self.fleet.model(host, key).map_or(FetchState::ABSENT, |held| held.state.clone());
        self.fleet.put_model(host, key, HostModel { total, desire: Desire::ByOperator, state });
        self.desired_changed.insert(host.clone());
    }

    /// Keeps the row of a pull.
    pub(super) fn put_pull(&mut self, row: PullRow) {
        self.write(Mutation::PutPull(row.clone()));
        self.pulls.insert((row.tenant.clone(), row.key.clone()), row);
        self.models_changed();
    }

    fn forget_secret(&mut self, tenant: &TenantId, secret: &SecretRef) {
        self.secrets.remove(secret);
        self.write(Mutation::RemoveSecret(tenant.clone(), secret.clone()));
    }
}

/// Returns whether a pull brings its model to a host.
pub(super) fn brings_to(pull: &PullRow, host: &HostId) -> bool {
    match &pull.standing {
        PullStanding::Wanted { hosts } => hosts.contains(host),
        PullStanding::Satisfied { .. } | PullStanding::Cancelled { .. } | PullStanding::Removed { .. } => {
            false
        }
    }
}
