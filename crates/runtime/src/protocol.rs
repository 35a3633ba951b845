//! What an agent and a shim, and a shim and the first process of its namespace, say to each other.
//!
//! One frame is a length (four bytes, little endian), then JSON; open files travel beside the length. Both ends
//! are the same binary or an older one of it, on the same host, so the format only has to stay readable from one
//! release to the next: fields are added, never changed.

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

use base::{Redacted, Timestamp};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use types::WorkerId;

use crate::{Egress, ExitReason, Mount, ProcessIds, RelaySharing};

/// The largest frame. A start with the largest environment that the system accepts (2 MiB for words and
/// environment together, execve(2)) fits, with every mount of a long model list.
pub(crate) const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Open files beside one frame; none of ours carries more than one.
const DESCRIPTORS_MAX: usize = 2;

/// Which user the worker is, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Identity {
    /// Ids 0 to 65535 of the worker are this one and those that follow it. Needs root.
    Range {
        /// What the worker's id 0 is on the host.
        first: u32,
    },
    /// The worker's id 0 is the agent's own user, and there is no other.
    Single,
}

/// How the worker is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Enclosure {
    /// In namespaces and a root of its own.
    Sandbox(Identity),
    /// Not at all.
    Plain,
}

/// What the worker may use, with every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of memory; None is the host's.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: u32,
    /// Bytes that it may write.
    pub(crate) scratch: u64,
}

/// A start as the shim gets it, in the first frame; with it comes the relay's listener when that is shared. It holds
/// secrets: it is sent over a socket and never written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) worker: WorkerId,
    /// The worker's own folder among the records of the host's workers.
    pub(crate) run_folder: PathBuf,
    pub(crate) enclosure: Enclosure,
    pub(crate) slot: u32,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, Redacted<String>)>,
    pub(crate) relay_env: Vec<(String, Redacted<String>)>,
    /// Folders whose programs come before the system's, when `env` has no `PATH`.
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    pub(crate) devices: Vec<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) egress: Egress,
}

/// What an agent asks of a running shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Tell how it stands, and hand over the relay's listener.
    Hello,
    /// End the command; after the grace, end everything.
    Stop { grace_millis: u64 },
    /// End everything now.
    Kill,
}

/// How a running worker stands. The relay's listener comes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) processes: ProcessIds,
    pub(crate) slot: u32,
    pub(crate) relay_url: String,
    pub(crate) sharing: RelaySharing,
    pub(crate) started_at: Timestamp,
    pub(crate) notes: Vec<String>,
    /// Control groups to remove when the shim can't do it itself.
    pub(crate) control_groups: Vec<PathBuf>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) status: ExitReason,
    pub(crate) at: Timestamp,
}

/// What a shim tells an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Refused(Refusal),
    Running(Running),
    Ended(Ended),
}

/// What the first process of a namespace tells its shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// The relay's listener in the worker's own network, beside the frame.
    Relay {
        url: String,
    },
    /// The command runs; what could not be had for it.
    Executed {
        notes: Vec<String>,
    },
    Refused(Refusal),
    /// The command has ended.
    Ended(CommandEnd),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CommandEnd {
    Code(i32),
    Signal(i32),
}

/// What a shim asks of the first process of its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InitRequest {
    /// Its user and its control groups are set: begin.
    Begin,
    /// Send the command SIGTERM.
    Terminate,
    /// End all descendants, without a namespace to do so.
    Sweep,
}

/// Why a shim could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// The system does not allow what keeps workers apart.
    Forbidden { stage: String, cause: Cause },
    /// A step failed.
    Failed { stage: String, cause: Cause },
    /// The program is not in the worker's PATH.
    ProgramNotFound { path: String },
    /// The program can't be executed.
    ProgramRefused { cause: Cause },
    /// The released folder is not there.
    FolderNotFound,
}

/// An error of the system on its way through a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    errno: Option<i32>,
    text: String,
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error(), text: error.to_string() }
    }
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        cause.errno.map_or_else(|| Self::other(cause.text), Self::from_raw_os_error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names the step during which the system refused.
pub(crate) trait During<T> {
    /// Turns an error into [`Refusal::Failed`]. The stage is a verb with its object: "mount /usr".
    fn during(self, stage: impl Into<String>) -> Result<T, Refusal>;

    /// Turns an error into [`Refusal::Forbidden`]. The stage is a noun: "a user namespace".
    fn forbidden(self, stage: &str) -> Result<T, Refusal>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, stage: impl Into<String>) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::Failed { stage: stage.into(), cause: error.into().into() })
    }

    fn forbidden(self, stage: &str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::Forbidden { stage: stage.to_owned(), cause: error.into().into() })
    }
}

/// Writes one frame, with open files beside it.
pub(crate) fn write_frame(
    mut socket: &UnixStream,
    frame: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = encode(frame)?;
    let (header, rest) = body.split_at(size_of::<u32>());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many open files for one frame"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(header)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&header[sent..])?;
    socket.write_all(rest)
}

/// Returns a frame as it is written: its length, then JSON.
pub(crate) fn encode(frame: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size_of::<u32>()];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - size_of::<u32>();
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame of {length} bytes is larger than {FRAME_BYTES_MAX}")));
    }
    let header = u32::try_from(length).expect("the limit is far below 4 GiB").to_le_bytes();
    bytes[..header.len()].copy_from_slice(&header);
    Ok(bytes)
}

/// Returns the length that a frame's first bytes announce.
pub(crate) fn frame_length(header: [u8; size_of::<u32>()]) -> io::Result<usize> {
    let length = u32::from_le_bytes(header) as usize;
    if length <= FRAME_BYTES_MAX {
        Ok(length)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "a frame announces more than the limit"))
    }
}

/// Reads one frame and the open files beside it. An orderly end of the stream is `UnexpectedEof`.
pub(crate) fn read_frame<T: DeserializeOwned>(mut socket: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut header = [0; size_of::<u32>()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut header)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    socket.read_exact(&mut header[received.bytes..])?;
    let mut body = vec![0; frame_length(header)?];
    socket.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, descriptors))
}

#[cfg(test)]
mod tests;
