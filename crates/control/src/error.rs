//! What opening the control plane can fail with.

use std::{io, path::PathBuf};

use state::{CommitError, DatabaseError};
use types::{ErrorCode, Fault};

/// A control plane that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenControlError {
    /// The state can't be read.
    #[error("the state can't be read")]
    State(#[from] DatabaseError),
    /// The first tenant and key can't be written.
    #[error("the first tenant and its key can't be written")]
    Commit(#[from] CommitError),
    /// The file of the first key can't be written.
    #[error("the admin key can't be written to {}", path.display())]
    AdminKey {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No hub is configured.
    #[error("no hub is configured")]
    NoHub,
}

impl OpenControlError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::Commit(error) => error.fault(),
            Self::AdminKey { .. } => Fault::from_error(ErrorCode::DiskError, self)
                .with_hint("check that the data folder can be written by this user"),
            Self::NoHub => Fault::from_error(ErrorCode::Internal, self),
        }
    }
}
