//! One way to take the weights of a repository. Pure.

use std::collections::BTreeSet;

use types::{RepoPath, RepoPathError};

use super::nature::Format;

/// The rank of candidates that are taken only when they are asked for.
pub(super) const ASKED: u32 = 100;

/// A set of weights that a loader can be given, with the names that it can be asked for by.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Not empty; the first is shown.
    pub(super) names: Vec<String>,
    pub(super) format: Format,
    /// Places in the listing: weights and their indexes.
    pub(super) files: BTreeSet<usize>,
    /// Folders whose companions come along, beside those of folders without weights.
    pub(super) folders: BTreeSet<String>,
    /// The lowest is the default: what loaders take first, then a preference, then size.
    pub(super) order: (u32, usize, u64),
    /// Why it can't be taken.
    pub(super) trouble: Option<Trouble>,
}

impl Candidate {
    /// Returns the name that is shown.
    pub(super) fn name(&self) -> &str {
        &self.names[0]
    }

    /// Returns whether a reference without a variant may mean this.
    pub(super) fn is_default_worthy(&self) -> bool {
        self.order.0 < ASKED
    }
}

/// Why a set of weights can't be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    PartMissing {
        part: u32,
        parts: u32,
    },
    /// The index names a file that the listing lacks.
    NotListed {
        index: RepoPath,
        path: RepoPath,
    },
    /// The index names a path that is refused.
    PathRefused {
        index: RepoPath,
        error: RepoPathError,
    },
    /// The index can't be read.
    IndexInvalid {
        index: RepoPath,
        reason: String,
    },
}
