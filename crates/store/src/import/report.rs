//! What came of an import, snapshot by snapshot.

use std::{fmt, time::Duration};

use base::ByteSize;
use types::{Commit, Digest, Fault, ModelKey, RepoName};

/// What came of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// The snapshots that were reached, sorted by repository and commit.
    pub snapshots: Vec<ImportedSnapshot>,
    /// Entries of the cache that are no model, or none that can be taken; the first 1,000.
    pub skipped: Vec<Skipped>,
    /// What the bytes cost.
    pub bytes: ImportBytes,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub end: ImportEnd,
}

/// How an import ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportEnd {
    /// Every snapshot was reached.
    Finished,
    /// The observer ended it. What was reached is kept; running it again goes on from there.
    Cancelled,
    /// The store's disk ended it. What was reached is kept; running it again goes on from there.
    Stopped(Fault),
}

/// What the bytes of an import cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportBytes {
    /// Bytes that have one more name now, and take no room.
    pub linked: ByteSize,
    /// Bytes that share their blocks with the cache, and take no room until it goes.
    pub cloned: ByteSize,
    /// Bytes that were copied.
    pub copied: ByteSize,
    /// Bytes that were in the store already, not read again.
    pub already_here: ByteSize,
}

impl ImportBytes {
    /// Returns the bytes that were not in the store before.
    pub(super) const fn brought(&self) -> u64 {
        self.linked.bytes() + self.cloned.bytes() + self.copied.bytes()
    }
}

/// What came of one snapshot of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedSnapshot {
    /// The repository, in the cache's spelling.
    pub repo: RepoName,
    /// The commit.
    pub commit: Commit,
    /// The names that lead to it in the cache, as `main`; none for a detached one.
    pub refs: Vec<String>,
    /// Its files, without those that have a flaw.
    pub files: u64,
    /// Their size together.
    pub bytes: ByteSize,
    /// What its listing names and the snapshot does not have, where the cache keeps listings.
    pub left_out: LeftOut,
    /// Files that nothing in the cache vouches for: they are named by what they hash to.
    pub unvouched: u64,
    /// What became of it.
    pub outcome: SnapshotOutcome,
    /// What is wrong with its files; the first 20.
    pub flaws: Vec<FileFlaw>,
    /// How many flaws there are in all.
    pub flaws_total: u64,
}

/// What a listing names beyond a snapshot: never asked for, or a download that was cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many files.
    pub files: u64,
    /// Their size together.
    pub bytes: ByteSize,
}

/// What became of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// It is a model of this store now.
    Imported(ModelKey),
    /// It was one before.
    AlreadyHere(ModelKey),
    /// Files of it are missing or damaged. Those that are whole were kept, for a fetch that needs them.
    Incomplete,
    /// Nothing of it was taken.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What is wrong with one file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFlaw {
    /// The file, as the cache names it.
    pub path: String,
    /// What is wrong.
    pub problem: FileProblem,
}

/// What can be wrong with a file of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileProblem {
    /// Its link leads to nothing.
    Dangling,
    /// Another file of the snapshot names it, and it is not there.
    Missing,
    /// Its link leads out of the cache.
    LeadsOut,
    /// It is no regular file.
    NotAFile,
    /// Its name is refused.
    NameRefused(String),
    /// Its bytes are not what its name in the cache says.
    Damaged {
        /// What the cache says.
        expected: Digest,
        /// What they hash to.
        actual: Digest,
    },
    /// The cache's listing says that another file belongs here.
    NotAsListed,
    /// It changed while it was read.
    Changed,
    /// It belongs to another user, so that it can't be linked.
    NotOurs,
    /// A fetch is bringing it right now.
    BeingFetched,
    /// It could not be read.
    Unreadable(String),
}

impl FileProblem {
    /// Returns whether the snapshot that has it is refused as a whole, and not merely incomplete.
    pub(super) const fn refuses(&self) -> bool {
        match self {
            Self::LeadsOut | Self::NotAFile | Self::NameRefused(_) | Self::NotOurs => true,
            Self::Dangling
            | Self::Missing
            | Self::Damaged { .. }
            | Self::NotAsListed
            | Self::Changed
            | Self::BeingFetched
            | Self::Unreadable(_) => false,
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dangling => f.write_str("its link leads to nothing"),
            Self::Missing => f.write_str("it is missing"),
            Self::LeadsOut => f.write_str("its link leads out of the cache"),
            Self::NotAFile => f.write_str("it is no regular file"),
            Self::NameRefused(reason) => write!(f, "its name is refused: {reason}"),
            Self::Damaged { expected, actual } => write!(f, "its bytes hash to {actual}, not to {expected}"),
            Self::NotAsListed => f.write_str("the cache's listing says that another file belongs here"),
            Self::Changed => f.write_str("it changed while it was read"),
            Self::NotOurs => f.write_str("it belongs to another user, so it can't be linked"),
            Self::BeingFetched => f.write_str("a fetch is bringing it right now"),
            Self::Unreadable(reason) => write!(f, "it can't be read: {reason}"),
        }
    }
}

/// An entry of the cache that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name in the cache.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}
