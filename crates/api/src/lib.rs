//! The wire: what travels between clients and the server, and between the server and agents.
//!
//! Shapes only, with the framing of the link. What they mean is decided elsewhere: domain values are `types`',
//! rows are `state`'s.

mod job;
mod link;
mod manage;
mod problem;

pub use job::{
    Acknowledged, AttemptView, ChunkView, HealthView, JobBody, JobCounters, JobView, PolicyBody, PurgeView,
    StreamView, WorkerCounters,
};
pub use link::{
    AgentMessage, Answer, Assignment, Desired, DesiredModel, DesiredWorker, DiskRoom, EndReason,
    FetchProgress, FolderPart, Hello, HostReport, HubOrigin, JobEvent, JobEventKind, JobStop, LinkError,
    LinkReader, LinkWriter, LogLine, LogStream, ModelReport, ModelState, Observed, PROTOCOL, Question,
    ServerMessage, TakeOffer, VerifyReport, ViewOrder, Welcome, WorkerIntent, WorkerReport, WorkerState,
    split,
};
pub use manage::{
    CreateEndpoint, EndpointList, EndpointView, FetchView, FolderView, GpuBody, HostList, HostView, LogList,
    LogView, ModelBody, ModelList, ModelPathView, ModelStatus, ModelView, PullModel, ReleaseView,
    RequestUrls, ScalingBody, TimelineMark, UpdateEndpoint, UsagePhase, UsageRecord, UsageView, VerifyView,
    WaitView, WorkerList, WorkerView, WorkersBody,
};
pub use problem::{FieldProblem, PROBLEM_MEDIA_TYPE, Problem};
