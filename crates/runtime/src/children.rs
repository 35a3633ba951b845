//! Processes of our own that are no workers: the roles that `up` supervises, and the programs that the demo runs.
//!
//! A child is either ours, and then it is waited for, or it was started by an earlier `up` and is watched by its
//! pidfd. Ids are used again by the system, so a process that is found by its id must also have started when the
//! record says. Nothing here decides when to start or end anything; no task lives here.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    str::FromStr,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Interest, Lines, unix::AsyncFd},
    process::{ChildStderr, ChildStdout, Command},
};
use types::{ErrorCode, Fault};

/// Where a child's output goes.
#[derive(Debug)]
pub enum ChildOutput {
    /// To nobody.
    Nowhere,
    /// Where ours goes.
    Shared,
    /// Into a file, both streams.
    File(fs::File),
    /// To us, line by line: [`Child::lines`].
    Lines,
}

/// Whether a child hears Ctrl-C from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildGroup {
    /// It does, as we do.
    Shared,
    /// It has a group of its own: only we tell it to end.
    Own,
}

/// What happens to a child when its [`Child`] is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildLife {
    /// It is killed.
    Ours,
    /// It goes on: it was started to outlive us.
    ItsOwn,
}

/// A program to be started. It gets our environment, changed as said.
#[derive(Debug)]
pub struct ChildSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables set (`Some`) or taken away (`None`).
    pub environment: BTreeMap<OsString, Option<OsString>>,
    /// Where it starts; ours by default.
    pub folder: Option<PathBuf>,
    /// Where its output goes. Its input is empty.
    pub output: ChildOutput,
    /// Whether it hears Ctrl-C.
    pub group: ChildGroup,
    /// Whether it outlives its [`Child`].
    pub life: ChildLife,
}

impl ChildSpec {
    /// Makes the spec of a program that shares our output and ends with us.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            folder: None,
            output: ChildOutput::Shared,
            group: ChildGroup::Shared,
            life: ChildLife::Ours,
        }
    }
}

/// What to tell a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildSignal {
    /// End in good order.
    Terminate,
    /// End at once.
    Kill,
}

/// A child could not be started or reached.
#[derive(Debug, thiserror::Error)]
#[error("can't {attempt} {}", program.display())]
pub struct ChildError {
    /// What was tried.
    pub attempt: &'static str,
    /// The program.
    pub program: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

impl ChildError {
    /// Returns the error as people see it.
    pub fn fault(&self) -> Fault {
        Fault::from_error(ErrorCode::DriverFailed, self)
    }
}

/// One process, now and for ever: its id and when it started, in the clock ticks of `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its id.
    pub pid: u32,
    started_ticks: u64,
}

impl ProcessIdentity {
    /// Returns the identity of the process that has this id now.
    ///
    /// # Errors
    /// The system's, when there is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The program's name may hold blanks and parentheses; the fields after it hold none (proc_pid_stat(5)).
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
        // `starttime` is the 22nd field, and two stand before these.
        let started = after_name.and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok());
        match started {
            Some(started_ticks) => Ok(Self { pid, started_ticks }),
            None => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the system's record of it makes no sense"))
            }
        }
    }

    /// Returns the identity of this process.
    ///
    /// # Errors
    /// The system's, where there is no `/proc`.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started_ticks)
    }
}

/// A text that names no process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no process")]
pub struct ParseIdentityError(String);

impl FromStr for ProcessIdentity {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, ParseIdentityError> {
        let parsed = text.trim().split_once(' ').and_then(|(pid, started)| {
            Some(Self { pid: pid.parse().ok()?, started_ticks: started.parse().ok()? })
        });
        parsed.ok_or_else(|| ParseIdentityError(text.chars().take(80).collect()))
    }
}

/// Lines that a child writes, of one of its streams.
#[derive(Debug)]
pub struct ChildLines {
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
    out_ended: bool,
    err_ended: bool,
}

impl ChildLines {
    /// Returns the next line of either stream, or `None` when both have ended.
    ///
    /// # Errors
    /// The system's, also for a line that is no UTF-8.
    ///
    /// # Cancel safety
    /// Dropping the future loses no line.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        while !(self.out_ended && self.err_ended) {
            let line = tokio::select! {
                // Cancel-safe: `next_line` keeps what it has read of a line.
                line = self.out.next_line(), if !self.out_ended => {
                    let line = line?;
                    self.out_ended = line.is_none();
                    line
                }
                // Cancel-safe: as above.
                line = self.err.next_line(), if !self.err_ended => {
                    let line = line?;
                    self.err_ended = line.is_none();
                    line
                }
            };
            if line.is_some() {
                return Ok(line);
            }
        }
        Ok(None)
    }
}

