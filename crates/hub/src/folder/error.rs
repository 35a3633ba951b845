//! What reading from a folder or bucket can fail with.

use std::time::Duration;

use types::{ErrorCode, Fault, RepoPath};

use crate::error::{Retry, TransportError};

/// A folder or bucket did not give a range.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text says what it is; `name` is always that of the folder")]
pub enum FolderError {
    #[error("{name} can't be reached at {authority}")]
    Unreachable { name: String, authority: String, source: TransportError },
    #[error("{name} went silent for too long")]
    Stalled { name: String, source: TransportError },
    #[error("the connection to {name} broke")]
    ConnectionLost { name: String, source: TransportError },
    #[error("{name} asks for a pause of {} s", retry_after.as_secs())]
    RateLimited { name: String, retry_after: Duration },
    #[error("{name} answered {status}")]
    Server { name: String, status: u16, retry_after: Option<Duration> },
    #[error("{name} has no {path}")]
    Missing { name: String, path: RepoPath },
    #[error("{name} refuses to give {path} (status {status})")]
    Refused { name: String, path: RepoPath, status: u16 },
    #[error("{name} redirects {reason}")]
    Redirect { name: String, reason: &'static str },
    #[error("{name} holds another {path}: {what}")]
    Changed { name: String, path: RepoPath, what: String },
    #[error("{name} serves no byte ranges of {path}")]
    RangesUnsupported { name: String, path: RepoPath },
    #[error("{name} gave an answer that makes no sense: {what}")]
    Invalid { name: String, what: String },
    #[error("{name} sent {got} of {wanted} bytes of {path}")]
    BodyShort { name: String, path: RepoPath, wanted: u64, got: u64 },
    #[error("{name} sent more than {wanted} bytes of {path}")]
    BodyLong { name: String, path: RepoPath, wanted: u64 },
}

impl FolderError {
    /// Returns whether trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. }
            | Self::Stalled { .. }
            | Self::ConnectionLost { .. }
            | Self::BodyShort { .. } => Retry::Soon,
            Self::RateLimited { retry_after, .. } => Retry::After(*retry_after),
            Self::Server { retry_after, .. } => retry_after.map_or(Retry::Soon, Retry::After),
            Self::RangesUnsupported { .. } => Retry::Whole,
            Self::Missing { .. }
            | Self::Refused { .. }
            | Self::Redirect { .. }
            | Self::Changed { .. }
            | Self::Invalid { .. }
            | Self::BodyLong { .. } => Retry::Never,
        }
    }

    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::Unreachable { .. } => fault(ErrorCode::HubUnreachable)
                .with_hint("check the source's address in the settings, and that this host reaches it"),
            Self::Stalled { .. } => fault(ErrorCode::HubStalled),
            Self::ConnectionLost { .. } | Self::BodyShort { .. } => fault(ErrorCode::HubConnectionLost),
            Self::RateLimited { .. } => fault(ErrorCode::HubRateLimited),
            Self::Server { .. } => fault(ErrorCode::HubServerError).with_hint("try again later"),
            Self::Missing { .. } => {
                fault(ErrorCode::FileNotFound).with_hint("check that the folder is laid out as org/name/path")
            }
            Self::Refused { .. } => fault(ErrorCode::HubRefused)
                .with_hint("check the source's keys in the settings, and this host's clock"),
            Self::Changed { .. } => fault(ErrorCode::ContentMismatch).with_hint(
                "copy the model into the folder again: it is not of the commit that was asked for",
            ),
            Self::Redirect { .. }
            | Self::RangesUnsupported { .. }
            | Self::Invalid { .. }
            | Self::BodyLong { .. } => fault(ErrorCode::HubAnswerInvalid)
                .with_hint("check that a plain file server answers at the source's address"),
        }
    }
}
