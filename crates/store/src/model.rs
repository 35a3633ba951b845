//! Models that are whole: the durable record of each.

use base::{ByteSize, Timestamp};
use serde::{Deserialize, Serialize};
use types::{Digest, Manifest, ModelKey, RepoPath};

/// A model whose files are all here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredModel {
    /// Its files.
    pub manifest: Manifest,
    /// When it became whole on this host.
    pub published_at: Timestamp,
}

/// What removing a model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Blobs that no other model names and that are gone.
    pub blobs: u64,
    /// Bytes that the disk has free again.
    pub freed: ByteSize,
    /// Bytes of removed blobs that stay on the disk because views still hold them.
    pub held: ByteSize,
}

/// What was found of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileVerdict {
    /// Its bytes are what its digest says.
    Sound,
    /// Its bytes hash to something else.
    Damaged {
        /// What they hash to.
        actual: Digest,
    },
    /// It is not there.
    Missing,
    /// The disk would not give it.
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
}

/// One file of a verified model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedFile {
    /// The file.
    pub path: RepoPath,
    /// What its bytes must hash to.
    pub digest: Digest,
    /// Its length.
    pub size: ByteSize,
    /// What was found.
    pub verdict: FileVerdict,
}

/// What re-reading every byte of a model found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The model.
    pub key: ModelKey,
    /// Its files, sorted by path.
    pub files: Vec<VerifiedFile>,
}

impl VerifyReport {
    /// Returns whether every file is sound.
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(|file| file.verdict == FileVerdict::Sound)
    }
}
