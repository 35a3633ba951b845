//! The Hub's errors: status, `X-Error-Code`, `X-Error-Message`, and a JSON body with the message.
//!
//! These are the Hub's words, since clients compare them; they are not problems of Larder's own API.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use types::{Commit, RepoName};

/// Why a request gets no answer of the kind it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token: the repository is missing or private, and which is not told.
    RepoHidden,
    /// A good token, and no such repository or no right to it.
    RepoNotFound,
    /// A token that is not known.
    BadToken,
    /// No token, and there has to be one.
    TokenMissing,
    /// Gated, and no token.
    GatedNoToken { repo: RepoName },
    /// Gated, and the token has no grant.
    GatedNotGranted { repo: RepoName },
    /// A token that may not read gated repositories at all.
    TokenScope,
    /// Taken down.
    Disabled,
    /// No such branch or commit.
    RevisionNotFound { revision: String },
    /// No such file or folder at that commit.
    EntryNotFound { commit: Commit, path: String },
    /// The request itself is wrong.
    BadRequest { message: String },
    /// Too many requests.
    TooMany { reset_seconds: u64 },
    /// No such address.
    NoRoute,
    /// The address takes other methods.
    Method,
    /// The folder could not be read, or changed while it was.
    Folder { message: String },
    /// An error that a drill asked for.
    Drill { status: u16, retry_after: Option<Duration> },
}

struct Parts {
    status: u16,
    code: Option<&'static str>,
    message: String,
}

impl Refusal {
    fn parts(&self) -> Parts {
        let parts = |status, code: &'static str, message: String| Parts { status, code: Some(code), message };
        let plain = |status, message: String| Parts { status, code: None, message };
        match self {
            Self::RepoHidden => parts(401, "RepoNotFound", "Invalid username or password.".into()),
            Self::RepoNotFound => parts(404, "RepoNotFound", "Repository not found".into()),
            Self::BadToken => plain(401, "Invalid credentials in Authorization header".into()),
            Self::TokenMissing => plain(401, "Invalid username or password.".into()),
            Self::GatedNoToken { repo } => parts(
                401,
                "GatedRepo",
                format!("Access to model {repo} is restricted. You must have access to it and be authenticated to access it. Please log in."),
            ),
            Self::GatedNotGranted { repo } => parts(
                403,
                "GatedRepo",
                format!("Access to model {repo} is restricted and you are not in the authorized list."),
            ),
            Self::TokenScope => plain(
                403,
                "Please enable access to public gated repositories in your fine-grained token settings to view this repository.".into(),
            ),
            Self::Disabled => plain(403, "Access to this resource is disabled.".into()),
            Self::RevisionNotFound { revision } => {
                parts(404, "RevisionNotFound", format!("Invalid rev id: {revision}"))
            }
            Self::EntryNotFound { path, .. } => parts(404, "EntryNotFound", format!("Entry not found: {path}")),
            Self::BadRequest { message } => plain(400, message.clone()),
            Self::TooMany { .. } => plain(429, "Too many requests".into()),
            Self::NoRoute => plain(404, "Sorry, we can't find the page you are looking for.".into()),
            Self::Method => plain(405, "Method not allowed".into()),
            Self::Folder { message } => plain(503, message.clone()),
            Self::Drill { status, .. } => plain(*status, "injected server error".into()),
        }
    }

    #[cfg(test)]
    pub(crate) fn status_and_code(&self) -> String {
        let parts = self.parts();
        format!("{} {}", parts.status, parts.code.unwrap_or("-"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let parts = self.parts();
        let status = StatusCode::from_u16(parts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(serde_json::json!({ "error": parts.message }))).into_response();
        let headers = response.headers_mut();
        let mut set = |name: &'static str, text: &str| {
            // A path may hold what a header can't; the body has it then.
            if let Some(value) = text.is_ascii().then(|| HeaderValue::from_str(text).ok()).flatten() {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        if let Some(code) = parts.code {
            set("x-error-code", code);
        }
        set("x-error-message", &parts.message);
        if let Self::EntryNotFound { commit, .. } = &self {
            set("x-repo-commit", &commit.to_string());
        }
        let wait = match &self {
            Self::TooMany { reset_seconds } => Some(*reset_seconds),
            Self::Drill { retry_after, .. } => retry_after.map(|wait| wait.as_secs()),
            Self::Folder { .. } => Some(1),
            Self::RepoHidden
            | Self::RepoNotFound
            | Self::BadToken
            | Self::TokenMissing
            | Self::GatedNoToken { .. }
            | Self::GatedNotGranted { .. }
            | Self::TokenScope
            | Self::Disabled
            | Self::RevisionNotFound { .. }
            | Self::EntryNotFound { .. }
            | Self::BadRequest { .. }
            | Self::NoRoute
            | Self::Method => None,
        };
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}
