//! The link between an agent and the server: one connection, dialled by the agent, that carries everything.
//!
//! Frames are a big-endian length of four bytes and that many bytes of JSON. The server says what should be
//! ([`Desired`], whole, stamped); the agent says what is ([`Observed`], whole). Only jobs travel as events. Every
//! durable job event has a number and is repeated after a reconnect until it is acknowledged, so both ends take a
//! repeat as a repeat.

mod codec;
mod desired;
mod job;
mod observed;
mod question;

use std::collections::BTreeMap;

use base::Redacted;
use serde::{Deserialize, Serialize};
use types::{Digest, Epoch, Fault, HostCapacity, HostId, SecretRef, Stamp, WorkerId};

pub use codec::{LinkError, LinkReader, LinkWriter, split};
pub use desired::{Desired, DesiredModel, DesiredWorker, HubOrigin, ModelCopies, ViewOrder, WorkerIntent};
pub use job::{Assignment, JobEvent, JobEventKind, JobStop, TakeOffer};
pub use observed::{
    DiskRoom, EndReason, FetchProgress, FileProgress, HostReport, ModelReport, ModelState, Observed,
    StoreReport, WorkerReport, WorkerState,
};
pub use question::{
    Answer, DamagedFiles, ImportOrder, ImportReport, ImportWay, ImportedManifest, LogLine, LogStream,
    Question, VerifyReport, WorkProgress,
};

/// The version of the link's protocol. An agent of another one is told so and goes.
pub const PROTOCOL: u32 = 2;

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
pub enum AgentMessage {
    /// First, once.
    Hello(Hello),
    /// What is, whole; after every change (gathered for a few milliseconds) and every heartbeat.
    Observed(Observed),
    /// A worker asks for jobs.
    Take(TakeOffer),
    /// A worker no longer asks: its request ended. Assignments that crossed come back as events.
    TakeEnded(WorkerId),
    /// Something happened to a job.
    Job(JobEvent),
    /// The answer to a [`Question`].
    Answer {
        /// The question's number.
        id: u64,
        /// What came of it.
        answer: Result<Answer, Fault>,
    },
    /// How far the work for a [`Question`] is that takes long. Whoever waits for the answer waits on.
    Working {
        /// The question's number.
        id: u64,
        /// How far.
        progress: WorkProgress,
    },
    /// The agent needs a released folder. It comes in [`ServerMessage::Folder`] parts.
    FolderWanted(Digest),
}

/// What the server says.
#[derive(Debug, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The answer to [`AgentMessage::Hello`].
    Welcome(Welcome),
    /// The link is refused; the connection ends.
    Refused(Fault),
    /// What should be, whole.
    Desired(Box<Desired>),
    /// Values of secrets that the desired state refers to. Kept in memory only.
    Secrets(BTreeMap<SecretRef, Redacted<String>>),
    /// Jobs for a worker that asked.
    Assign(Vec<Assignment>),
    /// Jobs that a worker should stop.
    Stop(JobStop),
    /// Every durable job event up to this number is committed.
    Acknowledged(u64),
    /// Something to find out or do at once.
    Question {
        /// Its number, for the answer.
        id: u64,
        /// What is asked.
        question: Question,
    },
    /// A part of a folder that was asked for.
    Folder(FolderPart),
}

/// Who dials in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The host.
    pub host: HostId,
    /// The agent's version, for people.
    pub version: String,
    /// What the host has.
    pub capacity: HostCapacity,
    /// The newest desired state that the agent has seen.
    pub stamp: Stamp,
}

/// The server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The present owner of the queue.
    pub epoch: Epoch,
    /// How often the agent should report at least.
    pub heartbeat_millis: u64,
    /// The highest job event that is committed: the agent forgets those and repeats the others.
    pub acknowledged: u64,
}

/// A part of a released folder's archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FolderPart {
    /// Which folder.
    pub digest: Digest,
    /// Where the part begins.
    pub offset: u64,
    /// Base64 of its bytes; empty for a folder that the server does not have.
    pub bytes: String,
    /// The archive's length; zero when the server does not have it.
    pub total: u64,
}
