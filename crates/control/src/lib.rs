//! The control plane: endpoints, queue, fleet, ledger.

mod access;
mod handle;
mod link;
mod options;

pub use access::Caller;
pub use handle::{Handle, StreamRead};
pub use options::{ControlOptions, HubConfig};
pub use state::KeyScope;
