//! The public faces: the job API for Runpod's clients and the management API for ours.
//!
//! Handlers parse, call [`control::Handle`] and show what it says; they decide nothing and keep nothing. The two faces
//! differ in their errors: management answers problems, the job API the `{"error": …}` that Runpod's clients read.

mod caller;
mod events;
mod explain;
mod jobs;
mod manage;
mod router;

pub use router::router;
