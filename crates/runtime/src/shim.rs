//! The shim: a process of its own between each worker and its agent. It outlives the agent, so that workers do.
//!
//! The agent starts its own binary again as `larder shim`, before that has any thread or runtime: making
//! namespaces and forking need a process with one thread. What to start comes over a socket, never in the words
//! of the command line, which everybody can read.
//!
//! ```text
//! agent ──socket──▶ shim, on the host ──socket──▶ first process ──▶ command
//!   ▲                 │ log, exit record,            (namespaces, worker's user,
//!   └── control.sock ─┘ a duplicate of the relay      no rights)
//! ```
//!
//! Nobody has to end a shim: it ends after its worker. Ending one by force ends its worker too.

use std::{fs, io, net::TcpListener, os::unix::net::UnixStream, process::ExitCode};

use supervisor::Supervisor;

use crate::protocol::{Reply, Spec, read_frame, write_frame};

pub(crate) mod cgroup;
mod command;
mod course;
mod etc;
mod init;
mod launch;
mod log;
mod mount;
mod namespaces;
mod plain;
mod privileges;
mod process;
mod root;
mod seccomp;
mod supervisor;
mod work;

pub(crate) use namespaces::IDS_PER_WORKER;

/// Runs the shim. Call it first of all in `main`, before any thread is started, when the first argument says so;
/// standard input is the socket to the agent.
pub fn main() -> ExitCode {
    match order().and_then(|(agent, spec, shared)| carry_out(&spec, agent, shared)) {
        Ok(()) => ExitCode::SUCCESS,
        // Standard error is the shim's own log: this is for whoever looks why a worker was lost.
        Err(error) => {
            eprintln!("shim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes what the agent wants, and becomes independent of it.
fn order() -> io::Result<(UnixStream, Spec, Option<TcpListener>)> {
    process::close_others(&[])?;
    let agent = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    nix::unistd::dup2_stdin(fs::File::open("/dev/null")?)?;
    // Of its own session, so that Ctrl-C in the agent's terminal is not for it. A leader already is one.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let (spec, descriptors) = read_frame(&agent)?;
    Ok((agent, spec, descriptors.into_iter().next().map(TcpListener::from)))
}

fn carry_out(spec: &Spec, agent: UnixStream, shared: Option<TcpListener>) -> io::Result<()> {
    match launch::launch(spec, shared) {
        Err(refusal) => write_frame(&agent, &Reply::Refused(refusal), &[]),
        Ok(parts) => {
            let (groups, folder) = (parts.groups.paths(), parts.folder.clone());
            let result = Supervisor::begin(parts, agent).and_then(Supervisor::run);
            if result.is_err() {
                // The first process ends with our side of its socket, which is gone by now.
                cgroup::remove(&groups);
                folder.close_ear();
            }
            result
        }
    }
}
