//! The decisions of `scheduler` under virtual time.
//!
//! What runs here is the very code that runs in service; only time, the requests and the bytes are made up, from a seed
//! or from a trace. Nothing waits, and nothing is read or written: the same input gives the same report.

mod chance;
pub mod eviction;
