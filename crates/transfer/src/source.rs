//! Where bytes come from: a hub, its mirrors, folders and buckets over HTTP; peers later.

mod board;
mod choice;
mod list;
mod usage;

use std::{fmt, sync::Arc};

use base::Redacted;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream, stream::BoxStream};
use hub::{FileSource, Hub, ReadError, Retry};
use types::{Commit, Fault, ManifestFile, RepoName};

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

/// A model's repository on a hub.
#[derive(Clone, Debug)]
pub struct HubSource {
    hub: Hub,
    repo: RepoName,
    commit: Commit,
    token: Option<Redacted<String>>,
}

impl HubSource {
    /// Makes a source of a repository (by its canonical name) at a commit, read with a token if there is one.
    pub fn new(hub: Hub, repo: RepoName, commit: Commit, token: Option<Redacted<String>>) -> Self {
        Self { hub, repo, commit, token }
    }
}

impl Source for HubSource {
    fn name(&self) -> String {
        format!("hub {}", self.hub.name())
    }

    fn open(&self, file: &ManifestFile) -> Arc<dyn SourceFile> {
        Arc::new(self.hub.open_file(&self.repo, self.commit, file, self.token.as_ref()))
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
