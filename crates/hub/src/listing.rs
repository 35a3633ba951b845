//! All files of a commit, from the hub's paged listing, refused as a whole when any of it is wrong.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde::Deserialize;
use types::{Commit, Digest, ManifestFile, RepoName, RepoPath, Revision};
use url::Url;

use crate::{
    Hub, HubLimits,
    address::{Redirect, authority},
    answer::{About, cleaned, next_page},
    client::Token,
    error::{
        AnswerInvalid, DigestInvalid, ListError, ListingTooLarge, PageElsewhere, PathDuplicate, PathRefused,
        RedirectRefused,
    },
};

/// One entry of the hub's listing.
#[derive(Debug, Deserialize)]
pub(crate) struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<LargeFile>,
}

/// What the listing says of a file in large-file storage, where `oid` is that of a mere pointer.
#[derive(Debug, Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

/// A listing as it grows page by page. Pure.
#[derive(Debug)]
pub(crate) struct Gathering<'a> {
    hub: &'a types::HubName,
    repo: &'a RepoName,
    limits: HubLimits,
    entries: usize,
    pages: usize,
    bytes: u64,
    paths: BTreeSet<RepoPath>,
    files: Vec<ManifestFile>,
}

impl Hub {
    /// Lists all files of a commit, sorted by path.
    ///
    /// # Errors
    /// [`ListError`] by condition. A listing that is wrong in one place is refused as a whole.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn list(
        &self,
        repo: &RepoName,
        commit: Commit,
        token: Token<'_>,
    ) -> Result<Vec<ManifestFile>, ListError> {
        let revision: Revision = commit.to_string().parse().expect("hex digits are a revision");
        let asked = self.asked(repo, About::Revision(revision), token);
        let mut gathering = Gathering::new(self.name(), repo, self.options().limits);
        let mut url = self.endpoint().tree(repo, commit);
        loop {
            let (entries, headers, bytes) = self.json::<Vec<TreeEntry>>(&url, token, &asked).await?;
            gathering.take_page(&entries, bytes)?;
            match self.page_after(&url, &headers, repo)? {
                Some(next) => url = next,
                None => return Ok(gathering.into_files()),
            }
        }
    }

    /// Returns where a listing goes on. A page elsewhere would be asked for with the token, so it is an error.
    fn page_after(&self, url: &Url, headers: &HeaderMap, repo: &RepoName) -> Result<Option<Url>, ListError> {
        let Some(next) = next_page(headers) else { return Ok(None) };
        let hub = self.name().clone();
        match self.endpoint().redirect(url, next) {
            Redirect::Home(next) => Ok(Some(next)),
            Redirect::Elsewhere(next) => {
                Err(PageElsewhere { hub, repo: repo.clone(), authority: authority(&next) }.into())
            }
            Redirect::Refused(reason) => Err(ListError::Hub(RedirectRefused { hub, reason }.into())),
        }
    }
}

impl<'a> Gathering<'a> {
    pub(crate) fn new(hub: &'a types::HubName, repo: &'a RepoName, limits: HubLimits) -> Self {
        Self { hub, repo, limits, entries: 0, pages: 0, bytes: 0, paths: BTreeSet::new(), files: Vec::new() }
    }

    /// Takes one page of `bytes` bytes in.
    pub(crate) fn take_page(&mut self, entries: &[TreeEntry], bytes: u64) -> Result<(), ListError> {
        self.entries = self.entries.saturating_add(entries.len());
        self.pages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > self.limits.listing_entries_max {
            return Err(self.too_large(format!("{} entries", self.limits.listing_entries_max)));
        }
        if self.pages > self.limits.listing_pages_max {
            return Err(self.too_large(format!("{} pages", self.limits.listing_pages_max)));
        }
        if self.bytes > self.limits.listing_bytes_max.bytes() {
            return Err(self.too_large(self.limits.listing_bytes_max.to_string()));
        }
        entries.iter().try_for_each(|entry| self.take_entry(entry))
    }

    /// Returns the files, sorted by path.
    pub(crate) fn into_files(mut self) -> Vec<ManifestFile> {
        self.files.sort_unstable();
        self.files
    }

    fn take_entry(&mut self, entry: &TreeEntry) -> Result<(), ListError> {
        let (hub, repo) = (|| self.hub.clone(), || self.repo.clone());
        let path: RepoPath =
            entry.path.parse().map_err(|source| PathRefused { hub: hub(), repo: repo(), source })?;
        match entry.kind.as_str() {
            "file" => {}
            "directory" => return Ok(()),
            other => {
                let what = format!("it lists {path} as a {}", cleaned(other));
                return Err(ListError::Hub(AnswerInvalid { hub: hub(), what }.into()));
            }
        }
        let invalid = |source| DigestInvalid { hub: hub(), repo: repo(), path: path.clone(), source };
        let (digest, size) = match &entry.lfs {
            Some(large) => (sha256(&large.oid).map_err(invalid)?, large.size),
            None => (git_sha1(&entry.oid).map_err(invalid)?, entry.size),
        };
        if !self.paths.insert(path.clone()) {
            return Err(PathDuplicate { hub: hub(), repo: repo(), path }.into());
        }
        self.files.push(ManifestFile { path, size, digest });
        Ok(())
    }

    fn too_large(&self, limit: String) -> ListError {
        ListingTooLarge { hub: self.hub.clone(), repo: self.repo.clone(), limit }.into()
    }
}

fn sha256(text: &str) -> Result<Digest, types::ParseDigestError> {
    let wanted = "a SHA-256 digest of 64 lower-case hex digits";
    match text.parse()? {
        digest @ Digest::Sha256(_) => Ok(digest),
        Digest::GitSha1(_) => Err(types::ParseDigestError { text: text.to_owned(), wanted }),
    }
}

fn git_sha1(text: &str) -> Result<Digest, types::ParseDigestError> {
    let wanted = "a git object of 40 lower-case hex digits";
    match text.parse()? {
        digest @ Digest::GitSha1(_) => Ok(digest),
        Digest::Sha256(_) => Err(types::ParseDigestError { text: text.to_owned(), wanted }),
    }
}

#[cfg(test)]
mod tests;
