//! The driver's side of a shim: starting one, and a line to one that runs.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use super::ShimProgram;
use crate::{
    protocol::{Reply, Request, Running, Spec, encode, frame_length, read_frame, write_frame},
    records::RunFolder,
};

/// How long a shim may take until the command runs. Without a released folder it is a few milliseconds; copying
/// one where no overlay can be had takes as long as the disk needs.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a running shim may take to answer. It only ever waits for events.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// A shim that was started and has not said yet whether its worker runs.
#[derive(Debug)]
pub(super) struct NewShim {
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: UnixStream,
}

/// Starts a shim in a folder that has been made for it.
pub(super) fn spawn(program: &ShimProgram, folder: &RunFolder, name: &str) -> io::Result<NewShim> {
    let (socket, shims_end) = UnixStream::pair()?;
    socket.set_read_timeout(Some(START_TIMEOUT))?;
    socket.set_write_timeout(Some(START_TIMEOUT))?;
    let log = OpenOptions::new().create(true).append(true).open(folder.shim_log())?;
    let child = Command::new(&program.program)
        .args(&program.arguments)
        // Not read by anybody; it tells whose shim this is in a list of processes.
        .arg(name)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(shims_end)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    Ok(NewShim { pidfd: pidfd_of(pid)?, child, socket })
}

/// Sends the start and waits for the answer. Blocks.
pub(super) fn order(
    socket: &UnixStream,
    spec: &Spec,
    shared: Option<&TcpListener>,
) -> io::Result<(Reply, Option<TcpListener>)> {
    let descriptors: Vec<_> = shared.iter().map(|listener| listener.as_fd()).collect();
    write_frame(socket, spec, &descriptors)?;
    let (reply, descriptors) = read_frame(socket)?;
    Ok((reply, descriptors.into_iter().next().map(TcpListener::from)))
}

/// A line to a running shim.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    pidfd: OwnedFd,
}

impl Connection {
    /// Keeps the line on which a shim has answered, and returns the end that hears from it.
    pub(super) fn keep(socket: UnixStream, pidfd: OwnedFd) -> io::Result<(Self, tokio::net::UnixStream)> {
        socket.set_nonblocking(true)?;
        let heard = tokio::net::UnixStream::from_std(socket.try_clone()?)?;
        Ok((Self { socket, pidfd }, heard))
    }

    /// Asks for something. A shim that does not listen is ended, and its worker with it.
    pub(super) fn request(&self, request: Request) -> io::Result<()> {
        // The frame is small and the line is empty but for such frames, so it is written whole or not at all.
        let sent = encode(&request).and_then(|frame| (&self.socket).write_all(&frame));
        sent.or_else(|_| self.end_shim())
    }

    /// Ends the shim by force. It having ended is fine.
    pub(super) fn end_shim(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A shim that answered a new agent.
#[derive(Debug)]
pub(super) struct FoundShim {
    pub(super) running: Running,
    pub(super) relay: TcpListener,
    pub(super) socket: UnixStream,
    pub(super) pidfd: OwnedFd,
}

/// Connects to the shim of a worker that was started by an earlier driver. Blocks. One that listens and does not
/// answer is ended, and its worker with it: nobody could end that worker later.
pub(super) fn find(folder: &RunFolder) -> io::Result<FoundShim> {
    let socket = folder.connect()?;
    socket.set_read_timeout(Some(HELLO_TIMEOUT))?;
    socket.set_write_timeout(Some(HELLO_TIMEOUT))?;
    let pid = rustix::net::sockopt::socket_peercred(&socket)?.pid;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let (reply, descriptors) = greet(&socket).inspect_err(|error| {
        let is_silent = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if is_silent && let Err(error) = pidfd_send_signal(&pidfd, Signal::KILL) {
            tracing::error!(%error, "a shim that does not answer could not be ended");
        }
    })?;
    match (reply, descriptors.into_iter().next()) {
        (Reply::Running(running), Some(relay)) => {
            Ok(FoundShim { running, relay: relay.into(), socket, pidfd })
        }
        (Reply::Running(_) | Reply::Refused(_) | Reply::Ended(_), _) => {
            Err(io::Error::other("the shim does not say that its worker runs"))
        }
    }
}

fn greet(socket: &UnixStream) -> io::Result<(Reply, Vec<OwnedFd>)> {
    write_frame(socket, &Request::Hello, &[])?;
    read_frame(socket)
}

/// Reads what a shim says by itself.
pub(super) async fn hear(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Reply> {
    let mut header = [0; size_of::<u32>()];
    socket.read_exact(&mut header).await?;
    let mut body = vec![0; frame_length(header)?];
    socket.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    let pid =
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no such process"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
