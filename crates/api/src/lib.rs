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
    FetchProgress, FileProgress, FolderPart, Hello, HostReport, HubOrigin, JobEvent, JobEventKind, JobStop,
    LinkError, LinkReader, LinkWriter, LogLine, LogStream, ModelCopies, ModelReport, ModelState, Observed,
    PROTOCOL, Question, ServerMessage, StoreReport, TakeOffer, VerifyReport, ViewOrder, Welcome,
    WorkProgress, WorkerIntent, WorkerReport, WorkerState, split,
};
pub use link::{DamagedFiles, ImportOrder, ImportReport, ImportWay, ImportedManifest};
pub use manage::{
    ArrivalView, ArrivalWay, DepartureView, HostWhy, ImportModels, ImportSummary, ImportView, ModelPresence,
    ShareView, SnapshotEnd, SnapshotView, StoreView, UsesView, WhyView, WorkerUse,
};
pub use manage::{
    ChoiceView, ChosenView, CreateEndpoint, EndpointList, EndpointView, FetchView, FileView, FolderView,
    GpuBody, HostList, HostView, HubOffer, LeftOutView, LogList, LogView, ModelBody, ModelEnd, ModelEvent,
    ModelList, ModelOffer, ModelPathView, ModelPlace, ModelStatus, ModelView, OfferModel, PullModel,
    ReleaseView, RemovedView, RequestUrls, ScalingBody, TimelineMark, UpdateEndpoint, UsagePhase,
    UsageRecord, UsageView, VariantView, VerifyView, WaitView, WorkView, WorkerList, WorkerView, WorkersBody,
};
pub use problem::{FieldProblem, PROBLEM_MEDIA_TYPE, Problem};
