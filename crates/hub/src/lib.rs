//! Client of the Hugging Face Hub protocol: what a repository holds, who may read it, and its bytes by range.
//!
//! **Invariant:** nothing here writes a file or starts a task; nothing here decides about retries of downloads
//! (`transfer` does). A token leaves only to the origin of the endpoint that it is meant for.

mod access;
mod address;
mod answer;
mod client;
mod error;
mod file;
mod folder;
mod forward;
mod listing;
mod model;
mod options;
mod resolve;
mod route;
mod selection;
#[cfg(test)]
mod tests;
mod token;
mod window;

pub use access::weight_file;
pub use client::Hub;
pub use error::{
    AnswerInvalid, AvailableVariant, BodyLong, BodyShort, ConnectionLost, DigestInvalid, DocumentChanged,
    DocumentInvalid, FileChanged, FileNotFound, HubError, HubSetupError, IndexInvalid, IndexPathMissing,
    IndexPathRefused, LinkRefused, ListError, ListingTooLarge, NoFiles, PageElsewhere, PathDuplicate,
    PathRefused, RangesUnsupported, RateLimited, ReadError, RedirectRefused, Refused, RepoDisabled,
    RepoGatedNoToken, RepoGatedNotGranted, RepoNotFound, RepoNotFoundOrPrivate, ResolveModelError, Retry,
    RevisionNotFound, SelectError, SelectionEmpty, ServerError, Stalled, TokenInsecure, TokenScope,
    TokenWrong, TransportError, Unreachable, VariantIncomplete, VariantNotFound, VariantWithPatterns,
    WeightsPickled,
};
pub use file::{FileSource, RangeBody};
pub use folder::{BucketKeys, Folder, FolderBody, FolderError, FolderFile, FolderOptions, FolderPlace};
pub use forward::{Elsewhere, ForwardRequest, Forwarded};
pub use model::{OfferedModel, ResolvedModel};
pub use options::{HubLimits, HubOptions, TokenOverHttp};
pub use reqwest::Body as ForwardBody;
pub use resolve::{Resolved, Visibility};
pub use route::{Ask, RepoRoute, Route};
pub use selection::{Documents, Offer, RepoKind, Selected, Survey, documents_wanted, select};
pub use token::{LiveToken, TokenHolder};
