//! Processes as the shim needs them: forked from a single thread, waited for, ended.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use crate::protocol::CommandEnd;

/// Which of the two this process is after a fork.
pub(super) enum Forked {
    Child,
    Parent(Child),
}

/// A child of this process that has not been waited for.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Splits this process in two.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: the shim has one thread, so no lock can be held by another, and the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
        nix::unistd::ForkResult::Parent { child } => {
            let pid = Pid::from_raw(child.as_raw()).expect("a child's number is not zero");
            // The child has not been waited for, so the number is still its own.
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            Ok(Forked::Parent(Child { pid, pidfd }))
        }
    }
}

impl Child {
    /// Returns its number, as this process sees it.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Returns the descriptor that becomes readable when it has ended.
    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Ends it by force.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends it a signal. It having ended is fine.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end.
    pub(super) fn wait(&self) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), WaitOptions::empty()))?;
        Ok(())
    }

    /// Returns whether `pid` is this child.
    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

/// Collects one ended child, or None when none has ended or none is left.
pub(super) fn reap_one() -> io::Result<Option<(Pid, WaitStatus)>> {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Ok(ended) => Ok(ended),
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns how a child ended.
pub(super) fn command_end(status: WaitStatus) -> CommandEnd {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => CommandEnd::Signal(signal),
        (Some(code), None) => CommandEnd::Code(code),
        // Only ended children are waited for, and they end in one of the two ways (wait(2)).
        (None, None) => CommandEnd::Code(0),
    }
}

/// Returns the children of this process, as the host's /proc lists them.
pub(super) fn children() -> io::Result<Vec<Pid>> {
    let own = std::process::id();
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) =
            entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat", pid = pid.as_raw_nonzero()))
            .unwrap_or_default();
        // The name stands in brackets and may hold anything; the state and the parent follow (proc_pid_stat(5)).
        let parent =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(own) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// Sleeps until a signal ends the process.
pub(super) fn pause() -> ! {
    loop {
        rustix::event::pause();
    }
}

/// Ends this process without running anything that the process it was forked from has registered.
pub(super) fn exit_at_once(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every open file but these and the three standard ones.
pub(super) fn close_others(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> =
        kept.iter().map(std::os::fd::AsRawFd::as_raw_fd).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        close_range(first, fd - 1, 0)?;
        first = fd + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

/// Marks every open file but the three standard ones to be closed when a program is executed.
pub(super) fn close_others_on_exec() -> io::Result<()> {
    close_range(3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the caller answers for nobody using the descriptors in this range any more; the call itself only
    // takes numbers.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
