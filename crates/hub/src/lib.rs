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
mod gguf;
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
pub use address::file_target;
pub use client::Hub;
pub use error::{
    AnswerInvalid, BodyLong, BodyShort, ConnectionLost, DigestInvalid, FileChanged, FileNotFound, HubError,
    HubSetupError, LinkRefused, ListError, ListingTooLarge, NoFiles, PageElsewhere, PathDuplicate,
    PathRefused, RangesUnsupported, RateLimited, ReadError, RedirectRefused, Refused, RepoDisabled,
    RepoGatedNoToken, RepoGatedNotGranted, RepoNotFound, RepoNotFoundOrPrivate, ResolveModelError, Retry,
    RevisionNotFound, SelectError, ServerError, Stalled, TokenInsecure, TokenScope, TokenWrong,
    TransportError, Unreachable, VariantIncomplete, VariantNotFound,
};
pub use file::{FileSource, RangeBody};
pub use folder::{BucketKeys, Folder, FolderBody, FolderError, FolderFile, FolderOptions, FolderPlace};
pub use forward::{Elsewhere, ForwardRequest, Forwarded};
pub use model::ResolvedModel;
pub use options::{HubLimits, HubOptions, TokenOverHttp};
pub use reqwest::Body as ForwardBody;
pub use resolve::{Resolved, Visibility};
pub use route::{Ask, RepoRoute, Route};
pub use selection::{LeftOut, Selected, Selection, select};
pub use token::{LiveToken, TokenHolder};
