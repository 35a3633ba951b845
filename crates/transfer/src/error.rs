//! What a fetch can fail with.

use base::{ByteSize, TaskError};
use store::{
    ClaimError, ContentMismatch, DiskTrouble, FinishError, PublishModelError, PublishSmallError,
    WriteExtentError,
};
use types::{ErrorCode, Fault, RepoPath};

/// A source would not give a file's bytes, for good or for too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} could not be fetched from {name}")]
pub struct SourceFailed {
    /// The source's name.
    pub name: String,
    /// The file.
    pub path: RepoPath,
    /// What the source said last.
    #[source]
    pub fault: Fault,
}

/// Every source of a file gave wrong bytes for it, and each a second time. They were thrown away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} gave wrong bytes twice")]
pub struct ContentRefused {
    /// The sources' names.
    pub name: String,
    /// What came and what was promised.
    pub source: ContentMismatch,
}

/// The disk has no room for what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model still needs {missing} and the disk has room for {room}")]
pub struct NoRoom {
    /// Bytes still to be brought.
    pub missing: ByteSize,
    /// Bytes that the disk has for them.
    pub room: ByteSize,
}

/// The fetch was cancelled; what it brought is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fetch was cancelled")]
pub struct FetchCancelled;

/// The fetch ended without a result: its task panicked, or the transfer was stopped before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fetch ended without a result")]
pub struct FetchAbandoned;

/// Too many fetches are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting_max} fetches are waiting already")]
pub struct TransferFull {
    /// How many may wait.
    pub waiting_max: usize,
}

/// What a fetch can fail with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[expect(
    missing_docs,
    reason = "each variant holds the condition or the store's error of its name, documented there"
)]
pub enum FetchError {
    Source(#[from] SourceFailed),
    Content(#[from] ContentRefused),
    NoRoom(#[from] NoRoom),
    Claim(#[from] ClaimError),
    Write(#[from] WriteExtentError),
    Finish(#[from] FinishError),
    Small(#[from] PublishSmallError),
    Model(#[from] PublishModelError),
    Disk(#[from] DiskTrouble),
    Cancelled(#[from] FetchCancelled),
    Abandoned(#[from] FetchAbandoned),
    Full(#[from] TransferFull),
    Panicked(#[from] TaskError),
}

impl FetchError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::Source(error) => Fault { hint: error.fault.hint.clone(), ..fault(error.fault.code) },
            Self::Content(_) => fault(ErrorCode::ContentMismatch).with_hint(
                "the bytes were thrown away; check the source and what stands between it and this host",
            ),
            Self::NoRoom(_) => fault(ErrorCode::DiskFull).with_hint(
                "free some room on the disk, or remove models that are not needed: larder model rm",
            ),
            Self::Claim(error) => error.fault(),
            Self::Write(error) => error.fault(),
            Self::Finish(error) => error.fault(),
            Self::Small(error) => error.fault(),
            Self::Model(error) => error.fault(),
            Self::Disk(error) => error.fault(),
            Self::Cancelled(_) | Self::Abandoned(_) => fault(ErrorCode::Unavailable),
            Self::Full(_) => fault(ErrorCode::Unavailable).with_hint("wait until some fetches are done"),
            Self::Panicked(_) => fault(ErrorCode::Internal),
        }
    }
}
