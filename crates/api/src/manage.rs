//! The management API: endpoints in the shapes of Runpod's REST v2, with what that lacks (models, commands, waits).
//!
//! Durations are milliseconds unless the field's name says seconds; moments are RFC 3339. Unknown fields are refused.

mod endpoint;
mod host;
mod model;
mod usage;
mod worker;

pub use endpoint::{
    CreateEndpoint, EndpointList, EndpointView, GpuBody, ModelBody, ReleaseView, RequestUrls, ScalingBody,
    UpdateEndpoint, WaitView, WorkersBody,
};
pub use host::{FolderView, HostList, HostView};
pub use model::{FetchView, ModelList, ModelPathView, ModelStatus, ModelView, PullModel, VerifyView};
pub use usage::{UsagePhase, UsageRecord, UsageView};
pub use worker::{LogList, LogView, TimelineMark, WorkerList, WorkerView};
