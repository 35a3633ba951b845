//! The agent of one host: converges what runs to what should run, relays between workers and server, and spools
//! results while the server is away.

mod agent;
mod converge;
mod edge;
mod environment;
mod error;
mod folders;
mod host;
mod identity;
mod keep;
mod models;
mod options;
mod outbox;
mod questions;
mod records;
mod relay;
mod sources;
mod spool;
mod start;
mod uplink;
mod warm;

pub use agent::{Agent, AgentHandle, AgentStatus};
pub use edge::PassThrough;
pub use error::OpenAgentError;
pub use keep::ScrubPace;
pub use options::{AgentLimits, AgentOptions, Connect, Connecting, Connection, Surroundings, UnixConnect};
pub use relay::{RelayCounts, RelayLimits};
pub use sources::{MirrorToken, SideSource, SideSources};
pub use uplink::LinkStatus;
