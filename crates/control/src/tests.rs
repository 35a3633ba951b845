//! The control plane with a scripted agent at the other end of a link, under a clock that tests move.

mod choices;
mod faults;
mod harness;
mod history;
mod lives;
mod requests;
mod restarts;
mod shelf;
