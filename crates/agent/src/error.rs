//! Why an agent could not be opened.

use std::{io, path::PathBuf};

use runtime::DriverError;
use store::OpenStoreError;
use types::{ErrorCode, Fault};

/// An agent could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenAgentError {
    /// Its folder could not be read or written.
    #[error("the agent's folder {} can't be used", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its store could not be opened.
    #[error("the model store can't be opened")]
    Store(#[from] OpenStoreError),
    /// The driver can't do its work here.
    #[error("workers can't be run here")]
    Driver(#[from] DriverError),
}

impl OpenAgentError {
    /// Returns the error as a user sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Folder { source, .. } => {
                let fault = Fault::from_error(ErrorCode::DiskError, self);
                match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        fault.with_hint("give the agent's user the folder, or name another with --data-dir")
                    }
                    io::ErrorKind::InvalidData => {
                        fault.with_hint("the file is damaged: restore it, or start with an empty --data-dir")
                    }
                    // Not our enum, and open.
                    _ => fault.with_hint("look at the disk's room and health"),
                }
            }
            Self::Store(error) => error.fault(),
            Self::Driver(error) => error.fault(),
        }
    }
}
