//! The link between an agent and the server: one connection, dialled by the agent, that carries everything.
//!
//! Frames are a big-endian length of four bytes and that many bytes of JSON. The server says what should be
//! ([`Desired`], whole, stamped); the agent says what is ([`Observed`], whole). Only jobs travel as events. Every
//! durable job event has a number and is repeated after a reconnect until it is acknowledged, so both ends take a
//! repeat as a repeat.

mod codec;

use std::{collections::BTreeMap, collections::BTreeSet, path::PathBuf};

use base::{Redacted, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::{
    Attempt, Digest, EndpointId, EndpointName, Epoch, Fault, HostCapacity, HostId, HubAccess, HubName, JobId,
    Launch, Manifest, ModelKey, ModelRef, Outcome, ReleaseId, Revision, SecretRef, Stamp, StartMark,
    TenantId, WorkerId, WorkerLimits,
};
use url::Url;

pub use codec::{LinkError, LinkReader, LinkWriter, split};

/// The version of the link's protocol. An agent of another one is told so and goes.
pub const PROTOCOL: u32 = 1;

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

/// What should be on a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Desired {
    /// Orders desired states; an agent refuses an older one.
    pub stamp: Stamp,
    /// Models that should be there.
    pub models: Vec<DesiredModel>,
    /// Workers that should be there. One that is not listed should not run.
    pub workers: Vec<DesiredWorker>,
}

/// A model that should be on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DesiredModel {
    /// Its files.
    pub manifest: Manifest,
    /// Where the hub answers.
    pub hub_endpoint: Url,
    /// Whether the operator trusts the hub to say what bytes a name has (the store's trust rule).
    pub hub_trusted: bool,
    /// For whom it is fetched.
    pub tenant: TenantId,
    /// The token to fetch it with.
    pub token: Option<SecretRef>,
}

/// A worker that should be on a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DesiredWorker {
    /// Its identity.
    pub worker: WorkerId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its endpoint's name.
    pub endpoint_name: EndpointName,
    /// Its release.
    pub release: ReleaseId,
    /// What should be done with it.
    pub intent: WorkerIntent,
    /// What it runs.
    pub launch: Launch,
    /// The secret whose value is a JSON object: the environment that the owner set.
    pub env: Option<SecretRef>,
    /// Its models, in the owner's order.
    pub views: Vec<ViewOrder>,
    /// Whether libraries may ask the hub.
    pub hub_access: HubAccess,
    /// The hub that its libraries reach through the agent, where they do.
    #[serde(default)]
    pub hub: Option<HubOrigin>,
    /// GPUs that it is assigned, by UUID.
    pub gpus: Vec<String>,
    /// What it may use.
    pub limits: WorkerLimits,
}

/// A hub, and where it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubOrigin {
    /// Its name in model references.
    pub name: HubName,
    /// Where it answers.
    pub endpoint: Url,
}

/// What should be done with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerIntent {
    /// Keep its models and wait: it is not started yet.
    Hold,
    /// Run it.
    Run,
    /// Give it no more jobs, let it finish, end it.
    Drain,
    /// End it now, with the grace of a signal.
    Stop,
}

/// A model in a worker's view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewOrder {
    /// As the owner wrote it: the spelling and the revision become names in the view.
    pub reference: ModelRef,
    /// Which model.
    pub key: ModelKey,
    /// Names that point at the commit, besides `main`.
    pub refs: BTreeSet<Revision>,
}

/// What is on a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observed {
    /// The newest desired state that was taken up.
    pub stamp: Stamp,
    /// The host.
    pub host: HostReport,
    /// Models that are desired or held.
    pub models: Vec<ModelReport>,
    /// Workers that are desired or still there.
    pub workers: Vec<WorkerReport>,
}

/// How a host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Room on the store's disk.
    pub disk: DiskRoom,
    /// Bytes that published blobs take.
    pub cache_bytes: u64,
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRoom {
    /// In all.
    pub total: u64,
    /// Free for us.
    pub available: u64,
}

/// Where a model stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The model.
    pub key: ModelKey,
    /// Where it stands.
    pub state: ModelState,
    /// Bytes of it that are verified here.
    pub bytes_here: u64,
}

/// Where a model stands on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// The fetch has not begun, and why.
    Pending(String),
    /// On its way.
    Fetching(FetchProgress),
    /// Complete, verified, published.
    Ready {
        /// Since when.
        since: Timestamp,
        /// When its fetch began, if this agent fetched it.
        fetch_started_at: Option<Timestamp>,
        /// Bytes that came over the network for it.
        bytes_fetched: u64,
        /// Milliseconds that the fetch took.
        fetch_millis: u64,
    },
    /// The last try failed; the agent tries again by itself.
    Failed {
        /// Why.
        fault: Fault,
        /// How often in a row.
        failures: u32,
        /// When it is tried again.
        retry_at: Timestamp,
    },
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchProgress {
    /// When it began.
    pub started_at: Timestamp,
    /// Files in all.
    pub files_total: u64,
    /// Files verified and published.
    pub files_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes here.
    pub bytes_done: u64,
    /// Bytes a second of late.
    pub bytes_per_second: u64,
    /// Milliseconds left at that rate, when known.
    pub eta_millis: Option<u64>,
}

