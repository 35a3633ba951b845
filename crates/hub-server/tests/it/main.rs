//! The hub over the wire: every route against a table, every fault, and the real Hugging Face clients.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod access;
mod bytes;
mod drills;
mod hf;
mod metadata;
mod served;
