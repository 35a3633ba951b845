//! The domain: what Larder talks about, as values that cannot be wrong.
//!
//! Everything here is parsed once at an edge and trusted afterwards. No I/O, no clock, no wire shapes of other
//! systems: those are `api`'s. Rows are `state`'s.

mod endpoint;
mod fault;
mod host;
mod id;
mod job;
mod ledger;
mod manifest;
mod model;
mod path;
mod pattern;
mod selection;
mod stamp;
mod worker;

pub use endpoint::{
    CommandLine, Endpoint, EndpointName, EndpointNameError, GpuNeed, HubAccess, Launch, Release,
    ReleaseModel, Scaler, Scaling, WorkerLimits, WorkerSpec,
};
pub use fault::{ErrorCode, Fault};
pub use host::{Gpu, HostCapacity, Isolation};
pub use id::{
    EndpointId, FetchId, HostId, JobId, JobRoute, KeyId, ParseIdError, ReleaseId, SecretRef, TenantId,
    WorkerId,
};
pub use job::{JobPolicy, JobStatus, Outcome};
pub use ledger::{LedgerPhase, StartMark};
pub use manifest::{Manifest, ManifestError, ManifestFile, ModelKey, SelectionKey};
pub use model::{
    Commit, Digest, HubName, ModelRef, ModelRefError, ParseDigestError, RepoId, RepoName, Revision, Variant,
};
pub use path::{RepoPath, RepoPathError};
pub use pattern::{Matcher, Pattern, PatternError};
pub use selection::{Choice, LeftOut, SelectionWish, WeightsPolicy};
pub use stamp::{Attempt, Epoch, Stamp};
pub use worker::WorkerPhase;
