//! The control plane: endpoints, queue, fleet, ledger.
//!
//! One task, the owner, holds the whole picture in memory. Calls, agents' frames and timers reach it as events; the
//! machines and the planner of `scheduler` decide; rows gather and are committed in groups to `state`; answers and
//! frames leave only after their commit. Agents are served on any byte stream by [`Handle::attach_agent`].
//!
//! **Invariant:** nothing here knows HTTP, and nothing here starts a process or touches a model's bytes.

mod access;
mod body;
mod error;
mod event;
mod folders;
mod handle;
mod link;
mod options;
mod owner;
mod picture;
mod resolver;
mod service;
mod timers;
mod validate;

#[cfg(test)]
mod tests;

pub use access::Caller;
pub use error::OpenControlError;
pub use handle::{Handle, HostWork, StreamRead, WorkSender};
pub use options::{ControlOptions, HubConfig};
pub use resolver::{FoundModel, HubResolver, ModelQuestion, ModelResolver};
pub use service::Control;
pub use state::{KeyScope, Retention};
