//! Why a driver could not do what it was asked for.

use std::{io, path::PathBuf};

use types::{ErrorCode, Fault, WorkerId};

/// An operation of a driver failed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The system does not let us keep workers apart.
    #[error("this system does not allow {stage}")]
    NamespacesForbidden {
        /// What was tried.
        stage: String,
        /// The one thing that would allow it.
        hint: String,
        /// What the system said.
        source: io::Error,
    },
    /// A step of making the worker's surroundings failed.
    #[error("could not {stage}")]
    SandboxFailed {
        /// The step, as a verb with its object.
        stage: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command's program is not there, as the worker sees it.
    #[error("there is no program {program:?} in the worker's PATH ({path})")]
    ProgramNotFound {
        /// The first word of the command.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The command's program is there and can't be executed.
    #[error("the program {program:?} can't be executed")]
    ProgramRefused {
        /// The first word of the command.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The released folder is not there.
    #[error("the released folder {} can't be found", path.display())]
    FolderNotFound {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something that was to be mounted must not be.
    #[error("{} is not mounted into a worker: {reason}", path.display())]
    MountRefused {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The worker has been started before.
    #[error("the worker {worker} has been started already")]
    AlreadyStarted {
        /// The worker.
        worker: WorkerId,
    },
    /// The driver knows no such worker.
    #[error("this host has no worker {worker}")]
    UnknownWorker {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker has to end first.
    #[error("the worker {worker} still runs")]
    StillRunning {
        /// The worker.
        worker: WorkerId,
    },
    /// Every place for a worker is taken.
    #[error("this host runs {limit} workers already, and no more")]
    TooManyWorkers {
        /// How many places there are.
        limit: usize,
    },
    /// The shim could not be started or did not answer.
    #[error("the worker's shim does not answer")]
    ShimSilent {
        /// What the system said.
        source: io::Error,
    },
    /// The folder in which workers are recorded can't be used.
    #[error("the run folder {} can't be used", path.display())]
    RunFolder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two models of one endpoint have the same name in the cache layout.
    #[error("two models of the endpoint would both be seen as {folder}")]
    ModelNameTwice {
        /// The folder name.
        folder: String,
    },
}

impl DriverError {
    /// Returns the error as people see it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::NamespacesForbidden { hint, .. } => fault(ErrorCode::NamespacesForbidden).with_hint(hint),
            Self::ProgramNotFound { .. } => fault(ErrorCode::DriverFailed).with_hint(
                "name a program of the Python environment, of the released folder (./name) or of /usr",
            ),
            Self::ProgramRefused { .. } => fault(ErrorCode::DriverFailed).with_hint(
                "make the file executable, and give a script a first line such as #!/usr/bin/env python",
            ),
            Self::SandboxFailed { .. } | Self::ShimSilent { .. } => fault(ErrorCode::DriverFailed),
            Self::RunFolder { .. } => fault(ErrorCode::DriverFailed)
                .with_hint("see whether the disk of the data folder is full or read-only"),
            Self::FolderNotFound { .. } => {
                fault(ErrorCode::FolderNotFound).with_hint("create the release again")
            }
            Self::MountRefused { .. } => fault(ErrorCode::DriverFailed),
            Self::TooManyWorkers { .. } => {
                fault(ErrorCode::DriverFailed).with_hint("wait until a worker has ended, or add a host")
            }
            Self::AlreadyStarted { .. } | Self::StillRunning { .. } => fault(ErrorCode::Internal),
            Self::UnknownWorker { .. } => fault(ErrorCode::WorkerNotFound),
            Self::ModelNameTwice { .. } => fault(ErrorCode::FieldInvalid)
                .with_hint("name each repository once; one endpoint holds one revision and selection of it"),
        }
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        error.fault()
    }
}
