//! Where bytes come from: a hub, its mirrors, folders and buckets over HTTP; peers later.

mod board;
mod choice;
mod list;
mod usage;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream, stream::BoxStream};
use hub::{FileSource, Folder, FolderError, FolderFile, Hub, LiveToken, ReadError, Retry};
use types::{Commit, Fault, HubName, ManifestFile, RepoName};

pub(crate) use board::Board;
pub use list::SourceList;
pub(crate) use list::{AfterWrong, Asking, Choice, FetchSources, NeedsRanges, OpenFile, RangeStanding};
pub use usage::SourceUse;

/// Holds the files of one model.
pub trait Source: Send + Sync + fmt::Debug + 'static {
    /// Returns the name by which people know it, for progress and for blame. Sources of one name share their
    /// reputation among all fetches of a transfer.
    fn name(&self) -> String;

    /// Opens a file for reading by ranges. Asks nobody yet.
    fn open(&self, file: &ManifestFile) -> Arc<dyn SourceFile>;
}

/// One file of a source.
pub trait SourceFile: Send + Sync + fmt::Debug + 'static {
    /// Asks for `len` bytes from `offset`, at least one, and gives them as they come.
    ///
    /// The stream ends after the last byte. Dropping the future or the stream ends the connection.
    fn read_range(&self, offset: u64, len: u64) -> BoxFuture<'_, Result<SourceBytes, SourceError>>;
}

/// The bytes of a range as they come.
pub type SourceBytes = BoxStream<'static, Result<Bytes, SourceError>>;

/// A source failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct SourceError {
    /// What a person is told.
    pub fault: Fault,
    /// Whether trying again may help.
    pub retry: Retry,
}

/// A model's repository on a hub or on a mirror of one.
#[derive(Clone, Debug)]
pub struct HubSource {
    name: String,
    hub: Hub,
    repo: RepoName,
    commit: Commit,
    token: LiveToken,
}

impl HubSource {
    /// Makes a source of a repository (by its canonical name) at a commit, read with a token if there is one. The
    /// token may be one that is replaced while a fetch runs.
    pub fn new(hub: Hub, repo: RepoName, commit: Commit, token: impl Into<LiveToken>) -> Self {
        Self { name: format!("hub {}", hub.name()), hub, repo, commit, token: token.into() }
    }

    /// Makes a source of the same repository on a mirror of `of`, whose client `mirror` is named by its address.
    ///
    /// The mirror is told the token: give none to one that is not trusted with it.
    pub fn mirror(
        mirror: Hub,
        of: &HubName,
        repo: RepoName,
        commit: Commit,
        token: impl Into<LiveToken>,
    ) -> Self {
        let name = format!("mirror {} of hub {of}", mirror.name());
        Self { name, hub: mirror, repo, commit, token: token.into() }
    }
}

impl Source for HubSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&self, file: &ManifestFile) -> Arc<dyn SourceFile> {
        Arc::new(self.hub.open_file(&self.repo, self.commit, file, &self.token))
    }
}

/// A model's files in a folder over HTTP or in a bucket.
#[derive(Clone, Debug)]
pub struct FolderSource {
    folder: Folder,
    repo: RepoName,
    commit: Commit,
}

impl FolderSource {
    /// Makes a source of a repository (by its canonical name) at a commit.
    pub fn new(folder: Folder, repo: RepoName, commit: Commit) -> Self {
        Self { folder, repo, commit }
    }
}

impl Source for FolderSource {
    fn name(&self) -> String {
        self.folder.name().to_owned()
    }

    fn open(&self, file: &ManifestFile) -> Arc<dyn SourceFile> {
        Arc::new(self.folder.open_file(&self.repo, self.commit, file))
    }
}

impl SourceFile for FolderFile {
    fn read_range(&self, offset: u64, len: u64) -> BoxFuture<'_, Result<SourceBytes, SourceError>> {
        async move {
            let body = Self::read_range(self, offset, len).await?;
            let chunks = stream::try_unfold(body, |mut body| async move {
                Ok(body.chunk().await?.map(|chunk| (chunk, body)))
            });
            Ok(Box::pin(chunks) as SourceBytes)
        }
        .boxed()
    }
}

impl From<FolderError> for SourceError {
    fn from(error: FolderError) -> Self {
        Self { fault: error.fault(), retry: error.retry() }
    }
}

impl SourceFile for FileSource {
    fn read_range(&self, offset: u64, len: u64) -> BoxFuture<'_, Result<SourceBytes, SourceError>> {
        async move {
            let body = Self::read_range(self, offset, len).await?;
            let chunks = stream::try_unfold(body, |mut body| async move {
                Ok(body.chunk().await?.map(|chunk| (chunk, body)))
            });
            Ok(Box::pin(chunks) as SourceBytes)
        }
        .boxed()
    }
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        Self { fault: error.fault(), retry: error.retry() }
    }
}
