//! The edge's errors, in the Hub's form: status, `X-Error-Code`, `X-Error-Message`, and a JSON body with the message.
//!
//! The codes are the Hub's words, since libraries compare them; the messages are ours, and say what to do.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use types::{Commit, Fault, RepoName};

/// Why a request gets no answer of the kind it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The address is nobody's, or its key is wrong.
    Stranger,
    /// There is nothing at this address.
    NoRoute,
    /// The path means another folder.
    BadPath,
    /// The request itself is wrong.
    BadRequest { message: String },
    /// The model has no such file, or it was not kept.
    EntryNotFound { commit: Commit, path: String, note: &'static str },
    /// Another revision than the endpoint's, which can't be asked for.
    OtherRevision { repo: RepoName, commit: Commit, revision: String, note: &'static str },
    /// Not the endpoint's own, and nothing is passed on here.
    NotPassedOn,
    /// There is no hub to pass it on to.
    NoHub,
    /// The hub did not answer.
    HubAway(Fault),
    /// Too many requests at once.
    Busy,
    /// The disk does not give the file.
    Disk { path: String },
}

struct Parts {
    status: StatusCode,
    code: Option<&'static str>,
    message: String,
}

impl Refusal {
    fn parts(&self) -> Parts {
        let parts = |status, code, message: String| Parts { status, code, message };
        match self {
            Self::Stranger => parts(
                StatusCode::UNAUTHORIZED,
                None,
                "This is the hub address of another worker, or of none".to_owned(),
            ),
            Self::NoRoute => parts(StatusCode::NOT_FOUND, None, "There is nothing at this address".to_owned()),
            Self::BadPath => {
                parts(StatusCode::BAD_REQUEST, None, "The address has a segment that means another folder".to_owned())
            }
            Self::BadRequest { message } => parts(StatusCode::BAD_REQUEST, None, message.clone()),
            Self::EntryNotFound { path, note, .. } => {
                parts(StatusCode::NOT_FOUND, Some("EntryNotFound"), format!("Entry not found: {path}{note}"))
            }
            Self::OtherRevision { repo, commit, revision, note } => parts(
                StatusCode::NOT_FOUND,
                Some("RevisionNotFound"),
                format!("This endpoint has {repo} at {commit}, not at {revision}, and {note}"),
            ),
            // The one code whose message every library shows.
            Self::NotPassedOn => parts(
                StatusCode::FORBIDDEN,
                Some("GatedRepo"),
                "Larder: this worker has no way out, and this repository is not among the models of its endpoint. \
                 Add it with --model, or let the agent ask the hub for workers with --edge-pass-through"
                    .to_owned(),
            ),
            Self::NoHub => parts(
                StatusCode::SERVICE_UNAVAILABLE,
                None,
                "Larder: no hub is configured that could be asked for this".to_owned(),
            ),
            Self::HubAway(fault) => parts(
                StatusCode::from_u16(fault.code.http_status()).unwrap_or(StatusCode::BAD_GATEWAY),
                None,
                format!("Larder: {}", fault.message),
            ),
            Self::Busy => parts(
                StatusCode::SERVICE_UNAVAILABLE,
                None,
                "Larder: this worker has too many requests for files under way".to_owned(),
            ),
            Self::Disk { path } => parts(
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                format!("Larder: {path} can't be read from the host's disk; larder model verify tells more"),
            ),
        }
    }

    fn commit(&self) -> Option<Commit> {
        match self {
            Self::EntryNotFound { commit, .. } => Some(*commit),
            Self::Stranger
            | Self::NoRoute
            | Self::BadPath
            | Self::BadRequest { .. }
            | Self::OtherRevision { .. }
            | Self::NotPassedOn
            | Self::NoHub
            | Self::HubAway(_)
            | Self::Busy
            | Self::Disk { .. } => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Parts { status, code, message } = self.parts();
        let mut response = (status, Json(serde_json::json!({ "error": message }))).into_response();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, text: &str| {
            // A path may hold what a header can't; the body has it then.
            if let Some(value) = text.is_ascii().then(|| HeaderValue::from_str(text).ok()).flatten() {
                headers.insert(name, value);
            }
        };
        set(HeaderName::from_static("x-error-message"), &message);
        if let Some(code) = code {
            set(HeaderName::from_static("x-error-code"), code);
        }
        if let Some(commit) = self.commit() {
            set(HeaderName::from_static("x-repo-commit"), &commit.to_string());
        }
        if self == Self::Busy {
            set(RETRY_AFTER, "1");
        }
        response
    }
}
