//! The agent from outside: a fake server at one end, HTTP requests or the real SDK at the other.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod bench;
mod child;
mod converge;
mod drivers;
mod edge;
mod keep;
mod relay;
mod restart;
mod sdk;
mod server;
