//! What each operation of the hub client can fail with, as a sum of conditions, and what a caller may do about it.

mod conditions;
mod selecting;

use std::time::Duration;

use types::{ErrorCode, Fault};

pub use conditions::{
    AnswerInvalid, BodyLong, BodyShort, ConnectionLost, DigestInvalid, DocumentChanged, FileChanged,
    FileNotFound, LinkRefused, ListingTooLarge, PageElsewhere, PathDuplicate, PathRefused, RangesUnsupported,
    RateLimited, RedirectRefused, Refused, RepoDisabled, RepoGatedNoToken, RepoGatedNotGranted, RepoNotFound,
    RepoNotFoundOrPrivate, RevisionNotFound, ServerError, Stalled, TokenInsecure, TokenScope, TokenWrong,
    TransportError, Unreachable,
};
pub use selecting::{
    AvailableVariant, DocumentInvalid, IndexInvalid, IndexPathMissing, IndexPathRefused, NoFiles,
    SelectError, SelectionEmpty, VariantIncomplete, VariantNotFound, VariantWithPatterns, WeightsPickled,
};

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Yes, at the caller's pace.
    Soon,
    /// Yes, but not before this long.
    After(Duration),
    /// Yes, for the whole file from its first byte: ranges are not given.
    Whole,
    /// No: the same question gets the same answer.
    Never,
}

/// A hub client that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum HubSetupError {
    /// The endpoint is no address that a hub can have.
    #[error("the hub's address {endpoint} can't be used: {reason}")]
    Endpoint {
        /// The address, without user and query.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Client(#[source] reqwest::Error),
}

impl HubSetupError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Endpoint { .. } => Fault::from_error(ErrorCode::FieldInvalid, self)
                .with_hint("give the hub's address as https://host, without user, query or fragment"),
            Self::Client(_) => Fault::from_error(ErrorCode::Internal, self),
        }
    }
}

