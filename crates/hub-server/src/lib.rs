//! A Hub from a folder: serves repositories of models in the Hugging Face Hub protocol.
//!
//! For models that are on no hub, for sites without a way out, and for tests: real identities (git and large-file
//! storage), real redirects to a second origin with signed links, gated and private repositories. It takes no
//! uploads and keeps no history: a branch is a folder, and its commit is derived from what is in it.

mod access;
mod cdn;
mod faults;
mod folder;
mod git;
mod hub;
mod identity;
mod link;
mod listing;
mod quota;
mod record;
mod refusal;
mod send;
mod server;
mod shelf;

pub use access::{AccessRules, AccessRulesError, RepoAccess};
pub use faults::{BodyFault, Failure, Faults, Harm, Hit, ListingLie};
pub use identity::HashProgress;
pub use quota::Quotas;
pub use record::{Origin, RequestRecord};
pub use server::{HubHandle, HubServer, HubServerError, HubServerOptions, RepoSummary};
