//! From a spec to a running command, on the shim's side: users, control groups, pipes, and the first process.

use std::{
    fs, io,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use base::Clock;
use rustix::{
    fs::{OFlags, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
    thread::UnshareFlags,
};

use super::{
    cgroup::{self, ControlGroups},
    init::{Init, relay_url},
    log::{Log, Pipe},
    namespaces, privileges,
    process::{self, Child, Forked},
    supervisor::Parts,
};
use crate::{
    LogStream, ProcessIds, RelaySharing,
    protocol::{
        During as _, Enclosure, Identity, InitRequest, Progress, Refusal, Running, Spec, read_frame,
        write_frame,
    },
    records::RunFolder,
};

/// When memory is short on the whole machine, workers are ended before agents and servers: halfway between the
/// default (0) and "always first" (1000), proc_pid_oom_score_adj(5).
const OOM_SCORE: &str = "500";

/// Starts a worker, up to the point where its command runs. What was begun is gone when this fails.
pub(super) fn launch(spec: &Spec, shared: Option<TcpListener>) -> Result<Parts, Refusal> {
    // A system that does not let us be ended first is no reason not to run.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let users = match spec.enclosure {
        Enclosure::Sandbox(Identity::Single) => {
            namespaces::become_root_of_own()?;
            Some(namespaces::worker_users(Identity::Single)?)
        }
        Enclosure::Sandbox(identity @ Identity::Range { .. }) => Some(namespaces::worker_users(identity)?),
        Enclosure::Plain => None,
    };
    // Only now: the maps of users can't be written by a process that hides.
    privileges::hide().during("hide from other processes")?;
    let groups = ControlGroups::create(&spec.worker, spec.limits);
    let paths = groups.paths();
    fork_first_process(spec, users, shared, groups).inspect_err(|_| cgroup::remove(&paths))
}

fn fork_first_process(
    spec: &Spec,
    users: Option<OwnedFd>,
    shared: Option<TcpListener>,
    mut groups: ControlGroups,
) -> Result<Parts, Refusal> {
    let folder = RunFolder::new(spec.run_folder.clone());
    let log = Log::create(&folder).during("open the worker's log")?;
    let (output, output_end) = pipe().during("make a pipe")?;
    let (error, error_end) = pipe().during("make a pipe")?;
    let (init_socket, shim) = UnixStream::pair().during("make a socket")?;
    let shared_url = shared.as_ref().map(relay_url).transpose().during("find the relay's address")?;
    match spec.enclosure {
        Enclosure::Sandbox(_) => namespaces::unshare(UnshareFlags::NEWPID).forbidden("a pid namespace")?,
        Enclosure::Plain => {}
    }
    let init = match process::fork().during("start a process")? {
        Forked::Child => Init {
            spec,
            groups: &groups,
            shim,
            users,
            relay_url: shared_url,
            output: output_end,
            error: error_end,
        }
        .run(),
        Forked::Parent(child) => child,
    };
    drop((shim, output_end, error_end, users));
    let begun = begin(&init, &init_socket, &groups, shared);
    let (relay, sharing, notes) = begun.or_else(|refusal| {
        init.kill().and_then(|()| init.wait()).during("end a process of our own")?;
        Err(refusal)
    })?;
    let mut all_notes = std::mem::take(&mut groups.notes);
    all_notes.extend(notes);
    let running = Running {
        processes: ProcessIds { shim: std::process::id(), init: init.pid() },
        slot: spec.slot,
        relay_url: relay_url(&relay).during("find the relay's address")?,
        sharing,
        started_at: Clock::System.now(),
        notes: all_notes,
        control_groups: groups.paths(),
    };
    let pipes = [Pipe::new(output, LogStream::Output), Pipe::new(error, LogStream::Error)];
    Ok(Parts { folder, enclosure: spec.enclosure, running, relay, init, init_socket, groups, log, pipes })
}

/// Returns a pipe whose reading end does not block.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// Lets the first process begin, and waits until the command runs.
fn begin(
    init: &Child,
    socket: &UnixStream,
    groups: &ControlGroups,
    shared: Option<TcpListener>,
) -> Result<(TcpListener, RelaySharing, Vec<String>), Refusal> {
    groups.admit(init.pid()).during("put the worker into its control groups")?;
    write_frame(socket, &InitRequest::Begin, &[]).during("tell the first process to begin")?;
    let mut relay = shared.map(|listener| (listener, RelaySharing::Shared));
    loop {
        let (progress, descriptors) = read_frame::<Progress>(socket).during("hear from the first process")?;
        match (progress, relay.take(), descriptors.into_iter().next()) {
            (Progress::Refused(refusal), _, _) => return Err(refusal),
            (Progress::Relay { .. }, _, Some(listener)) => relay = Some((listener.into(), RelaySharing::Own)),
            (Progress::Executed { notes }, Some((listener, sharing)), _) => {
                return Ok((listener, sharing, notes));
            }
            (Progress::Relay { .. } | Progress::Executed { .. } | Progress::Ended(_), _, _) => {
                return Err(io::Error::other("it left out the relay")).during("hear from the first process");
            }
        }
    }
}
