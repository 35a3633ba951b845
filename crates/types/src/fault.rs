//! Errors as a feature: one list of stable codes, and the value that carries one to whoever must see it.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// The stable code of an error that a user can see. `docs/errors/CODE.md` explains each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {$(
            #[doc = $title]
            #[serde(rename = $code)]
            $name,
        )*}

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// Returns the HTTP status that goes with it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// Returns its short title: a sentence that is the same every time.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    KeyMissing = "key-missing", 401, "The request carries no key";
    KeyWrong = "key-wrong", 401, "The key is not known";
    KeyForbidden = "key-forbidden", 403, "The key does not allow this";
    RouteNotFound = "route-not-found", 404, "There is nothing at this address";
    MethodNotAllowed = "method-not-allowed", 405, "The address does not take this method";
    BodyTooLarge = "body-too-large", 413, "The body is larger than the limit";
    BodyNotJson = "body-not-json", 400, "The body is not the JSON that is needed";
    FieldInvalid = "field-invalid", 422, "A field has a value that it can't have";
    EndpointNotFound = "endpoint-not-found", 404, "There is no such endpoint";
    EndpointNameTaken = "endpoint-name-taken", 409, "Another endpoint has this name";
    EndpointHasNoModel = "endpoint-has-no-model", 422, "The endpoint names no model";
    JobNotFound = "job-not-found", 404, "There is no such job";
    JobFailed = "job-failed", 502, "The job ended with an error";
    JobCancelled = "job-cancelled", 409, "The job was cancelled";
    JobNotRetryable = "job-not-retryable", 409, "The job is not in a state to be tried again";
    QueueFull = "queue-full", 429, "The endpoint's queue is full";
    RateLimited = "rate-limited", 429, "Too many requests";
    WorkerNotFound = "worker-not-found", 404, "There is no such worker";
    ModelNotFound = "model-not-found", 404, "The model is on no host";
    ModelInUse = "model-in-use", 409, "The model is in use";
    ModelNotFetching = "model-not-fetching", 409, "No pull brings the model";
    ModelTooLarge = "model-too-large", 422, "The model fits on no host";
    ModelPinned = "model-pinned", 409, "The model is pinned";
    CacheFull = "cache-full", 507, "The host has no room for the model";
    HostNotFound = "host-not-found", 404, "There is no such host";
    ModelRefInvalid = "model-ref-invalid", 422, "The text is no model reference";
    RepoNotFound = "repo-not-found", 422, "The hub has no such repository";
    RepoNotFoundOrPrivate = "repo-not-found-or-private", 422, "The repository is missing or private";
    RepoGatedNoToken = "repo-gated-no-token", 422, "The repository is gated and no token was given";
    RepoGatedNotGranted = "repo-gated-not-granted", 422, "The repository is gated and the token has no access";
    RepoDisabled = "repo-disabled", 422, "The hub has disabled the repository";
    HubTokenWrong = "hub-token-wrong", 422, "The hub does not accept the token";
    HubTokenScope = "hub-token-scope", 422, "The token may not read gated repositories";
    RevisionNotFound = "revision-not-found", 422, "The repository has no such revision";
    FileNotFound = "file-not-found", 422, "The repository has no such file";
    VariantNotFound = "variant-not-found", 422, "The repository has no such variant";
    WeightsPickled = "weights-pickled", 422, "The weights are pickled, and nobody has consented";
    SelectionEmpty = "selection-empty", 422, "The selection leaves no file";
    HubUnreachable = "hub-unreachable", 502, "The hub does not answer";
    HubStalled = "hub-stalled", 504, "The hub stopped sending";
    HubRateLimited = "hub-rate-limited", 429, "The hub asks for a pause";
    HubServerError = "hub-server-error", 502, "The hub has an error of its own";
    HubConnectionLost = "hub-connection-lost", 502, "The connection to the hub broke";
    HubRefused = "hub-refused", 502, "The hub refuses to answer";
    HubTokenInsecure = "hub-token-insecure", 422, "The hub's address would show the token to the network";
    HubAnswerInvalid = "hub-answer-invalid", 502, "The hub's answer makes no sense";
    PathRefused = "path-refused", 422, "The repository has a file name that is refused";
    ContentMismatch = "content-mismatch", 502, "A file's bytes are not what the hub vouched for";
    DiskFull = "disk-full", 507, "The disk has no room";
    DiskError = "disk-error", 500, "The disk answered with an error";
    CacheNotFound = "cache-not-found", 422, "The folder is no Hugging Face cache that can be read";
    LinkRefused = "link-refused", 422, "The files can't be linked";
    StoreLocked = "store-locked", 409, "Another process uses this store";
    StoreFormat = "store-format", 500, "The folder is no store that this version can read";
    StateLocked = "state-locked", 409, "Another process uses this data folder";
    StateError = "state-error", 503, "The state could not be written";
    SecretUnreadable = "secret-unreadable", 500, "A stored secret can't be read";
    NoHost = "no-host", 503, "No host can take this worker";
    HostAway = "host-away", 503, "The host is not connected";
    ServerAway = "server-away", 503, "The server is not reachable";
    HandlerExited = "handler-exited", 502, "The worker's process ended by itself";
    HandlerNeverPinged = "handler-never-pinged", 504, "The worker never reported";
    HandlerNeverTook = "handler-never-took", 504, "The worker never asked for a job";
    WorkerLost = "worker-lost", 502, "The worker ended while it had the job";
    JobNotAccepted = "job-not-accepted", 502, "The worker did not take the job on";
    ResultLost = "result-lost", 502, "The worker dropped the job without a result";
    ExecutionTimeout = "execution-timeout", 504, "The job ran longer than allowed";
    JobExpired = "job-expired", 504, "The job waited longer than allowed";
    NamespacesForbidden = "namespaces-forbidden", 500, "This system forbids namespaces";
    PythonUnusable = "python-unusable", 422, "The Python environment can't be used";
    FolderUnreadable = "folder-unreadable", 422, "The folder can't be read";
    FolderTooLarge = "folder-too-large", 413, "The folder is larger than the limit";
    FolderNotFound = "folder-not-found", 422, "The released folder is not here";
    DriverFailed = "driver-failed", 500, "The worker could not be started";
    LaunchUnsupported = "launch-unsupported", 422, "No host can run this kind of worker";
    ListenFailed = "listen-failed", 500, "The address could not be listened on";
    Timeout = "timeout", 504, "The answer took too long";
    Unavailable = "unavailable", 503, "The service is starting or stopping";
    Internal = "internal", 500, "Larder made a mistake";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An error on its way to a person: what kind, what failed and why, what to do.
///
/// It travels from agents to the server and is stored with starts and jobs, so it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind.
    pub code: ErrorCode,
    /// What failed and why: a sentence without a full stop.
    pub message: String,
    /// What to do, when there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a fault without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Makes a fault from an error, with the whole chain of its sources as the message.
    pub fn from_error(code: ErrorCode, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(code, message)
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
