//! How a command ends when it does not end well: a fault, and an exit code that scripts can tell apart.

use std::io;

use types::{ErrorCode, Fault};

/// The exit codes of the command line. They are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Success = 0,
    /// Something went wrong that no other code names.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No server answers.
    ServerAway = 3,
    /// The key is missing, wrong, or does not allow it.
    Key = 4,
    /// What was named is not there.
    NotFound = 5,
    /// The request was refused: as it is it will never be taken.
    Refused = 6,
    /// The job ended with an error, was cancelled or ran out of time.
    JobFailed = 7,
    /// The wait ended before the job did; the job goes on.
    WaitEnded = 8,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell the user.
    Fault(Fault),
    /// Whoever read the output has gone: the end of `larder … | head`. Nothing to tell.
    OutputClosed,
}

impl Failure {
    /// Returns the exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::OutputClosed => Exit::Success,
            Self::Fault(fault) => exit_of(fault.code),
        }
    }
}

/// Returns the exit code for an error's code. The classes are those of the HTTP status that goes with it, so that a
/// new code falls into the right one by itself.
fn exit_of(code: ErrorCode) -> Exit {
    const JOB_ENDS: [ErrorCode; 4] =
        [ErrorCode::JobFailed, ErrorCode::JobCancelled, ErrorCode::ExecutionTimeout, ErrorCode::JobExpired];
    if code == ErrorCode::ServerAway {
        return Exit::ServerAway;
    }
    if code == ErrorCode::Timeout {
        return Exit::WaitEnded;
    }
    if JOB_ENDS.contains(&code) {
        return Exit::JobFailed;
    }
    match code.http_status() {
        401 | 403 => Exit::Key,
        404 => Exit::NotFound,
        400..=499 => Exit::Refused,
        _ => Exit::Failure,
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Failure {
    /// Only writing to the screen gives bare I/O errors here.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Fault(Fault::new(ErrorCode::DiskError, format!("the output can't be written: {error}")))
        }
    }
}
