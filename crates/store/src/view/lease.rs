//! A held view.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{ViewId, ViewSpec, plan::HUB_FOLDER, remove};
use crate::store::Inner;

/// Keeps a view, and the bytes of its model, while it is held. The last one dropped removes the folder (a few dozen
/// calls to the disk: drop it on the blocking pool).
pub struct ViewLease {
    store: Arc<Inner>,
    id: ViewId,
    spec: ViewSpec,
    hub: PathBuf,
    repo: PathBuf,
    repo_folder_name: String,
}

impl fmt::Debug for ViewLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewLease").field("id", &self.id).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl ViewLease {
    pub(super) fn new(store: Arc<Inner>, id: ViewId, spec: ViewSpec) -> Self {
        let hub = store.layout.view(id).join(HUB_FOLDER);
        let repo_folder_name = spec.key.repo.name.cache_folder();
        Self { repo: hub.join(&repo_folder_name), hub, repo_folder_name, store, id, spec }
    }

    /// Returns the view's identity.
    pub const fn id(&self) -> ViewId {
        self.id
    }

    /// Returns what it shows.
    pub const fn spec(&self) -> &ViewSpec {
        &self.spec
    }

    /// Returns the folder of the repository: `…/models--org--name`.
    pub fn path(&self) -> &Path {
        &self.repo
    }

    /// Returns the folder above it, which is a whole Hugging Face cache of this one repository.
    pub fn hub_path(&self) -> &Path {
        &self.hub
    }

    /// Returns the repository's folder name, `models--org--name`.
    pub fn repo_folder_name(&self) -> &str {
        &self.repo_folder_name
    }
}

impl Drop for ViewLease {
    fn drop(&mut self) {
        if self.store.views.give_back(self.id)
            && let Err(error) = remove(&self.store, self.id)
        {
            tracing::warn!(view = %self.id, %error, "a view that nobody holds stays until the next sweep");
        }
    }
}
