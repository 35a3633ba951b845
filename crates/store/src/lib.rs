//! The model store of one host: content-addressed blobs, partial files with their journals, models, and the
//! read-only views that workers see. DESIGN.md beside this crate argues the layout, the write order and what every
//! crash leaves behind.
//!
//! Calls block; async callers run them on the blocking pool. The store opens no connection and knows hubs and tenants
//! by name only. It owns no task.

mod error;
mod flight;
mod hash;
mod index;
mod journal;
mod layout;
mod model;
mod open;
mod options;
mod partial;
mod publish;
mod store;
mod suppliers;
mod trust;
mod view;
mod writer;

pub use error::{
    BlobsMissing, ClaimError, ContentMismatch, DiskFailed, DiskFull, DiskTrouble, ExtentBusy, ExtentLength,
    ExtentOutOfRange, ExtentsMissing, FinishError, FormatUnknown, ModelInUse, ModelNotHere, OpenStoreError,
    PartialPoisoned, PublishModelError, PublishSmallError, RefsClash, RemoveModelError, StoreLocked,
    VerifyModelError, ViewError, WriteExtentError,
};
pub use flight::BlobWaiter;
pub use hash::git_blob_id;
pub use model::{FileVerdict, Removed, StoredModel, VerifiedFile, VerifyReport};
pub use options::{EXTENT_BYTES_DEFAULT, ExtentBytes, ExtentBytesRefused, StoreOptions};
pub use publish::{PublishedBlob, SmallBatch};
pub use store::{Claim, DiskUsage, Missing, Store, StoreCounters};
pub use trust::{HubStanding, Supplier, satisfies};
pub use view::{ParseViewIdError, ViewId, ViewLease, ViewSpec};
pub use writer::{BlobWriter, ExtentIndex};
