//! Brings a model from a source into the store: many files and ranges at once, with retries, progress and resume.
//!
//! **Invariant:** nothing here knows how a hub answers (`hub` does) or where bytes lie on the disk (`store` does).
//! Bytes reach the store only by whole extents or whole small files, and become visible only when the store has
//! checked them.

mod bringers;
mod error;
mod fetch;
mod flight;
mod lanes;
mod large;
mod memory;
mod options;
mod patience;
mod progress;
mod reading;
mod seat;
mod service;
mod sink;
mod small;
mod source;
mod throttle;
mod whole;

pub use error::{
    ContentRefused, FetchAbandoned, FetchCancelled, FetchError, NoRoom, SourceFailed, TransferFull,
};
pub use lanes::FetchPriority;
pub use options::TransferOptions;
pub use progress::{FetchProgress, FetchState, FileProgress};
pub use service::{FetchHandle, FetchReport, FetchRequest, OnLastLeave, Transfer, TransferService};
pub use source::{
    FolderSource, HubSource, Source, SourceBytes, SourceError, SourceFile, SourceList, SourceUse,
};
