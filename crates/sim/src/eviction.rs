//! Eviction on traces: one host, one disk, requests for models one after the other.
//!
//! Each request is a start of a worker. If all bytes of its model are here, it is a hit; else what is missing is
//! fetched, always, because a worker waits for it, and whatever the policy says leaves first. So a policy that would
//! rather not admit a model has no such choice here, and neither have the rivals and the bounds.
//!
//! Not simulated: leases (a use takes no time), several fetches at once, several hosts, rates that differ by source.

mod contest;
mod disk;
mod policy;
mod replay;
mod trace;
mod workload;

pub use contest::{Contest, ContestRow, DISK_SHARES, Goal, contest, mean_byte_hit_ratio, missed_on_the_mean};
pub use policy::{PolicyName, UnknownPolicy};
pub use replay::{Outcome, Setup, replay};
pub use trace::{Request, Trace, TraceError, TraceModel};
pub use workload::{Scale, UnknownWorkload, Workload};

#[cfg(test)]
mod tests;
