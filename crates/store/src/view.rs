//! Views: read-only folders in the Hugging Face cache layout, made of hard links, shared by leases.

use std::{collections::BTreeSet, fmt, path::Path};

use types::{ModelKey, Revision};

/// What a view shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSpec {
    /// The model.
    pub key: ModelKey,
    /// The refs that lead to its commit, besides `main`, which always does.
    pub refs: BTreeSet<Revision>,
}

/// The identity of a view: a hash of what it shows, the same after every restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId([u8; 16]);

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keeps a view, and the bytes of its model, while it is held. The last one dropped removes the folder.
#[derive(Debug)]
pub struct ViewLease(());

impl ViewLease {
    /// Returns the view's identity.
    pub fn id(&self) -> ViewId {
        unreachable!("being built")
    }

    /// Returns what it shows.
    pub fn spec(&self) -> &ViewSpec {
        unreachable!("being built")
    }

    /// Returns the folder of the repository: `…/models--org--name`.
    pub fn path(&self) -> &Path {
        unreachable!("being built")
    }

    /// Returns the folder above it, which is a whole Hugging Face cache of this one repository.
    pub fn hub_path(&self) -> &Path {
        unreachable!("being built")
    }

    /// Returns the repository's folder name, `models--org--name`.
    pub fn repo_folder_name(&self) -> &str {
        unreachable!("being built")
    }
}