/// What any question to a hub can fail with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "each variant holds the condition of its name, which is documented there")]
pub enum HubError {
    Unreachable(#[from] Unreachable),
    Stalled(#[from] Stalled),
    ConnectionLost(#[from] ConnectionLost),
    RateLimited(#[from] RateLimited),
    ServerError(#[from] ServerError),
    AnswerInvalid(#[from] AnswerInvalid),
    RedirectRefused(#[from] RedirectRefused),
    TokenInsecure(#[from] TokenInsecure),
    TokenWrong(#[from] TokenWrong),
    TokenScope(#[from] TokenScope),
    RepoNotFound(#[from] RepoNotFound),
    RepoNotFoundOrPrivate(#[from] RepoNotFoundOrPrivate),
    RepoGatedNoToken(#[from] RepoGatedNoToken),
    RepoGatedNotGranted(#[from] RepoGatedNotGranted),
    RepoDisabled(#[from] RepoDisabled),
    RevisionNotFound(#[from] RevisionNotFound),
    FileNotFound(#[from] FileNotFound),
    Refused(#[from] Refused),
}

impl HubError {
    /// Returns whether trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable(_) | Self::Stalled(_) | Self::ConnectionLost(_) => Retry::Soon,
            Self::RateLimited(error) => Retry::After(error.retry_after),
            Self::ServerError(error) => error.retry_after.map_or(Retry::Soon, Retry::After),
            Self::AnswerInvalid(_)
            | Self::RedirectRefused(_)
            | Self::TokenInsecure(_)
            | Self::TokenWrong(_)
            | Self::TokenScope(_)
            | Self::RepoNotFound(_)
            | Self::RepoNotFoundOrPrivate(_)
            | Self::RepoGatedNoToken(_)
            | Self::RepoGatedNotGranted(_)
            | Self::RepoDisabled(_)
            | Self::RevisionNotFound(_)
            | Self::FileNotFound(_)
            | Self::Refused(_) => Retry::Never,
        }
    }

    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::Unreachable(_) => fault(ErrorCode::HubUnreachable)
                .with_hint("check that this host reaches the hub's address; a proxy is part of the configuration"),
            Self::Stalled(_) => fault(ErrorCode::HubStalled),
            Self::ConnectionLost(_) => fault(ErrorCode::HubConnectionLost),
            Self::RateLimited(_) => fault(ErrorCode::HubRateLimited)
                .with_hint("wait; with --hf-token the hub's limits are higher than without"),
            Self::ServerError(_) => fault(ErrorCode::HubServerError).with_hint("try again later"),
            Self::AnswerInvalid(_) | Self::RedirectRefused(_) => fault(ErrorCode::HubAnswerInvalid)
                .with_hint("check that the address is that of a Hugging Face hub and that no proxy answers in its place"),
            Self::TokenInsecure(_) => fault(ErrorCode::HubTokenInsecure)
                .with_hint("give the hub an https address, or leave the token out"),
            Self::TokenWrong(_) => fault(ErrorCode::HubTokenWrong)
                .with_hint("make a new token in the hub's settings and pass it with --hf-token"),
            Self::TokenScope(_) => fault(ErrorCode::HubTokenScope).with_hint(
                "enable access to public gated repositories in the settings of the fine-grained token",
            ),
            Self::RepoNotFound(_) => fault(ErrorCode::RepoNotFound)
                .with_hint("check the spelling, and that the token's owner may read the repository"),
            Self::RepoNotFoundOrPrivate(_) => fault(ErrorCode::RepoNotFoundOrPrivate)
                .with_hint("check the spelling; if the repository is private, pass --hf-token"),
            Self::RepoGatedNoToken(error) => fault(ErrorCode::RepoGatedNoToken)
                .with_hint(format!("accept the terms at {}, then pass --hf-token", error.page)),
            Self::RepoGatedNotGranted(error) => fault(ErrorCode::RepoGatedNotGranted)
                .with_hint(format!("ask for access at {} as the token's owner, then try again", error.page)),
            Self::RepoDisabled(_) => fault(ErrorCode::RepoDisabled).with_hint("choose another repository"),
            Self::RevisionNotFound(_) => fault(ErrorCode::RevisionNotFound)
                .with_hint("give a branch, tag or full commit that the repository has"),
            Self::FileNotFound(_) => fault(ErrorCode::FileNotFound),
            Self::Refused(_) => fault(ErrorCode::HubRefused),
        }
    }
}

/// What listing a repository can fail with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "each variant holds the condition of its name, which is documented there")]
pub enum ListError {
    Hub(#[from] HubError),
    PathRefused(#[from] PathRefused),
    PathDuplicate(#[from] PathDuplicate),
    DigestInvalid(#[from] DigestInvalid),
    TooLarge(#[from] ListingTooLarge),
    PageElsewhere(#[from] PageElsewhere),
}

impl ListError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::Hub(error) => error.fault(),
            Self::PathRefused(_) => fault(ErrorCode::PathRefused).with_hint(
                "nothing was written; do not use this repository until its owner has removed the file",
            ),
            Self::PathDuplicate(_) | Self::DigestInvalid(_) | Self::PageElsewhere(_) => {
                fault(ErrorCode::HubAnswerInvalid)
                    .with_hint("do not trust this hub until its operator has explained it")
            }
            Self::TooLarge(_) => {
                fault(ErrorCode::HubAnswerInvalid).with_hint("choose a repository with fewer files")
            }
        }
    }
}

/// What reading a range of a file can fail with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "each variant holds the condition of its name, which is documented there")]
pub enum ReadError {
    Hub(#[from] HubError),
    Changed(#[from] FileChanged),
    RangesUnsupported(#[from] RangesUnsupported),
    BodyShort(#[from] BodyShort),
    BodyLong(#[from] BodyLong),
    LinkRefused(#[from] LinkRefused),
}

impl ReadError {
    /// Returns whether trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Hub(error) => error.retry(),
            Self::BodyShort(_) | Self::LinkRefused(_) => Retry::Soon,
            Self::RangesUnsupported(_) => Retry::Whole,
            Self::Changed(_) | Self::BodyLong(_) => Retry::Never,
        }
    }

    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::Hub(error) => error.fault(),
            Self::Changed(_) => fault(ErrorCode::ContentMismatch)
                .with_hint("resolve the model again; if it stays so, do not trust this hub"),
            Self::RangesUnsupported(_) | Self::BodyLong(_) => fault(ErrorCode::HubAnswerInvalid)
                .with_hint("check that no proxy between this host and the hub rewrites its answers"),
            Self::BodyShort(_) => fault(ErrorCode::HubConnectionLost),
            Self::LinkRefused(_) => fault(ErrorCode::HubRefused)
                .with_hint("check this host's clock, and that it leaves to the internet by one address"),
        }
    }
}

/// What finding out all about a model can fail with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "each variant holds the error of its step, which is documented there")]
pub enum ResolveModelError {
    Hub(#[from] HubError),
    List(#[from] ListError),
    Read(#[from] ReadError),
    DocumentChanged(#[from] DocumentChanged),
    Select(#[from] SelectError),
}

impl ResolveModelError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Hub(error) => error.fault(),
            Self::List(error) => error.fault(),
            Self::Read(error) => error.fault(),
            Self::DocumentChanged(_) => Fault::from_error(ErrorCode::ContentMismatch, self)
                .with_hint("resolve the model again; if it stays so, do not trust this hub"),
            Self::Select(error) => error.fault(),
        }
    }
}
