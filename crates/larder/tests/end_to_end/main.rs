//! The whole system as a user runs it: the real binary, the real SDK, real weights, loopback only.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod edge;
mod faults;
mod isolation;
mod kills;
mod main_job;
mod models;
mod restarts;
mod sdk;
mod starts;
mod system;
mod views;
