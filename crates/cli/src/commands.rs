//! What each command does: ask the server, then write what it says.

pub(crate) mod choice;
pub(crate) mod completion;
pub(crate) mod endpoint;
pub(crate) mod host;
pub(crate) mod job;
pub(crate) mod model;
pub(crate) mod usage;
pub(crate) mod worker;

pub use job::wait_for_job;
