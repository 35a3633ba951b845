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

use base::Redacted;
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Semaphore;
use types::{Commit, ManifestFile, RepoName};
use url::Url;

use self::check::{check_description, check_home_tag, check_range};
use crate::{
    Hub,
    address::authority,
    answer::{About, Asked, Unsuccessful, not_now},
    client::{ByteRange, Landed, Question, Token},
    error::{BodyLong, BodyShort, FileChanged, LinkRefused, ReadError},
};

/// A file of a repository, to be read by ranges. Cheap to clone; clones share what they learn about where it is.
#[derive(Clone, Debug)]
pub struct FileSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hub: Hub,
    asked: Asked,
    commit: Commit,
    file: ManifestFile,
    token: Option<Redacted<String>>,
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
    /// `file` is the entry of the listing: what is served must fit it.
    pub fn open_file(
        &self,
        repo: &RepoName,
        commit: Commit,
        file: &ManifestFile,
        token: Token<'_>,
    ) -> FileSource {
        FileSource {
            shared: Arc::new(Shared {
                asked: self.asked(repo, About::File(file.path.clone()), token),
                question: self.endpoint().file(repo, commit, &file.path),
                hub: self.clone(),
                commit,
                file: file.clone(),
                token: token.cloned(),
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
    async fn read_home(&self, range: ByteRange) -> Result<Option<Response>, ReadError> {
        let Shared { hub, asked, question, token, .. } = &*self.shared;
        let question = Question {
            method: Method::GET,
            url: question.clone(),
            token: token.as_ref(),
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
        let answer =
            Unsuccessful { status, headers: response.headers(), body_words: None, authority: &authority };
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
