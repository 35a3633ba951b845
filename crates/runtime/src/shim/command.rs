//! The last steps to the worker's command: its files, its limits, its environment, and the execution.

use std::{
    ffi::{CString, OsStr},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Resource, Rlimit, setrlimit},
};

use super::{
    process::{self, Child, Forked},
    root::HOME_FOLDER,
};
use crate::protocol::{During as _, Enclosure, Refusal, Spec};

/// Where programs are looked for, beside those of the worker's Python.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Text is UTF-8 and everything else is plain: the one locale that every system has.
const LANG: &str = "C.UTF-8";

/// A command that is ready to be executed.
#[derive(Debug)]
pub(super) struct Command {
    words: Vec<CString>,
    environment: Vec<CString>,
    /// Where to look for the program.
    candidates: Vec<CString>,
    path: String,
    folder: PathBuf,
    output: OwnedFd,
    error: OwnedFd,
}

impl Command {
    /// Puts a command together. `relay_url` is what the values of the relay's variables begin with.
    pub(super) fn prepare(
        spec: &Spec,
        relay_url: &str,
        folder: PathBuf,
        (output, error): (OwnedFd, OwnedFd),
    ) -> Result<Self, Refusal> {
        let mut variables: Vec<(&str, String)> = Vec::new();
        variables.extend(spec.env.iter().map(|(name, value)| (name.as_str(), value.expose().clone())));
        variables.extend(
            spec.relay_env
                .iter()
                .map(|(name, path)| (name.as_str(), format!("{relay_url}{}", path.expose()))),
        );
        let programs: Vec<_> =
            spec.programs.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
        let path = programs.iter().map(String::as_str).chain([SYSTEM_PATH]).collect::<Vec<_>>().join(":");
        let (home, hub) = match spec.enclosure {
            Enclosure::Sandbox(_) => (HOME_FOLDER.to_owned(), None),
            Enclosure::Plain => {
                let own = |name: &str| spec.run_folder.join(name).to_string_lossy().into_owned();
                (own("home"), Some(own("hub")))
            }
        };
        let defaults = [
            ("PATH", Some(path)),
            ("HOME", Some(home)),
            ("LANG", Some(LANG.to_owned())),
            ("HF_HUB_CACHE", hub),
        ];
        for (name, value) in defaults {
            match value {
                Some(value) if variables.iter().all(|(given, _)| *given != name) => {
                    variables.push((name, value));
                }
                Some(_) | None => {}
            }
        }
        let path = variables
            .iter()
            .find(|(name, _)| *name == "PATH")
            .map(|(_, path)| path.clone())
            .unwrap_or_default();
        let environment = variables
            .iter()
            .map(|(name, value)| {
                CString::new(format!("{name}={value}")).during(format!("pass the variable {name}"))
            })
            .collect::<Result<_, _>>()?;
        let words = spec
            .command
            .iter()
            .map(|word| CString::new(word.as_str()).during("pass the command's words"))
            .collect::<Result<Vec<_>, _>>()?;
        let candidates = candidates(&spec.command[0], &path)?;
        Ok(Self { words, environment, candidates, path, folder, output, error })
    }

    /// Executes the command in a child. Returns when it runs, or why it does not.
    pub(super) fn spawn(self) -> Result<Child, Refusal> {
        let (told, tells) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe")?;
        match process::fork().during("start a process")? {
            Forked::Child => {
                drop(told);
                let errno = match self.become_command() {
                    Ok(never) => match never {},
                    Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
                };
                // Nobody listens only when the whole worker is being ended.
                let _ = rustix::io::write(&tells, &errno.to_ne_bytes());
                process::exit_at_once(127);
            }
            Forked::Parent(child) => {
                drop(tells);
                self.answer(&told).map(|()| child)
            }
        }
    }

    /// Waits until the child's end of the pipe is closed by the execution, or tells why there was none.
    fn answer(&self, told: &OwnedFd) -> Result<(), Refusal> {
        let mut errno = [0; size_of::<i32>()];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(told, &mut errno))
            .during("wait for the command")?;
        if read == 0 {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        if error.kind() == io::ErrorKind::NotFound {
            Err(Refusal::ProgramNotFound { path: self.path.clone() })
        } else {
            Err(Refusal::ProgramRefused { cause: error.into() })
        }
    }

    fn become_command(&self) -> io::Result<std::convert::Infallible> {
        rustix::process::setsid()?;
        let nothing = std::fs::File::open("/dev/null")?;
        let standard: [BorrowedFd<'_>; 3] = [nothing.as_fd(), self.output.as_fd(), self.error.as_fd()];
        nix::unistd::dup2_stdin(standard[0])?;
        nix::unistd::dup2_stdout(standard[1])?;
        nix::unistd::dup2_stderr(standard[2])?;
        process::close_others_on_exec()?;
        // The image of a crashed worker would go to wherever the host says. One byte is the limit that also keeps it
        // from a program that collects such images, which zero does not (core(5), "Piping core dumps").
        setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) })?;
        restore_signals()?;
        super::privileges::end_with_parent()?;
        std::env::set_current_dir(&self.folder)?;
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for candidate in &self.candidates {
            let Err(error) = nix::unistd::execve(candidate, &self.words, &self.environment);
            match error {
                nix::Error::ENOENT | nix::Error::ENOTDIR => {}
                other => refused = other.into(),
            }
        }
        // ENOENT as a number, since the kind alone would not go through the pipe.
        Err(if refused.raw_os_error().is_some() {
            refused
        } else {
            io::Error::from_raw_os_error(libc::ENOENT)
        })
    }
}

/// Returns where a program may be: itself when it holds a slash, otherwise in each folder of `path`.
fn candidates(program: &str, path: &str) -> Result<Vec<CString>, Refusal> {
    let places = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        path.split(':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| PathBuf::from(folder).join(program))
            .collect()
    };
    places
        .iter()
        .map(|place| CString::new(OsStr::as_bytes(place.as_os_str())).during("pass the command's words"))
        .collect()
}

/// Gives the command the signals that a program expects: none blocked, none ignored.
fn restore_signals() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGPIPE, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
