//! What a hub's status and headers mean: pure, from text to conditions.

use base::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use types::{HubName, RepoName, RepoPath, Revision};

use crate::{
    error::{
        AnswerInvalid, FileNotFound, HubError, RateLimited, Refused, RepoDisabled, RepoGatedNoToken,
        RepoGatedNotGranted, RepoNotFound, RepoNotFoundOrPrivate, RevisionNotFound, ServerError, TokenScope,
        TokenWrong,
    },
    window::{pause, retry_after},
};

/// A hub's own words are shown up to this length.
const WORDS_MAX: usize = 200;

/// Whether a question carried a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenSent {
    Yes,
    No,
}

/// What a question was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A revision of the repository, or its listing there.
    Revision(Revision),
    /// One file.
    File(RepoPath),
}

/// A question as far as its errors need it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) hub: HubName,
    pub(crate) repo: RepoName,
    pub(crate) about: About,
    /// The page of the repository, for hints.
    pub(crate) page: String,
    pub(crate) token: TokenSent,
}

/// An answer that is no success, as far as its meaning needs it.
#[derive(Debug)]
pub(crate) struct Unsuccessful<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    /// When it came.
    pub(crate) at: Timestamp,
    /// The `error` of the body, where there was one.
    pub(crate) body_words: Option<&'a str>,
    /// Host and port that answered.
    pub(crate) authority: &'a str,
}

/// Returns what an unsuccessful answer of the endpoint means.
pub(crate) fn meaning(asked: &Asked, answer: &Unsuccessful<'_>) -> HubError {
    if let Some(error) = not_now(&asked.hub, answer) {
        return error;
    }
    let code = header(answer.headers, "x-error-code").unwrap_or_default();
    let words = cleaned(header(answer.headers, "x-error-message").or(answer.body_words).unwrap_or_default());
    let hub = asked.hub.clone();
    let repo = asked.repo.clone();
    match (answer.status.as_u16(), code) {
        (401 | 403, "GatedRepo") => gated(asked),
        (401, _) if words.contains("Invalid credentials") => TokenWrong { hub }.into(),
        (401, "RepoNotFound") => RepoNotFoundOrPrivate { hub, repo }.into(),
        (401, _) => match asked.token {
            TokenSent::Yes => TokenWrong { hub }.into(),
            TokenSent::No => RepoNotFoundOrPrivate { hub, repo }.into(),
        },
        (403, _) if words.contains("disabled") => RepoDisabled { hub, repo }.into(),
        (403, _) if words.contains("fine-grained token") => TokenScope { hub, repo }.into(),
        (404, "RepoNotFound") => missing_repo(asked),
        (404, "RevisionNotFound") => missing_revision(asked),
        (404, "EntryNotFound") => missing_entry(asked),
        // Mirrors that send no codes: what was asked for is what is missing.
        (404, _) => match asked.about {
            About::Revision(_) => missing_repo(asked),
            About::File(_) => missing_entry(asked),
        },
        (status @ (400 | 403 | 405 | 410 | 451), _) => {
            let words = if words.is_empty() { "it gives no reason".to_owned() } else { words };
            Refused { hub, repo, status, words }.into()
        }
        (status, _) => AnswerInvalid { hub, what: format!("status {status}") }.into(),
    }
}

/// Returns the condition of an answer that says "not now", whoever gave it.
pub(crate) fn not_now(hub: &HubName, answer: &Unsuccessful<'_>) -> Option<HubError> {
    let status = answer.status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = pause(answer.headers, answer.at);
        return Some(RateLimited { hub: hub.clone(), retry_after }.into());
    }
    (status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()).then(|| {
        ServerError {
            hub: hub.clone(),
            authority: answer.authority.to_owned(),
            status: status.as_u16(),
            retry_after: retry_after(answer.headers, answer.at),
        }
        .into()
    })
}

/// Returns a header's text, if it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns words that came from outside, cut, and without characters that would disturb a terminal.
pub(crate) fn cleaned(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

/// Returns an entity tag without its quotes and weakness mark.
pub(crate) fn entity_tag(text: &str) -> &str {
    text.trim().trim_start_matches("W/").trim_matches('"')
}

/// Returns the address of the next page in a `Link` header.
pub(crate) fn next_page(headers: &HeaderMap) -> Option<&str> {
    headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        // An address may hold commas, so links are cut at their angle brackets.
        value.split('<').skip(1).find_map(|link| {
            let (address, parameters) = link.split_once('>')?;
            let is_next = parameters.split(';').any(|parameter| {
                parameter
                    .trim()
                    .trim_end_matches(',')
                    .trim_end()
                    .strip_prefix("rel=")
                    .is_some_and(|rel| rel.trim_matches('"').eq_ignore_ascii_case("next"))
            });
            is_next.then_some(address)
        })
    })
}

fn gated(asked: &Asked) -> HubError {
    let (hub, repo, page) = (asked.hub.clone(), asked.repo.clone(), asked.page.clone());
    match asked.token {
        TokenSent::No => RepoGatedNoToken { hub, repo, page }.into(),
        TokenSent::Yes => RepoGatedNotGranted { hub, repo, page }.into(),
    }
}

fn missing_repo(asked: &Asked) -> HubError {
    let (hub, repo) = (asked.hub.clone(), asked.repo.clone());
    match asked.token {
        TokenSent::Yes => RepoNotFound { hub, repo }.into(),
        TokenSent::No => RepoNotFoundOrPrivate { hub, repo }.into(),
    }
}

fn missing_revision(asked: &Asked) -> HubError {
    match &asked.about {
        About::Revision(revision) => {
            RevisionNotFound { hub: asked.hub.clone(), repo: asked.repo.clone(), revision: revision.clone() }
                .into()
        }
        About::File(_) => missing_entry(asked),
    }
}

fn missing_entry(asked: &Asked) -> HubError {
    match &asked.about {
        About::Revision(_) => missing_revision(asked),
        About::File(path) => {
            FileNotFound { hub: asked.hub.clone(), repo: asked.repo.clone(), path: path.clone() }.into()
        }
    }
}

#[cfg(test)]
mod tests;