/// Where a worker stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub worker: WorkerId,
    /// Where it stands.
    pub state: WorkerState,
    /// Marks of its start that happened on the host.
    pub marks: BTreeMap<StartMark, Timestamp>,
    /// When it last pinged.
    pub last_ping_at: Option<Timestamp>,
    /// Jobs in its last ping.
    pub pinged_jobs: Vec<JobId>,
}

/// Where a worker stands on its host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Not started, and why.
    Pending(String),
    /// Its process runs.
    Alive,
    /// It could not be started.
    Failed(Fault),
    /// It ended.
    Ended {
        /// How.
        reason: EndReason,
        /// When its last process was gone.
        at: Timestamp,
        /// Its last log lines, for people who ask why.
        last_lines: Vec<String>,
    },
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// We asked it to.
    Stopped,
    /// It exited by itself with this code.
    Exited(i32),
    /// A signal that we did not send ended it.
    Signalled(i32),
    /// It used more memory than allowed.
    OutOfMemory,
    /// It was gone when the agent came back.
    Vanished,
}

/// A worker asks for jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOffer {
    /// The worker.
    pub worker: WorkerId,
    /// How many it takes at most.
    pub slots: u32,
}

/// A job for a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The worker.
    pub worker: WorkerId,
    /// The job.
    pub job: JobId,
    /// Which hand-over this is.
    pub attempt: Attempt,
    /// Whose term it was made in.
    pub epoch: Epoch,
    /// The JSON object for the worker: `id`, `input` and what else it gets.
    pub body: Box<RawValue>,
}

/// Jobs that a worker should stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStop {
    /// The worker.
    pub worker: WorkerId,
    /// The jobs.
    pub jobs: Vec<JobId>,
}

/// Something happened to a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobEvent {
    /// Its number on this host, growing; zero for events that need no acknowledgement.
    pub number: u64,
    /// The worker.
    pub worker: WorkerId,
    /// The job.
    pub job: JobId,
    /// The hand-over that it belongs to; `None` when the agent knows no such assignment.
    pub attempt: Option<Attempt>,
    /// When it happened.
    pub at: Timestamp,
    /// What.
    pub kind: JobEventKind,
}

/// What happened to a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum JobEventKind {
    /// The worker showed that it has the job.
    Accepted,
    /// The worker's request was gone before the job could be given: it never had it.
    Returned,
    /// The job was given, and the worker did not show it within the time for that.
    NotAccepted,
    /// The job is no longer in the worker's pings and no result came.
    Vanished,
    /// A progress update.
    Progress(Box<RawValue>),
    /// A chunk of a stream. Durable with the result.
    Chunk {
        /// Its number, from 0.
        index: u32,
        /// The chunk.
        output: Box<RawValue>,
    },
    /// The final result. Durable.
    Done {
        /// How the worker says it ended.
        outcome: Outcome,
        /// Whether the worker asks to be replaced after this job.
        stop_worker: bool,
        /// Whether the output came as a stream.
        streamed: bool,
    },
}

/// Something to find out or do at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// Reads every byte of a model again.
    VerifyModel(ModelKey),
    /// Removes a model that nothing uses.
    RemoveModel(ModelKey),
    /// Where a model stands on the host.
    ModelPath(ModelKey),
    /// The last lines of a worker.
    Logs {
        /// The worker.
        worker: WorkerId,
        /// How many at most.
        tail: u32,
    },
    /// Whether workers can be given the Python environment in this folder of the host.
    InspectPython(PathBuf),
}

/// What came of a [`Question`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The model was read.
    Verified(VerifyReport),
    /// The model was removed; this many bytes are free again.
    Removed(u64),
    /// Where the model stands.
    Path(PathBuf),
    /// The lines, oldest first.
    Logs(Vec<LogLine>),
    /// Workers can be given the Python environment.
    PythonUsable,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Paths whose bytes are wrong or missing.
    pub damaged: Vec<String>,
}

/// Where a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The worker's standard output.
    Stdout,
    /// The worker's standard error.
    Stderr,
    /// Larder, about the worker.
    System,
}

/// One line of a worker's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// From where.
    pub stream: LogStream,
    /// The text, cut at the driver's limit.
    pub text: String,
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
