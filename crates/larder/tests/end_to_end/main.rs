//! The whole system as a user runs it: the real binary, the real SDK, real weights, loopback only.

mod faults;
mod main_job;
mod restarts;
mod sdk;
mod system;
mod views;
