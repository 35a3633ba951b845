//! The model store of one host: content-addressed blobs, partial files with their journals, models, and the
//! read-only views that workers see. DESIGN.md beside this crate argues the layout, the write order and what every
//! crash leaves behind.
//!
//! Calls block; async callers run them on the blocking pool. The store opens no connection and knows hubs and tenants
//! by name only. It owns no task.

mod error;
mod flight;
mod hash;
mod history;
mod import;
mod index;
mod journal;
mod keep;
mod layout;
mod lines;
mod linked;
mod model;
mod notes;
mod open;
mod options;
mod partial;
mod publish;
mod quarantine;
mod room;
mod scrub;
mod shelf;
mod store;
mod strays;
mod suppliers;
mod trust;
mod view;
mod warm;
mod writer;

pub use error::{
    BlobsMissing, CacheTooSmall, ClaimError, ContentMismatch, DiskFailed, DiskFull, DiskTooSmall,
    DiskTrouble, ExtentBusy, ExtentLength, ExtentOutOfRange, ExtentsMissing, FinishError, FormatUnknown,
    KeepModelError, ModelInUse, ModelNotHere, ModelPinned, OpenStoreError, PartialPoisoned,
    PublishModelError, PublishSmallError, RefsClash, RemoveModelError, StoreLocked, VerifyModelError,
    ViewError, WriteExtentError,
};
pub use flight::BlobWaiter;
pub use hash::git_blob_id;
pub use history::{Departure, DepartureCause, EvictionReason};
pub use import::{
    CacheUnreadable, FileFlaw, FileProblem, ImportBytes, ImportEnd, ImportError, ImportMode, ImportObserver,
    ImportProgress, ImportReport, ImportRequest, ImportedSnapshot, InsideStore, LeftOut, LinkAcross, NoCache,
    Skipped, SnapshotOutcome,
};
pub use model::{FileVerdict, Removed, StoredModel, VerifiedFile, VerifyReport};
pub use notes::{Arrival, Pin, PinnedBy, Provenance, SourceShare, Use};
pub use options::{EXTENT_BYTES_DEFAULT, ExtentBytes, ExtentBytesRefused, StoreOptions};
pub use publish::{PublishedBlob, SmallBatch};
pub use quarantine::Quarantined;
pub use room::{Admission, NeverFits, Reservation, RoomLimits, Shortfall};
pub use scrub::{SCRUB_RATE_BYTES, ScrubPeriods, ScrubStep, ScrubTarget, Scrubbing};
pub use shelf::{BlobFacts, Condition, ModelFacts, Shelf, Why};
pub use store::{Claim, DiskUsage, Missing, Store, StoreCounters};
pub use strays::{STRAY_AGE_MAX, Swept};
pub use trust::{HubStanding, Supplier, satisfies};
pub use view::{ParseViewIdError, ViewId, ViewLease, ViewSpec};
pub use warm::{WarmEnd, Warmed};
pub use writer::{BlobWriter, ExtentIndex, ExtentWriter, ReorderBudget};