/// A process that we started.
#[derive(Debug)]
pub struct Child {
    program: PathBuf,
    identity: ProcessIdentity,
    pidfd: OwnedFd,
    inner: tokio::process::Child,
    lines: Option<ChildLines>,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// [`ChildError`] with the system's reason.
    pub fn start(spec: ChildSpec) -> Result<Self, ChildError> {
        let ChildSpec { program, arguments, environment, folder, output, group, life } = spec;
        let failed = |attempt| {
            let program = program.clone();
            move |source| ChildError { attempt, program, source }
        };
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(life == ChildLife::Ours);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        if group == ChildGroup::Own {
            command.process_group(0);
        }
        match output {
            ChildOutput::Nowhere => command.stdout(Stdio::null()).stderr(Stdio::null()),
            ChildOutput::Shared => command.stdout(Stdio::inherit()).stderr(Stdio::inherit()),
            ChildOutput::File(file) => {
                let second = file.try_clone().map_err(failed("open the log of"))?;
                command.stdout(file).stderr(second)
            }
            ChildOutput::Lines => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let mut inner = command.spawn().map_err(failed("start"))?;
        let pid = inner.id().expect("a child that was not waited for has an id");
        let lines = match (inner.stdout.take(), inner.stderr.take()) {
            (Some(out), Some(err)) => Some(ChildLines {
                out: BufReader::new(out).lines(),
                err: BufReader::new(err).lines(),
                out_ended: false,
                err_ended: false,
            }),
            (Some(_) | None, _) => None,
        };
        // It can't be gone: nobody has waited for it.
        let identity = ProcessIdentity::of(pid).map_err(failed("find"))?;
        let pidfd = open(identity).map_err(failed("find"))?;
        Ok(Self { program, identity, pidfd, inner, lines })
    }

    /// Returns which process it is.
    pub const fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Returns the lines that it writes, once, when that was asked for.
    pub const fn lines(&mut self) -> Option<ChildLines> {
        self.lines.take()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait(&mut self) -> Result<ExitStatus, ChildError> {
        let waited = self.inner.wait().await;
        waited.map_err(|source| ChildError { attempt: "wait for", program: self.program.clone(), source })
    }

    /// Tells it to end. One that has ended already is no error.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, signal: ChildSignal) -> Result<(), ChildError> {
        send(&self.pidfd, signal).map_err(|source| ChildError {
            attempt: "signal",
            program: self.program.clone(),
            source,
        })
    }
}

/// A process that somebody else started, found again by its record.
#[derive(Debug)]
pub struct AdoptedChild {
    identity: ProcessIdentity,
    pidfd: AsyncFd<OwnedFd>,
}

impl AdoptedChild {
    /// Finds the process, or nothing when it has ended. Needs a runtime.
    ///
    /// # Errors
    /// The system's, other than that it is gone.
    pub fn find(identity: ProcessIdentity) -> io::Result<Option<Self>> {
        let pidfd = match open(identity) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The id is asked about only now: as long as the pidfd is that of a living process, the id is its own.
        match ProcessIdentity::of(identity.pid) {
            Ok(now) if now == identity => {
                // SAFETY: an `OwnedFd` is open, and gives the same descriptor, until it is dropped.
                let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
                Ok(Some(Self { identity, pidfd: pidfd? }))
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Returns which process it is.
    pub const fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Waits until it has ended. How it ended only its parent can know.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn ended(&self) -> io::Result<()> {
        // A pidfd becomes readable when its process ends (pidfd_open(2)).
        self.pidfd.readable().await.map(drop)
    }

    /// Tells it to end. One that has ended already is no error.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, signal: ChildSignal) -> io::Result<()> {
        send(self.pidfd.get_ref(), signal)
    }
}

/// Finds a program on a search path, as a shell does.
pub fn find_program(name: &str, search_path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn open(identity: ProcessIdentity) -> io::Result<OwnedFd> {
    let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

fn send(pidfd: &OwnedFd, signal: ChildSignal) -> io::Result<()> {
    let signal = match signal {
        ChildSignal::Terminate => Signal::TERM,
        ChildSignal::Kill => Signal::KILL,
    };
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
