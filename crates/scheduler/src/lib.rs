//! Decisions: the planner, the scalers, the order of the queue, the state machines and the arithmetic of the ledger.
//!
//! Everything here is pure and synchronous: the present moment is an argument, the answer a value. No I/O, no clock,
//! no randomness, no tasks; `control` carries out what is decided here, and a simulator runs the very same functions
//! under virtual time. DESIGN.md beside this crate argues the choices.

mod crash;
pub mod eviction;
mod fetch;
mod fleet;
mod health;
mod job;
mod ledger;
mod plan;
mod policy;
mod queue;
mod scale;
mod step;
mod worker;

pub use crash::Crashes;
pub use fetch::{FetchEffect, FetchEvent, FetchState, Source};
pub use fleet::{
    Alarms, Applied, CacheRoom, Cordon, Demand, Desire, Dirty, EndpointFacts, Fleet, HostFacts, HostModel,
    LaunchKind, Lifecycle, Link, ModelNeed, SharedNeed, Subject, WorkerFacts, WorkerNeed,
};
pub use health::{WorkerHealth, worker_health};
pub use job::{
    Acceptance, AttemptEnd, AttemptRecord, Job, JobEffect, JobEvent, JobLimits, JobState, Listing, ResultKind,
};
pub use ledger::{LedgerInterval, Usage, Window, usage};
pub use plan::{
    Action, Candidate, EndpointReport, Plan, RoomWhen, Score, Start, TimeStep, Unfit, Wait, plan,
};
pub use policy::{
    ACCEPTANCE_TIMEOUT, ATTEMPT_HISTORY_MAX, ATTEMPTS_MAX, CANDIDATES_SHOWN, FETCH_BACKOFF, PING_INTERVAL,
    PINGS_MISSED_MAX, Policy,
};
pub use queue::{HandOver, Occupation, Offer, Place, Priority, ReadyIndex};
pub use scale::{Wanted, Workforce, wanted};
pub use step::Step;
pub use worker::{Ending, Exit, StopReason, Worker, WorkerEffect, WorkerEvent, WorkerState};
