//! What can go wrong in a store: one struct per condition, one enum per operation.

use std::{io, path::PathBuf};

use base::ByteSize;
use types::{Digest, ErrorCode, Fault, ModelKey, RepoPath, Revision};

use crate::{ExtentIndex, Pin, PinnedBy};

/// The disk has no room for what was to be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk has no room while {doing} {}: {} are free", path.display(), match available {
    Some(available) => available.to_string(),
    None => "an unknown number of bytes".to_owned(),
})]
pub struct DiskFull {
    /// What the store was doing, as "reserving".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What was to be written, where that is known.
    pub wanted: Option<ByteSize>,
    /// What was free, where that is known.
    pub available: Option<ByteSize>,
}

/// The disk answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("the disk failed while {doing} {}", path.display())]
pub struct DiskFailed {
    /// What the store was doing, as "renaming".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// Trouble with the disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskTrouble {
    /// It has no room.
    #[error(transparent)]
    Full(#[from] DiskFull),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] DiskFailed),
}

impl DiskTrouble {
    /// Sorts an operating system's error by what a person can do about it.
    pub(crate) fn new(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(DiskFull { doing, path, wanted: None, available: None })
            }
            _ => Self::Failed(DiskFailed { doing, path, source }),
        }
    }

    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Full(full) => {
                let wanted = full.wanted.map_or_else(String::new, |wanted| format!(" (this needs {wanted})"));
                Fault::from_error(ErrorCode::DiskFull, self).with_hint(format!(
                    "free some room{wanted}, or remove models that are no longer used: larder model rm"
                ))
            }
            Self::Failed(_) => Fault::from_error(ErrorCode::DiskError, self)
                .with_hint("look at the system's log (dmesg) and at the disk's health"),
        }
    }
}

/// Another process has the store open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another process uses the store at {}", root.display())]
pub struct StoreLocked {
    /// The store's folder.
    pub root: PathBuf,
}

/// The folder holds no store, or one of a format that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the folder {} is no store that this version can read: {found}", root.display())]
pub struct FormatUnknown {
    /// The folder.
    pub root: PathBuf,
    /// What was found, in words.
    pub found: String,
}

/// A file's bytes are not what its digest promised. They have been thrown away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of {path} hash to {actual}, the hub vouched for {expected}")]
pub struct ContentMismatch {
    /// The file.
    pub path: RepoPath,
    /// What was promised.
    pub expected: Digest,
    /// What the bytes hash to.
    pub actual: Digest,
    /// How many bytes were thrown away.
    pub discarded: ByteSize,
}

impl ContentMismatch {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        Fault::from_error(ErrorCode::ContentMismatch, self)
            .with_hint("the bytes were thrown away and will be fetched again; if it repeats, the hub or a mirror is damaged")
    }
}

/// An extent beyond the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{index} was given, the file has {count} extents")]
pub struct ExtentOutOfRange {
    /// The extent as given.
    pub index: ExtentIndex,
    /// How many the file has.
    pub count: u32,
}

/// Bytes that do not fill their extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{index} holds {expected} bytes, {given} were given")]
pub struct ExtentLength {
    /// The extent.
    pub index: ExtentIndex,
    /// What it holds.
    pub expected: u64,
    /// What was given.
    pub given: u64,
}

/// Another call is writing this extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{index} is being written by another call")]
pub struct ExtentBusy {
    /// The extent.
    pub index: ExtentIndex,
}

/// Extents that are not there yet, or that were read back wrong. What is there is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} extents of {path} are not there", missing.len())]
pub struct ExtentsMissing {
    /// The file.
    pub path: RepoPath,
    /// Which extents.
    pub missing: Vec<ExtentIndex>,
}

/// A sync of this partial file failed before, so nothing of it can be believed; it goes when the writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the partial file could not be made durable and is given up")]
pub struct PartialPoisoned;

/// Files that a model needs and that are not here for this supplier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} files of the model are not here, the first is {first}")]
pub struct BlobsMissing {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: RepoPath,
}

/// The store does not have this model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model {key} is not on this host")]
pub struct ModelNotHere {
    /// The model.
    pub key: ModelKey,
}

impl ModelNotHere {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        Fault::from_error(ErrorCode::ModelNotFound, self)
            .with_hint("larder model list shows what is here; larder model pull fetches it")
    }
}

/// The model is used by a view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model {key} is in use: {leases} leases hold a view of it")]
pub struct ModelInUse {
    /// The model.
    pub key: ModelKey,
    /// How many leases hold it; a view that waits for its first sweep since the store was opened counts as one.
    pub leases: usize,
}

/// An operator keeps the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model {key} is pinned{}", match pin.by {
    PinnedBy::Operator => "",
    PinnedBy::Doubt => ": what is known of it can't be read, and may have held a pin",
})]
pub struct ModelPinned {
    /// The model.
    pub key: ModelKey,
    /// Since when, and by whom.
    pub pin: Pin,
}

