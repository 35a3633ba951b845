//! The management API: endpoints in the shapes of Runpod's REST v2, with what that lacks (models, commands, waits).
//!
//! Durations are milliseconds unless the field's name says seconds; moments are RFC 3339. Unknown fields are refused.

mod endpoint;
mod host;
mod model;
mod selection;
mod shelf;
mod usage;
mod worker;

pub use endpoint::{
    CreateEndpoint, EndpointList, EndpointView, GpuBody, ModelBody, ReleaseView, RequestUrls, ScalingBody,
    UpdateEndpoint, WaitView, WorkersBody,
};
pub use host::{FolderView, HostList, HostView, StoreView};
pub use model::{
    FetchView, FileView, ModelEnd, ModelEvent, ModelList, ModelPathView, ModelPlace, ModelStatus, ModelView,
    PullModel, RemovedView, VerifyView, WorkView,
};
pub use selection::{ChoiceView, ChosenView, HubOffer, LeftOutView, ModelOffer, OfferModel, VariantView};
pub use shelf::{
    ArrivalView, ArrivalWay, DepartureView, HostWhy, ImportModels, ImportSummary, ImportView, ModelPresence,
    ShareView, SnapshotEnd, SnapshotView, UsesView, WhyView, WorkerUse,
};
pub use usage::{UsagePhase, UsageRecord, UsageView};
pub use worker::{LogList, LogView, TimelineMark, WorkerList, WorkerView};
