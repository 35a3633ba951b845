//! The first process of a worker's namespace: it builds the worker's root, becomes harmless, starts the command,
//! collects whatever ends, and by its own end takes everything with it.
//!
//! Without a namespace it is a subreaper, and sweeps its descendants away itself.
//!
//! ```text
//! wait for Begin ─▶ namespaces, relay, root ─▶ worker's user, no rights ─▶ command ─▶ reap … ─▶ end
//! ```

use std::{
    io,
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::Signal as ProcessSignal,
    thread::UnshareFlags,
};

use super::{
    cgroup::ControlGroups,
    command::Command,
    etc, namespaces, plain, privileges,
    process::{self, Child},
    root::{self, Users, WORK_FOLDER},
    seccomp::Filters,
};
use crate::{
    Egress,
    protocol::{
        CommandEnd, During as _, Enclosure, Identity, InitRequest, Progress, Refusal, Spec, read_frame,
        write_frame,
    },
};

/// Rounds of ending descendants before giving up: each round reaches one generation, and a program that forks
/// faster than it is ended for so long is stopped by its limit of processes.
const SWEEPS_MAX: usize = 10_000;

/// What the first process is given by the shim that forks it.
pub(super) struct Init<'a> {
    pub(super) spec: &'a Spec,
    pub(super) groups: &'a ControlGroups,
    pub(super) shim: UnixStream,
    /// The worker's user namespace; None without isolation.
    pub(super) users: Option<OwnedFd>,
    /// Where the relay is, when it is not in the worker's own network.
    pub(super) relay_url: Option<String>,
    pub(super) output: OwnedFd,
    pub(super) error: OwnedFd,
}

impl Init<'_> {
    /// Does all of a first process's work and ends. Never returns into the shim's code.
    pub(super) fn run(self) -> ! {
        let Self { spec, groups, shim, users, relay_url, output, error } = self;
        let result = live(spec, groups, &shim, users, relay_url, (output, error));
        if let Err(refusal) = result {
            // A shim that is gone needs no reason.
            let _ = write_frame(&shim, &Progress::Refused(refusal), &[]);
        }
        match spec.enclosure {
            // The namespace ends with this process, and so does whatever is in it.
            Enclosure::Sandbox(_) => {}
            Enclosure::Plain => sweep(),
        }
        process::exit_at_once(0);
    }
}

fn live(
    spec: &Spec,
    groups: &ControlGroups,
    shim: &UnixStream,
    users: Option<OwnedFd>,
    relay_url: Option<String>,
    (output, error): (OwnedFd, OwnedFd),
) -> Result<(), Refusal> {
    let mut kept = vec![shim.as_fd(), output.as_fd(), error.as_fd()];
    kept.extend(users.as_ref().map(OwnedFd::as_fd));
    process::close_others(&kept).during("close the shim's files")?;
    match read_frame::<InitRequest>(shim) {
        Ok((InitRequest::Begin, _)) => {}
        Ok((InitRequest::Terminate | InitRequest::Sweep, _)) | Err(_) => return Ok(()),
    }
    groups.join().during("join the worker's control groups")?;
    let signals = block_child_signal().during("wait for signals")?;
    let (folder, own_url, notes) = match (spec.enclosure, users) {
        (Enclosure::Sandbox(identity), Some(namespace)) => {
            let url = enter_sandbox(spec, shim, identity, &namespace)?;
            (PathBuf::from(WORK_FOLDER), url, Vec::new())
        }
        (Enclosure::Sandbox(_) | Enclosure::Plain, _) => {
            let (folder, notes) = plain::prepare(spec)?;
            (folder, None, notes)
        }
    };
    let url = own_url.or(relay_url).unwrap_or_default();
    let child = Command::prepare(spec, &url, folder, (output, error))?.spawn()?;
    write_frame(shim, &Progress::Executed { notes }, &[]).during("tell the shim")?;
    attend(shim, &signals, &child).during("attend to the command")
}

/// Makes the worker's surroundings and moves into them for good. Returns the relay's URL when it is in there.
fn enter_sandbox(
    spec: &Spec,
    shim: &UnixStream,
    identity: Identity,
    namespace: &OwnedFd,
) -> Result<Option<String>, Refusal> {
    let mut flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    match spec.egress {
        Egress::None => flags |= UnshareFlags::NEWNET,
        Egress::Shared => {}
    }
    namespaces::unshare(flags).forbidden("mount, ipc, uts, cgroup and network namespaces")?;
    namespaces::leave_keyring();
    rustix::system::sethostname(etc::host_name(spec).as_bytes()).during("name the worker's host")?;
    let url = match spec.egress {
        Egress::None => {
            let listener = namespaces::listen_on_own_loopback().during("listen in the worker's network")?;
            let url = relay_url(&listener).during("listen in the worker's network")?;
            write_frame(shim, &Progress::Relay { url: url.clone() }, &[listener.as_fd()])
                .during("tell the shim")?;
            Some(url)
        }
        Egress::Shared => None,
    };
    // Nothing that happens here is seen by the host, whatever it had its mounts share.
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).forbidden("mounts of its own")?;
    root::enter(spec, Users { identity, namespace: namespace.as_fd() })?;
    silence().during("let go of the shim's log")?;
    let filters = Filters::compile().during("compile the filter of system calls")?;
    privileges::become_worker(namespace.as_fd(), identity)?;
    privileges::give_up(&filters)?;
    // Both are undone by a change of user, so they come last; until here nobody could look.
    privileges::hide().and_then(|()| privileges::end_with_parent()).during("hide from the worker")?;
    Ok(url)
}

/// Returns a listener's address as workers write it.
pub(super) fn relay_url(listener: &TcpListener) -> io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Lets go of the last files of the host: the standard ones.
fn silence() -> io::Result<()> {
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    nix::unistd::dup2_stderr(&nothing)?;
    Ok(())
}

fn block_child_signal() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Collects what ends and carries out what the shim asks, until the command has ended or the shim has.
fn attend(shim: &UnixStream, signals: &SignalFd, command: &Child) -> io::Result<()> {
    loop {
        let mut files = [PollFd::new(shim, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut files, None))?;
        while signals.read_signal()?.is_some() {}
        if let Some(end) = reap_until(command)? {
            return write_frame(shim, &Progress::Ended(end), &[]);
        }
        if files[0].revents().is_empty() {
            continue;
        }
        match read_frame::<InitRequest>(shim) {
            Ok((InitRequest::Terminate, _)) => command.signal(ProcessSignal::TERM)?,
            Ok((InitRequest::Begin, _)) => {}
            Ok((InitRequest::Sweep, _)) => command.kill()?,
            // The shim is gone; nobody would know of this worker any more.
            Err(_) => return Ok(()),
        }
    }
}

/// Collects every ended child, and returns how the command ended if it is among them.
fn reap_until(command: &Child) -> io::Result<Option<CommandEnd>> {
    let mut end = None;
    while let Some((pid, status)) = process::reap_one()? {
        if command.is(pid) {
            end = Some(process::command_end(status));
        }
    }
    Ok(end)
}

/// Ends every descendant. Orphans come to this process, so each round brings the next generation within reach.
fn sweep() {
    for _ in 0..SWEEPS_MAX {
        let Ok(children) = process::children() else { return };
        if children.is_empty() {
            return;
        }
        for child in children {
            // One that has ended meanwhile is collected below.
            let _ = rustix::process::kill_process(child, ProcessSignal::KILL);
        }
        // Blocks until one of them has ended, which a killed process does.
        let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
        while let Ok(Some(_)) = process::reap_one() {}
    }
}
