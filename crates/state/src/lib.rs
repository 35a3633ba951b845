//! The durable state of the control plane: one small database that is written in batches and read by key.
//!
//! What is stored, because nothing else knows it: tenants, keys (as keyed hashes), secrets (sealed), endpoints with
//! their releases, manifests of resolved models, grants, pulls, folders' rows, jobs with their hand-overs, payloads,
//! outputs and chunks, workers with the marks of their starts, the ledger, hosts with the number of their last committed
//! event, the epoch and the incarnation.
//!
//! What is rebuilt, because somebody tells it again: which models are on which host and how far fetches are (agents
//! report it whole), which workers ask for jobs (they ask again), desired states (derived from workers and pulls),
//! the ready index, timers, progress of running jobs. `DESIGN.md` beside this crate gives the reasons.
//!
//! **Invariant:** nothing outside this crate knows that the engine is SQLite.

mod error;
mod mutation;
mod read;
mod rows;
mod schema;
mod seal;
mod store;
mod write;
mod writer;

pub use error::{CommitError, DatabaseError, OpenStateError};
pub use mutation::Mutation;
pub use read::Loaded;
pub use rows::{
    ChunkRow, EndpointRow, FolderRow, GrantRow, HostRow, IntervalRow, JobPayload, JobRow, JobTally, KeyRow,
    KeyScope, OutputRow, PullRow, PullStanding, ReleaseRow, Retention, SecretRow, TenantRow, WorkerRow,
};
pub use seal::KeyHash;
pub use store::{State, StateOptions};
