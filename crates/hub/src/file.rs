//! One file of a repository, read by ranges, wherever the hub says that its bytes are.
//!
//! ```text
//! unknown ──ask the hub──▶ home       (small files: the hub itself has the bytes; the token goes along)
//!    ▲   └───redirect────▶ elsewhere  (large files: a signed link to a storage server; no token)
//!    └──the link is refused (it expires)──┘   once for each read
//! ```
//! An answer that is neither the range asked for nor the whole file is never handed on as bytes.

mod check;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Semaphore;
use types::{Commit, ManifestFile, RepoName};
use url::Url;

pub(crate) use self::check::{Misfit, fit};
use self::check::{check_description, check_home_tag, check_range};
use crate::{
    Hub,
    address::authority,
    answer::{About, Asked, TokenSent, Unsuccessful, not_now},
    client::{ByteRange, Landed, Question, Token},
    error::{BodyLong, BodyShort, FileChanged, HubError, LinkRefused, ReadError},
    token::LiveToken,
    window::Bucket,
};

/// A file of a repository, to be read by ranges. Cheap to clone; clones share what they learn about where it is.
#[derive(Clone, Debug)]
pub struct FileSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hub: Hub,
    /// What every question about it has in common; whether it carried a token is set for each.
    asked: Asked,
    commit: Commit,
    file: ManifestFile,
    token: LiveToken,
    /// Where the hub is asked.
    question: Url,
    known: Mutex<Known>,
    /// One reader at a time asks where the file is; the others wait for what it learns.
    asking: Semaphore,
}

/// Where the bytes are, as far as is known, and how often that was forgotten.
#[derive(Clone, Debug)]
struct Known {
    route: Option<Route>,
    forgotten: u64,
}

#[derive(Clone)]
enum Route {
    Home,
    /// A signed link: a secret until it expires.
    Elsewhere(Url),
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Home => f.write_str("Home"),
            Self::Elsewhere(url) => write!(f, "Elsewhere({})", authority(url)),
        }
    }
}

impl Hub {
    /// Opens a file for reading by ranges. Asks the hub nothing yet.
    ///
    /// `file` is the entry of the listing: what is served must fit it. The token may be one that is replaced meanwhile.
    pub fn open_file(
        &self,
        repo: &RepoName,
        commit: Commit,
        file: &ManifestFile,
        token: impl Into<LiveToken>,
    ) -> FileSource {
        FileSource {
            shared: Arc::new(Shared {
                asked: self.asked(repo, About::File(file.path.clone()), None),
                question: self.endpoint().file(repo, commit, &file.path),
                hub: self.clone(),
                commit,
                file: file.clone(),
                token: token.into(),
                known: Mutex::new(Known { route: None, forgotten: 0 }),
                asking: Semaphore::new(1),
            }),
        }
    }
}

impl FileSource {
    /// Returns the entry of the listing that this file must fit.
    pub fn file(&self) -> &ManifestFile {
        &self.shared.file
    }

    /// Asks for `len` bytes from `offset` and returns them as they come.
    ///
    /// A signed link that has expired is renewed once, unseen by the caller.
    ///
    /// # Errors
    /// [`ReadError`] by condition; [`ReadError::retry`] tells what may help.
    ///
    /// # Panics
    /// When the range is not within the listed size.
    ///
    /// # Cancel safety
    /// Dropping the future or the body ends the connection and loses nothing else.
    pub async fn read_range(&self, offset: u64, len: u64) -> Result<RangeBody, ReadError> {
        let within = offset.checked_add(len).is_some_and(|end| end <= self.shared.file.size);
        assert!(within, "a range must lie within its file");
        if len == 0 {
            return Ok(RangeBody { source: self.clone(), response: None, wanted: 0, got: 0 });
        }
        let range = ByteRange { offset, len };
        let mut renewed = false;
        loop {
            let Known { route, forgotten } = self.known();
            let response = match route {
                None => match self.find(range).await? {
                    Some(response) => response,
                    // Somebody has learnt where the file is: go there.
                    None => continue,
                },
                Some(Route::Home) => match self.read_home(range).await? {
                    Some(response) => response,
                    None => continue,
                },
                Some(Route::Elsewhere(url)) => {
                    let response = self.shared.hub.ask_elsewhere(url, range).await?;
                    if is_link_refusal(response.status()) {
                        if renewed {
                            return Err(self.link_refused(&response).into());
                        }
                        renewed = true;
                        self.forget(forgotten);
                        continue;
                    }
                    self.successful_elsewhere(response)?
                }
            };
            check_range(&self.shared.asked.hub, &self.shared.file, range, &response)?;
            return Ok(RangeBody { source: self.clone(), response: Some(response), wanted: len, got: 0 });
        }
    }

    /// Asks the hub where the file is, unless somebody else has just done so; returns the answer if it has the
    /// bytes itself.
    async fn find(&self, range: ByteRange) -> Result<Option<Response>, ReadError> {
        let _turn = self.shared.asking.acquire().await.expect("the semaphore is never closed");
        if self.known().route.is_some() {
            return Ok(None);
        }
        self.read_home(range).await
    }

