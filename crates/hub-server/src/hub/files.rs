//! Where a file's bytes are, and the bytes of small ones.
//!
//! ```text
//! resolve ── large-file storage ──▶ 302 to a signed link on the other origin
//!         ── small, public ───────▶ 307 to /api/resolve-cache/… on this one
//!         ── small, not public; empty ──▶ 200 with the bytes
//! ```

use std::{fs::File, io, sync::Arc};

use axum::response::{IntoResponse, Response};
use base::ByteSize;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, ETAG, LOCATION},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use types::{Commit, Digest, RepoPath};
use web::FileFacts;

use super::{Granted, Hub};
use crate::{
    access::RepoAccess,
    faults::{Faults, Hit},
    identity::Identity,
    link::Link,
    refusal::Refusal,
    send::{self, Manner, Outgoing},
    shelf::{Branch, HubFile, blocking},
};

const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
/// What a path of a file keeps as it is in an address.
const PATH_SET: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Small files are configurations and texts; nobody is to run them in a browser.
const SMALL_TYPE: &str = "text/plain; charset=utf-8";

impl Hub {
    /// Returns the branch that a revision names.
    pub(super) async fn at(&self, granted: &Granted<'_>, revision: &str) -> Result<Arc<Branch>, Refusal> {
        let found = self.shelf.revision(granted.branches, revision).await?;
        found.ok_or_else(|| Refusal::RevisionNotFound { revision: revision.to_owned() })
    }

    pub(super) async fn resolve(
        &self,
        granted: &Granted<'_>,
        revision: &str,
        path: &str,
    ) -> Result<Response, Refusal> {
        let branch = self.at(granted, revision).await?;
        let file = file_of(&branch, path)?;
        let etag = file.identity.digest().to_string();
        if web::is_unchanged(&granted.parts.headers, &etag) {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            let headers = response.headers_mut();
            headers.insert(ETAG, quoted(&etag));
            headers.insert(REPO_COMMIT, commit_value(branch.commit));
            return Ok(response);
        }
        match &file.identity {
            Identity::Lfs { .. } => Ok(self.redirect_to_link(granted, branch.commit, file)),
            Identity::Blob(_) if granted.access == RepoAccess::Public && file.size > 0 => {
                Ok(redirect_to_cache(granted, branch.commit, file, &etag))
            }
            Identity::Blob(_) => self.send_small(granted, branch.commit, file).await,
        }
    }

    pub(super) async fn resolve_cache(
        &self,
        granted: &Granted<'_>,
        revision: &str,
        path: &str,
    ) -> Result<Response, Refusal> {
        let branch = self.at(granted, revision).await?;
        let file = file_of(&branch, path)?;
        match &file.identity {
            // Its address is the signed one; here nothing was ever promised.
            Identity::Lfs { .. } => Err(Refusal::NoRoute),
            Identity::Blob(_) => self.send_small(granted, branch.commit, file).await,
        }
    }

    fn redirect_to_link(&self, granted: &Granted<'_>, commit: Commit, file: &HubFile) -> Response {
        let lifetime = granted.faults.link_lifetime.unwrap_or(self.settings.link_lifetime);
        let expires = (self.clock.now() + lifetime).as_micros().div_euclid(1_000_000);
        let link = Link { digest: file.identity.digest(), place: file.place.clone(), expires };
        let origin = match &granted.faults.link_origin {
            Some(origin) => origin.clone(),
            None => self.cdn_url(&granted.parts.headers),
        };
        let location = format!("{origin}{}", self.signer.sign(&link));
        let mut response = (StatusCode::FOUND, format!("Found. Redirecting to {location}")).into_response();
        let headers = response.headers_mut();
        headers.insert(LOCATION, ascii(&location));
        headers.insert(REPO_COMMIT, commit_value(commit));
        headers.insert(LINKED_SIZE, HeaderValue::from(file.size));
        headers.insert(LINKED_ETAG, quoted(&file.identity.digest().to_string()));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        response
    }

    async fn send_small(
        &self,
        granted: &Granted<'_>,
        commit: Commit,
        file: &HubFile,
    ) -> Result<Response, Refusal> {
        // The other address counts its own requests.
        if granted.parts.uri.path().contains("/resolve/") {
            self.fail(Hit::Bytes)?;
        }
        let digest = file.identity.digest();
        let (open, len) = self
            .open_unchanged(&file.place, digest)
            .await
            .map_err(|error| Refusal::Folder { message: error.to_string() })?;
        let headers = vec![(REPO_COMMIT, commit_value(commit))];
        let facts = FileFacts { len, etag: digest.to_string(), content_type: SMALL_TYPE, headers };
        let outgoing = Outgoing { file: open, facts };
        let manner = self.manner(&granted.faults, &file.path);
        Ok(send::answer(&granted.parts.method, &granted.parts.headers, outgoing, manner))
    }

    /// Opens a file whose bytes are still those that were hashed.
    pub(crate) async fn open_unchanged(&self, place: &RepoPath, digest: Digest) -> io::Result<(File, u64)> {
        let (folder, at) = (Arc::clone(self.shelf.folder()), place.clone());
        let (file, stamp) = blocking(move || folder.open_file(&at)).await?;
        match self.shelf.identities().known(place, stamp) {
            Some(identity) if identity.digest() == digest => Ok((file, stamp.len)),
            Some(_) | None => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{place} has changed, ask again")))
            }
        }
    }

    /// Returns how the bytes of a file are sent under these faults. Counts an answer.
    pub(crate) fn manner(&self, faults: &Faults, path: &RepoPath) -> Manner {
        let rates = self.settings.rate_max.into_iter().chain(faults.rate_max);
        Manner {
            clock: self.clock.clone(),
            rate_max: rates.min().map(|rate| ByteSize(rate.bytes().max(1))),
            harms: self.faults.harms(path.as_str()),
            ignore_ranges: faults.ignore_ranges,
        }
    }
}

fn file_of<'a>(branch: &'a Branch, path: &str) -> Result<&'a HubFile, Refusal> {
    // A path that is refused names no file, and is not looked for.
    branch.file(path).ok_or_else(|| Refusal::EntryNotFound { commit: branch.commit, path: path.to_owned() })
}

fn redirect_to_cache(granted: &Granted<'_>, commit: Commit, file: &HubFile, etag: &str) -> Response {
    let path = utf8_percent_encode(file.path.as_str(), PATH_SET);
    let asked = utf8_percent_encode(granted.parts.uri.path(), NON_ALPHANUMERIC);
    let location =
        format!("/api/resolve-cache/models/{}/{commit}/{path}?{asked}=&etag=%22{etag}%22", granted.repo);
    let mut response =
        (StatusCode::TEMPORARY_REDIRECT, format!("Temporary Redirect. Redirecting to {location}"))
            .into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, ascii(&location));
    headers.insert(REPO_COMMIT, commit_value(commit));
    headers.insert(LINKED_SIZE, HeaderValue::from(file.size));
    headers.insert(LINKED_ETAG, quoted(etag));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

fn commit_value(commit: Commit) -> HeaderValue {
    ascii(&commit.to_string())
}

fn quoted(etag: &str) -> HeaderValue {
    ascii(&format!("\"{etag}\""))
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names are checked and the rest is encoded: it holds only ASCII")
}
