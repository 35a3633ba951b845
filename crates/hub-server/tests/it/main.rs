//! The hub over the wire: every route against a table, every fault, and the real Hugging Face clients.

mod access;
mod bytes;
mod drills;
mod hf;
mod metadata;
mod served;
