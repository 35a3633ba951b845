//! What a model is made of: files with sizes and digests, at one commit, for one selection.

use std::{collections::BTreeSet, fmt, str::FromStr};

use base::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{Commit, Digest, ParseDigestError, RepoId, RepoPath};

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Where it stands in the repository.
    pub path: RepoPath,
    /// Its length in bytes.
    pub size: u64,
    /// What its bytes must hash to.
    pub digest: Digest,
}

/// Which files of a commit were kept: a digest of the sorted list of paths and digests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectionKey([u8; 32]);

impl SelectionKey {
    /// Makes a key from the digest that [`Manifest::selection_input`] hashes to.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for SelectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SelectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SelectionKey {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| ParseDigestError {
                text: text.chars().take(80).collect(),
                wanted: "a selection key of 64 lower-case hex digits",
            })
    }
}

impl Serialize for SelectionKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SelectionKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Names one model as placed and mounted: which repository, which commit, which files of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelKey {
    /// The repository.
    pub repo: RepoId,
    /// The commit.
    pub commit: Commit,
    /// The files kept.
    pub selection: SelectionKey,
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.commit.short())
    }
}

/// The files of a model.
///
/// Invariant: not empty; sorted by path; no path twice; no file stands where another file needs a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedManifest")]
pub struct Manifest {
    key: ModelKey,
    files: Vec<ManifestFile>,
    absent: BTreeSet<RepoPath>,
}

#[derive(Deserialize)]
struct UncheckedManifest {
    key: ModelKey,
    files: Vec<ManifestFile>,
    absent: BTreeSet<RepoPath>,
}

impl TryFrom<UncheckedManifest> for Manifest {
    type Error = ManifestError;

    fn try_from(unchecked: UncheckedManifest) -> Result<Self, ManifestError> {
        Self::new(unchecked.key, unchecked.files, unchecked.absent)
    }
}

/// A list of files that is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// There is nothing in it.
    #[error("the list of files is empty")]
    Empty,
    /// A path stands in it twice.
    #[error("the list of files names {0} twice")]
    Duplicate(RepoPath),
    /// A file stands where another file needs a folder.
    #[error("the list of files has {0} both as a file and as a folder")]
    FileAsFolder(RepoPath),
}

impl Manifest {
    /// Makes a manifest. `absent` names optional files that the whole listing of the commit lacks, so that loaders
    /// need not ask for them.
    ///
    /// # Errors
    /// [`ManifestError`] by condition.
    pub fn new(
        key: ModelKey,
        mut files: Vec<ManifestFile>,
        absent: BTreeSet<RepoPath>,
    ) -> Result<Self, ManifestError> {
        files.sort_unstable();
        if files.is_empty() {
            return Err(ManifestError::Empty);
        }
        if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(ManifestError::Duplicate(pair[0].path.clone()));
        }
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let folder_of_another = files.iter().find(|file| {
            let path = file.path.as_str();
            path.match_indices('/').any(|(at, _)| paths.contains(&path[..at]))
        });
        if let Some(file) = folder_of_another {
            return Err(ManifestError::FileAsFolder(file.path.clone()));
        }
        Ok(Self { key, files, absent })
    }

    /// Returns the text whose SHA-256 is the selection key of these files: a line of digest, size and path each,
    /// sorted by path.
    pub fn selection_input(files: &[ManifestFile]) -> String {
        let mut sorted: Vec<_> = files.iter().collect();
        sorted.sort_unstable();
        sorted.iter().map(|file| format!("{} {} {}\n", file.digest, file.size, file.path)).collect()
    }

    /// Returns which model this is.
    pub const fn key(&self) -> &ModelKey {
        &self.key
    }

    /// Returns the files, sorted by path.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// Returns optional files that the commit is known to lack.
    pub const fn absent(&self) -> &BTreeSet<RepoPath> {
        &self.absent
    }

    /// Returns the sum of the sizes of the files.
    pub fn bytes(&self) -> ByteSize {
        self.files.iter().map(|file| ByteSize(file.size)).sum()
    }
}