    /// Asks the hub for the bytes; returns its answer, or `None` when it has told where they are instead.
    ///
    /// When the hub refuses the token, a new one is waited for, for a bounded time.
    async fn read_home(&self, range: ByteRange) -> Result<Option<Response>, ReadError> {
        let options = self.shared.hub.options();
        let mut deadline = None;
        loop {
            let token = self.shared.token.now();
            let error = match self.read_home_with(range, token.as_ref()).await {
                Err(error) if token.is_some() && is_about_token(&error) => error,
                answered => return answered,
            };
            let deadline = *deadline.get_or_insert_with(|| options.clock.now() + options.token_wait);
            let is_replaced = tokio::select! {
                // Cancel-safe: waiting for a value takes nothing.
                is_replaced = self.shared.token.is_replaced(&token) => is_replaced,
                // Cancel-safe: a moment stays past.
                () = options.clock.sleep_until(deadline) => false,
            };
            if !is_replaced {
                return Err(error);
            }
            tracing::info!(hub = %self.shared.asked.hub, path = %self.shared.file.path, "going on with a new token");
        }
    }

    async fn read_home_with(
        &self,
        range: ByteRange,
        token: Token<'_>,
    ) -> Result<Option<Response>, ReadError> {
        let Shared { hub, asked, question, .. } = &*self.shared;
        let sent = if token.is_some() { TokenSent::Yes } else { TokenSent::No };
        let asked = &Asked { token: sent, ..asked.clone() };
        let question = Question {
            method: Method::GET,
            url: question.clone(),
            token,
            bucket: Bucket::Files,
            range: Some(range),
        };
        match hub.ask(&question).await? {
            Landed::Here(response) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(self.changed("the range is past its end").into())
            }
            Landed::Here(response) => {
                let response = hub.successful(response, asked).await?;
                check_home_tag(&asked.hub, &self.shared.file, response.headers())?;
                self.learn(Route::Home);
                Ok(Some(response))
            }
            Landed::Elsewhere { location, headers } => {
                check_description(&asked.hub, &self.shared.file, self.shared.commit, &headers)?;
                self.learn(Route::Elsewhere(location));
                Ok(None)
            }
        }
    }

    fn successful_elsewhere(&self, response: Response) -> Result<Response, ReadError> {
        let status = response.status();
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(self.changed("the range is past its end").into());
        }
        let authority = authority(response.url());
        let at = self.shared.hub.options().clock.now();
        let answer =
            Unsuccessful { status, headers: response.headers(), at, body_words: None, authority: &authority };
        match not_now(&self.shared.asked.hub, &answer) {
            Some(error) => Err(error.into()),
            None => Ok(response),
        }
    }

    fn known(&self) -> Known {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, route: Route) {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).route = Some(route);
    }

    /// Forgets where the file is, unless that has happened since the caller looked.
    fn forget(&self, forgotten: u64) {
        let mut known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.forgotten == forgotten {
            *known = Known { route: None, forgotten: forgotten + 1 };
        }
    }

    fn changed(&self, what: &str) -> FileChanged {
        FileChanged {
            hub: self.shared.asked.hub.clone(),
            path: self.shared.file.path.clone(),
            what: what.to_owned(),
        }
    }

    fn link_refused(&self, response: &Response) -> LinkRefused {
        LinkRefused {
            hub: self.shared.asked.hub.clone(),
            path: self.shared.file.path.clone(),
            authority: authority(response.url()),
            status: response.status().as_u16(),
        }
    }
}

/// Returns whether a storage server refuses the link itself. Expired ones get 403; some servers say 400, 401 or 404.
fn is_link_refusal(status: StatusCode) -> bool {
    status.is_client_error()
        && ![StatusCode::REQUEST_TIMEOUT, StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status)
}

/// Returns whether another token may be what is missing.
fn is_about_token(error: &ReadError) -> bool {
    let ReadError::Hub(error) = error else { return false };
    match error {
        HubError::TokenWrong(_)
        | HubError::TokenScope(_)
        | HubError::RepoNotFound(_)
        | HubError::RepoNotFoundOrPrivate(_)
        | HubError::RepoGatedNoToken(_)
        | HubError::RepoGatedNotGranted(_) => true,
        HubError::Refused(refused) => matches!(refused.status, 401 | 403),
        HubError::Unreachable(_)
        | HubError::Stalled(_)
        | HubError::ConnectionLost(_)
        | HubError::RateLimited(_)
        | HubError::ServerError(_)
        | HubError::AnswerInvalid(_)
        | HubError::RedirectRefused(_)
        | HubError::TokenInsecure(_)
        | HubError::RepoDisabled(_)
        | HubError::RevisionNotFound(_)
        | HubError::FileNotFound(_) => false,
    }
}

/// The bytes of a range as they come. Never gives more than were asked for.
#[derive(Debug)]
pub struct RangeBody {
    source: FileSource,
    /// `None` for an empty range, which nobody was asked for.
    response: Option<Response>,
    wanted: u64,
    got: u64,
}

impl RangeBody {
    /// Returns the next bytes, or `None` after the last.
    ///
    /// # Errors
    /// [`ReadError`] by condition. Bytes handed out before are good as far as they go.
    ///
    /// # Cancel safety
    /// Dropping the future loses no bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let shared = &self.source.shared;
        let (hub, path, wanted) = (|| shared.asked.hub.clone(), || shared.file.path.clone(), self.wanted);
        match response.chunk().await {
            Ok(Some(chunk)) => {
                self.got += chunk.len() as u64;
                if self.got > wanted {
                    return Err(BodyLong { hub: hub(), path: path(), wanted }.into());
                }
                Ok(Some(chunk))
            }
            Ok(None) if self.got < wanted => {
                Err(BodyShort { hub: hub(), path: path(), wanted, got: self.got }.into())
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let url = response.url().clone();
                Err(shared.hub.broken(&url, error).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
