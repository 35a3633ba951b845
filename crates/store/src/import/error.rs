//! Why an import can't begin or go on. What is wrong with single snapshots stands in the report.

use std::{io, path::PathBuf};

use types::{ErrorCode, Fault};

use crate::DiskTrouble;

/// The folder is no Hugging Face cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the folder {} holds no Hugging Face cache", folder.display())]
pub struct NoCache {
    /// The folder as given.
    pub folder: PathBuf,
}

/// The folder can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the cache {} can't be read", folder.display())]
pub struct CacheUnreadable {
    /// The folder as given.
    pub folder: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// The folder belongs to this very store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the folder {} belongs to the store itself", folder.display())]
pub struct InsideStore {
    /// The folder as given.
    pub folder: PathBuf,
}

/// The cache and the store are on different file systems, so no file can be linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache {} is on another file system than the store", folder.display())]
pub struct LinkAcross {
    /// The folder as given.
    pub folder: PathBuf,
}

/// Why an import could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no cache.
    #[error(transparent)]
    NoCache(#[from] NoCache),
    /// It can't be read.
    #[error(transparent)]
    Unreadable(#[from] CacheUnreadable),
    /// It is the store's own.
    #[error(transparent)]
    InsideStore(#[from] InsideStore),
    /// It can't be linked from.
    #[error(transparent)]
    Across(#[from] LinkAcross),
    /// The store's disk.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl ImportError {
    /// Returns what a person is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoCache(no_cache) => Fault::from_error(ErrorCode::CacheNotFound, no_cache).with_hint(
                "give the folder that holds models--…, mostly ~/.cache/huggingface/hub, as the host of the agent sees it",
            ),
            Self::Unreadable(unreadable) => Fault::from_error(ErrorCode::CacheNotFound, unreadable)
                .with_hint("the agent's user reads it, on the agent's host: look at the path and its permissions"),
            Self::InsideStore(inside) => Fault::from_error(ErrorCode::CacheNotFound, inside)
                .with_hint("what is in the store need not be imported: larder model list shows it"),
            Self::Across(across) => Fault::from_error(ErrorCode::LinkRefused, across)
                .with_hint("import without --link: the files are copied, which takes room on the store's disk"),
            Self::Disk(trouble) => trouble.fault(),
        }
    }
}