/// The model is larger than the cache may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has {bytes}, and models may take {max} on this host")]
pub struct CacheTooSmall {
    /// Bytes of the model.
    pub bytes: ByteSize,
    /// What the limit is.
    pub max: ByteSize,
}

/// The model is larger than what the disk could have free for models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has {bytes}, and the disk has {most} for models when {floor} stay free")]
pub struct DiskTooSmall {
    /// Bytes of the model.
    pub bytes: ByteSize,
    /// What is free and what models take now, without the floor.
    pub most: ByteSize,
    /// What stays free.
    pub floor: ByteSize,
}

/// One revision's name stands where another needs a folder, as `a` and `a/b` do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revisions {file} and {folder} can't be shown side by side: one's name is the other's folder")]
pub struct RefsClash {
    /// The shorter one.
    pub file: Revision,
    /// The longer one.
    pub folder: Revision,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// Another process has it.
    #[error(transparent)]
    Locked(#[from] StoreLocked),
    /// It is no store, or a newer one.
    #[error(transparent)]
    Format(#[from] FormatUnknown),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl OpenStoreError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Locked(locked) => Fault::from_error(ErrorCode::StoreLocked, locked)
                .with_hint("one agent owns a store: stop the other one, or give this one its own --data-dir"),
            Self::Format(format) => Fault::from_error(ErrorCode::StoreFormat, format)
                .with_hint("use the version of Larder that made it, or give an empty folder"),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why a blob could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl ClaimError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why an extent could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteExtentError {
    /// The file has no such extent.
    #[error(transparent)]
    OutOfRange(#[from] ExtentOutOfRange),
    /// The bytes do not fill it.
    #[error(transparent)]
    Length(#[from] ExtentLength),
    /// Another call is writing it.
    #[error(transparent)]
    Busy(#[from] ExtentBusy),
    /// An earlier sync failed.
    #[error(transparent)]
    Poisoned(#[from] PartialPoisoned),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl WriteExtentError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OutOfRange(_) | Self::Length(_) | Self::Busy(_) => {
                Fault::from_error(ErrorCode::Internal, self)
            }
            Self::Poisoned(_) => Fault::from_error(ErrorCode::DiskError, self)
                .with_hint("the file is fetched again from its start; look at the disk's health"),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why a blob could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// Extents are missing; claim again and write them.
    #[error(transparent)]
    Missing(#[from] ExtentsMissing),
    /// The bytes are wrong.
    #[error(transparent)]
    Mismatch(#[from] ContentMismatch),
    /// An earlier sync failed.
    #[error(transparent)]
    Poisoned(#[from] PartialPoisoned),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl FinishError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing(_) | Self::Poisoned(_) => Fault::from_error(ErrorCode::DiskError, self)
                .with_hint("what is missing is fetched again; look at the disk's health"),
            Self::Mismatch(mismatch) => mismatch.fault(),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why a batch of small files could not be published. None of its files was announced.
#[derive(Debug, thiserror::Error)]
pub enum PublishSmallError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl PublishSmallError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why a model could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishModelError {
    /// Files are missing; ask what is missing and fetch it.
    #[error(transparent)]
    Missing(#[from] BlobsMissing),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl PublishModelError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing(missing) => Fault::from_error(ErrorCode::ModelNotFound, missing)
                .with_hint("a file was removed during the fetch; it is fetched again"),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why a model could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveModelError {
    /// It is not here.
    #[error(transparent)]
    NotHere(#[from] ModelNotHere),
    /// It is used.
    #[error(transparent)]
    InUse(#[from] ModelInUse),
    /// An operator keeps it.
    #[error(transparent)]
    Pinned(#[from] ModelPinned),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl RemoveModelError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotHere(not_here) => not_here.fault(),
            Self::InUse(in_use) => Fault::from_error(ErrorCode::ModelInUse, in_use)
                .with_hint("stop the workers that use it (larder worker list), then remove it"),
            Self::Pinned(pinned) => Fault::from_error(ErrorCode::ModelPinned, pinned)
                .with_hint("unpin it first: larder model unpin"),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why what is known of a model could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum KeepModelError {
    /// It is not here.
    #[error(transparent)]
    NotHere(#[from] ModelNotHere),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl KeepModelError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotHere(not_here) => not_here.fault(),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}

/// Why a model could not be verified. Damage that was found is no error but a verdict in the report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyModelError {
    /// It is not here.
    #[error(transparent)]
    NotHere(#[from] ModelNotHere),
}

impl VerifyModelError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotHere(not_here) => not_here.fault(),
        }
    }
}

/// Why a view could not be leased.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The model is not here.
    #[error(transparent)]
    NotHere(#[from] ModelNotHere),
    /// Its refs can't stand side by side.
    #[error(transparent)]
    Refs(#[from] RefsClash),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl ViewError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotHere(not_here) => not_here.fault(),
            Self::Refs(clash) => Fault::from_error(ErrorCode::FieldInvalid, clash)
                .with_hint("name the model by one revision only, or by its commit"),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}
