//! What opening, committing and reading can fail with.

use std::{io, path::PathBuf};

use types::{Epoch, ErrorCode, Fault};

/// A state that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStateError {
    /// Another process has it.
    #[error("another process uses the state in {}", folder.display())]
    Locked {
        /// The folder of the state.
        folder: PathBuf,
    },
    /// A file call failed.
    #[error("the state in {} can't be opened", folder.display())]
    Disk {
        /// The folder of the state.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database failed.
    #[error("the state's database can't be opened")]
    Database(#[source] DatabaseError),
    /// A newer Larder wrote it.
    #[error("the state was written by a newer version (schema {found}, this one knows {known})")]
    Newer {
        /// The schema found.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The key that secrets are sealed with is missing or damaged, though sealed secrets are here.
    #[error("the key of sealed secrets in {} can't be used: {reason}", path.display())]
    SealKey {
        /// Where it should stand.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl OpenStateError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Locked { .. } => Fault::from_error(ErrorCode::StateLocked, self)
                .with_hint("stop the other server, or choose another folder with --data-dir"),
            Self::Disk { .. } => Fault::from_error(ErrorCode::DiskError, self)
                .with_hint("check that the data folder can be written by this user"),
            Self::Database(error) => error.fault(),
            Self::Newer { .. } => Fault::from_error(ErrorCode::StateError, self)
                .with_hint("start the newer version, or restore a backup made by this one"),
            Self::SealKey { .. } => Fault::from_error(ErrorCode::SecretUnreadable, self)
                .with_hint("restore the key file from the backup that the database came from"),
        }
    }
}

/// The database refused an operation. Nothing of the batch was written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The engine failed: a full disk, a failed write, a damaged file.
    #[error("the database failed")]
    Engine(#[from] rusqlite::Error),
    /// A row can't be understood.
    #[error("a row of {table} can't be understood")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A sealed value can't be opened with the key that is here.
    #[error("the secret {secret} can't be opened with the key that is here")]
    Sealed {
        /// Which one.
        secret: String,
    },
    /// The state is closed or closing.
    #[error("the state is closed")]
    Closed,
}

impl DatabaseError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Engine(rusqlite::Error::SqliteFailure(error, _))
                if error.code == rusqlite::ErrorCode::DiskFull =>
            {
                Fault::from_error(ErrorCode::StateError, self)
                    .with_hint("free room on the disk of the data folder; what was acknowledged is kept")
            }
            Self::Engine(_) => Fault::from_error(ErrorCode::StateError, self)
                .with_hint("check the disk of the data folder; what was acknowledged is kept"),
            Self::Row { .. } => Fault::from_error(ErrorCode::StateError, self)
                .with_hint("restore a backup of the data folder"),
            Self::Sealed { .. } => Fault::from_error(ErrorCode::SecretUnreadable, self)
                .with_hint("restore the key file from the backup that the database came from"),
            Self::Closed => Fault::from_error(ErrorCode::Unavailable, self),
        }
    }
}

/// A batch that was not written, whole.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A later owner has begun its term: whoever holds this epoch must stop.
    #[error("epoch {} is over, the present one is {}", yours.0, present.0)]
    Superseded {
        /// The epoch of the batch.
        yours: Epoch,
        /// The present one.
        present: Epoch,
    },
    /// The database refused.
    #[error("the batch was not written")]
    Database(#[from] DatabaseError),
}

impl CommitError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Superseded { .. } => Fault::from_error(ErrorCode::Unavailable, self)
                .with_hint("another server owns the queue now; this one must be restarted"),
            Self::Database(error) => error.fault(),
        }
    }
}
