//! Where everything stands below the root. Pure: names are made from parsed values only, so none can leave its folder.

use std::path::{Path, PathBuf};

use types::{Digest, ModelKey, RepoId, TenantId};

use crate::{HubStanding, Supplier, ViewId};

/// Marks a root as a store, and of which format.
pub(crate) const FORMAT: &[u8] = b"larder store 1\n";

/// What stands behind the name of a partial file's journal.
pub(crate) const JOURNAL_SUFFIX: &str = ".journal";

const SHARED: &str = "shared";
const MODEL_SUFFIX: &str = ".json";
/// What stands behind the name of the notes on a model.
pub(crate) const NOTES_SUFFIX: &str = ".notes";

/// Whose partial files may be continued by whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PartialOwner {
    /// Fetches from trusted hubs.
    Shared,
    /// Fetches of one tenant from other hubs.
    Tenant(TenantId),
}

impl PartialOwner {
    pub(crate) fn of(supplier: &Supplier) -> Self {
        match supplier.standing {
            HubStanding::Trusted => Self::Shared,
            HubStanding::Untrusted => Self::Tenant(supplier.tenant.clone()),
        }
    }

    /// Reads an owner from the name of its folder.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            SHARED => Some(Self::Shared),
            other => other.parse().ok().map(Self::Tenant),
        }
    }

    fn folder_name(&self) -> &str {
        match self {
            Self::Shared => SHARED,
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

/// The paths of one store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn suppliers(&self) -> PathBuf {
        self.root.join("suppliers.log")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Returns the folder of the blobs whose digest begins with this byte.
    pub(crate) fn fan(&self, first: u8) -> PathBuf {
        self.blobs().join(format!("{first:02x}"))
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.fan(first_byte(digest)).join(digest.to_string())
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn partial_folder(&self, owner: &PartialOwner) -> PathBuf {
        self.partials().join(owner.folder_name())
    }

    pub(crate) fn partial(&self, owner: &PartialOwner, digest: &Digest) -> PathBuf {
        self.partial_folder(owner).join(digest.to_string())
    }

    pub(crate) fn journal(&self, owner: &PartialOwner, digest: &Digest) -> PathBuf {
        self.partial_folder(owner).join(format!("{digest}{JOURNAL_SUFFIX}"))
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Returns the folder of the records of one repository.
    pub(crate) fn model_folder(&self, repo: &RepoId) -> PathBuf {
        self.models().join(repo.hub.as_str()).join(repo.name.as_str().replace('/', "--"))
    }

    pub(crate) fn model(&self, key: &ModelKey) -> PathBuf {
        self.model_folder(&key.repo).join(format!("{}-{}{MODEL_SUFFIX}", key.commit, key.selection))
    }

    /// Returns the file of what is known of a model beside its record.
    pub(crate) fn notes(&self, key: &ModelKey) -> PathBuf {
        self.model_folder(&key.repo).join(format!("{}-{}{NOTES_SUFFIX}", key.commit, key.selection))
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history.log")
    }

    pub(crate) fn verified(&self) -> PathBuf {
        self.root.join("verified.log")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(crate) fn quarantined(&self, digest: &Digest) -> PathBuf {
        self.quarantine().join(digest.to_string())
    }

    pub(crate) fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    pub(crate) fn view(&self, id: ViewId) -> PathBuf {
        self.views().join(id.to_string())
    }

    pub(crate) fn building(&self) -> PathBuf {
        self.root.join("building")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
}

/// Returns the first byte of a digest, which names its folder.
pub(crate) const fn first_byte(digest: &Digest) -> u8 {
    match digest {
        Digest::Sha256(bytes) => bytes[0],
        Digest::GitSha1(bytes) => bytes[0],
    }
}
