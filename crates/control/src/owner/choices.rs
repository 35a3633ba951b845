//! What was chosen of a repository, as it was recorded when it was asked for.

use api::ModelView;
use types::{Choice, ModelKey, RepoName, TenantId};

use super::Owner;

impl Owner {
    /// Returns what was recorded of a model's choice: by an endpoint that uses it, else by its pull.
    pub(super) fn choice_of(&self, tenant: &TenantId, key: &ModelKey) -> Choice {
        let endpoints = self.endpoints.values().filter(|entry| entry.row.tenant == *tenant);
        let used = endpoints.flat_map(|entry| &entry.release().row.models).find(|model| model.key == *key);
        let pulled = || self.pulls.get(&(tenant.clone(), key.clone())).map(|pull| &pull.choice);
        used.map(|model| &model.choice).or_else(pulled).cloned().unwrap_or_default()
    }

    /// Returns the models of a repository that a tenant uses. Hubs do not tell letters' cases apart, and so don't we.
    pub(crate) fn models_of_repo(&self, tenant: &TenantId, repo: &RepoName) -> Vec<ModelView> {
        let mut list = self.model_list(tenant).models;
        list.retain(|view| {
            [&view.repo, &view.reference.repo]
                .iter()
                .any(|name| name.as_str().eq_ignore_ascii_case(repo.as_str()))
        });
        list
    }
}
