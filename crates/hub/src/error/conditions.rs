//! One struct for each thing that can go wrong with a hub.
//!
//! No struct holds a token or the query of a signed link; words that came from a hub are cut and cleaned first.

use std::time::Duration;

use types::{HubName, RepoName, RepoPath, Revision};

/// What the transport says, in its innermost words: the layers around them say "error sending request" and no more.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct TransportError {
    words: String,
}

impl TransportError {
    /// Takes the words of the last source. The address is in none of them: it may be a signed link, which is a secret.
    pub(crate) fn innermost(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut source: &dyn std::error::Error = &error;
        while let Some(next) = source.source() {
            source = next;
        }
        Self { words: source.to_string() }
    }
}

/// No connection to the hub could be made.
#[derive(Debug, thiserror::Error)]
#[error("hub {hub} can't be reached at {authority}")]
pub struct Unreachable {
    /// The hub.
    pub hub: HubName,
    /// Host and port that were tried.
    pub authority: String,
    /// Why.
    pub source: TransportError,
}

/// A connection was silent for too long.
#[derive(Debug, thiserror::Error)]
#[error("hub {hub} went silent for too long ({authority})")]
pub struct Stalled {
    /// The hub.
    pub hub: HubName,
    /// Host and port that went silent.
    pub authority: String,
    /// What gave up.
    pub source: TransportError,
}

/// A connection broke amid a question or an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection to hub {hub} broke ({authority})")]
pub struct ConnectionLost {
    /// The hub.
    pub hub: HubName,
    /// Host and port of the connection.
    pub authority: String,
    /// Why.
    pub source: TransportError,
}

/// The hub asks for a pause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} asks for a pause of {} s", retry_after.as_secs())]
pub struct RateLimited {
    /// The hub.
    pub hub: HubName,
    /// How long it asks to wait.
    pub retry_after: Duration,
}

/// The hub failed by its own fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} answered {status} ({authority})")]
pub struct ServerError {
    /// The hub.
    pub hub: HubName,
    /// Host and port that answered.
    pub authority: String,
    /// The HTTP status.
    pub status: u16,
    /// How long it asks to wait, if it says so.
    pub retry_after: Option<Duration>,
}

/// The hub's answer can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} gave an answer that makes no sense: {what}")]
pub struct AnswerInvalid {
    /// The hub.
    pub hub: HubName,
    /// What is wrong with it.
    pub what: String,
}

/// The hub redirects to where the client will not go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} redirects {reason}")]
pub struct RedirectRefused {
    /// The hub.
    pub hub: HubName,
    /// What is wrong with it, to be read after "redirects".
    pub reason: &'static str,
}

/// A token would cross a network unencrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} is at a plain http address, so the token was not sent")]
pub struct TokenInsecure {
    /// The hub.
    pub hub: HubName,
}

/// The hub has no such repository, or the token has no right to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} has no repository {repo} that this token may read")]
pub struct RepoNotFound {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
}

/// The hub has no such repository, or it is private: without a token it does not say which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} has no public repository {repo}: it is missing or private")]
pub struct RepoNotFoundOrPrivate {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
}

/// The repository is gated and no token was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} is gated and no token was given")]
pub struct RepoGatedNoToken {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The page on which its terms are accepted.
    pub page: String,
}

/// The repository is gated and the token's owner has no access.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} is gated and the token's owner has no access to it")]
pub struct RepoGatedNotGranted {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The page on which access is asked for.
    pub page: String,
}

/// The hub has taken the repository down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} has disabled repository {repo}")]
pub struct RepoDisabled {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
}

/// The hub does not accept the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} does not accept the token")]
pub struct TokenWrong {
    /// The hub.
    pub hub: HubName,
}

/// The token is valid but its scope leaves gated repositories out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token may not read gated repositories of hub {hub}, and {repo} is one")]
pub struct TokenScope {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
}

/// The hub refuses for a reason that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} refuses to answer about {repo} (status {status}): {words}")]
pub struct Refused {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The HTTP status.
    pub status: u16,
    /// The hub's own words.
    pub words: String,
}

/// The repository has no such branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} has no revision {revision}")]
pub struct RevisionNotFound {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The revision asked for.
    pub revision: Revision,
}

/// The repository has no such file at that commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} has no file {path}")]
pub struct FileNotFound {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The file asked for.
    pub path: RepoPath,
}

/// A listing holds a path that could leave the model's folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} lists a file name that is refused")]
pub struct PathRefused {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The path and what is wrong with it.
    pub source: types::RepoPathError,
}

/// A listing names a path twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} lists {path} twice")]
pub struct PathDuplicate {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The path.
    pub path: RepoPath,
}

/// A listing vouches for a file with something that is no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} on hub {hub} lists {path} with a digest that is none")]
pub struct DigestInvalid {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The file.
    pub path: RepoPath,
    /// What stands in place of the digest.
    pub source: types::ParseDigestError,
}

/// A listing is larger than the limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the listing of repository {repo} on hub {hub} is over the limit of {limit}")]
pub struct ListingTooLarge {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// The limit, in words with its unit.
    pub limit: String,
}

/// A listing goes on at another origin, to which a token must not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the listing of repository {repo} on hub {hub} goes on at another origin ({authority})")]
pub struct PageElsewhere {
    /// The hub.
    pub hub: HubName,
    /// The repository.
    pub repo: RepoName,
    /// Host and port that it names.
    pub authority: String,
}

/// A file is not, or is no longer, what the listing said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} serves {path} differently from how it listed it: {what}")]
pub struct FileChanged {
    /// The hub.
    pub hub: HubName,
    /// The file.
    pub path: RepoPath,
    /// What differs.
    pub what: String,
}

/// A small file that says which others belong together is not what the listing vouches for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} serves {path} with other bytes than it listed")]
pub struct DocumentChanged {
    /// The hub.
    pub hub: HubName,
    /// The file.
    pub path: RepoPath,
}

/// A server sends whole files only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} serves no byte ranges of {path} ({authority})")]
pub struct RangesUnsupported {
    /// The hub.
    pub hub: HubName,
    /// The file.
    pub path: RepoPath,
    /// Host and port that ignored the range.
    pub authority: String,
}

/// A body ended before its range did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} sent {got} of {wanted} bytes of {path}")]
pub struct BodyShort {
    /// The hub.
    pub hub: HubName,
    /// The file.
    pub path: RepoPath,
    /// Bytes asked for.
    pub wanted: u64,
    /// Bytes that came.
    pub got: u64,
}

/// A body went on after its range had ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hub {hub} sent more than {wanted} bytes of {path}")]
pub struct BodyLong {
    /// The hub.
    pub hub: HubName,
    /// The file.
    pub path: RepoPath,
    /// Bytes asked for.
    pub wanted: u64,
}

/// A storage server refuses a link that the hub has just signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the storage of hub {hub} refuses a fresh link to {path} ({authority}, status {status})")]
pub struct LinkRefused {
    /// The hub.
    pub hub: HubName,
    /// The file.
    pub path: RepoPath,
    /// Host and port that refused.
    pub authority: String,
    /// The HTTP status.
    pub status: u16,
}
