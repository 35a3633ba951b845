//! One model as a worker may have it: the files of a view, by path. Pure but for where the bytes are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use sha2::{Digest as _, Sha256};
use store::StoredModel;
use types::{Commit, ManifestFile, ModelKey, RepoPath, Revision};

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// It is a file of the view.
    File(&'a ManifestFile),
    /// The commit has no such file.
    Absent,
    /// It is not in the view; the commit may have it.
    NotKept,
}

/// The files of a view.
#[derive(Debug)]
pub(super) struct ModelShelf {
    model: Arc<StoredModel>,
    refs: BTreeSet<Revision>,
    blobs: PathBuf,
    folders: OnceLock<BTreeMap<String, String>>,
}

impl ModelShelf {
    /// Makes a shelf of a view. `folder` is the view's `models--org--name`.
    pub(super) fn new(model: Arc<StoredModel>, mut refs: BTreeSet<Revision>, folder: &Path) -> Self {
        refs.insert(Revision::main());
        Self { model, refs, blobs: folder.join("blobs"), folders: OnceLock::new() }
    }

    pub(super) fn key(&self) -> &ModelKey {
        self.model.manifest.key()
    }

    pub(super) fn commit(&self) -> Commit {
        self.model.manifest.key().commit
    }

    pub(super) fn files(&self) -> &[ManifestFile] {
        self.model.manifest.files()
    }

    /// Returns the names that lead to the commit.
    pub(super) const fn refs(&self) -> &BTreeSet<Revision> {
        &self.refs
    }

    /// Returns whether a revision as asked for means the commit that is here.
    pub(super) fn is_here(&self, revision: &str) -> bool {
        revision.parse() == Ok(self.commit()) || self.refs.iter().any(|known| known.as_str() == revision)
    }

    /// Looks a path up, as it was asked for.
    pub(super) fn find(&self, path: &str) -> Found<'_> {
        // A path that is refused names no file of any commit that was fetched.
        let Ok(path) = path.parse::<RepoPath>() else { return Found::Absent };
        let files = self.model.manifest.files();
        match files.binary_search_by(|file| file.path.cmp(&path)) {
            Ok(at) => Found::File(&files[at]),
            Err(_) if self.model.manifest.absent().contains(&path) => Found::Absent,
            Err(_) => Found::NotKept,
        }
    }

    /// Returns where the bytes of a file are.
    pub(super) fn place(&self, file: &ManifestFile) -> PathBuf {
        self.blobs.join(file.digest.to_string())
    }

    /// Returns the folders, each with a name for its state: not git's, which depends on files that are not here.
    pub(super) fn folders(&self) -> &BTreeMap<String, String> {
        self.folders.get_or_init(|| {
            let mut states: BTreeMap<&str, Sha256> = BTreeMap::new();
            for file in self.files() {
                let path = file.path.as_str();
                for (at, _) in path.match_indices('/') {
                    let state = states.entry(&path[..at]).or_default();
                    state.update(format!("{} {path}\n", file.digest));
                }
            }
            let named = states.into_iter().map(|(folder, state)| {
                let mut name = data_encoding::HEXLOWER.encode(&state.finalize());
                // As long as git's.
                name.truncate(40);
                (folder.to_owned(), name)
            });
            named.collect()
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
