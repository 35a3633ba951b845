//! The drivers under test: one conformance suite for all, and what only real processes can show.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod conformance;
mod hostile;
mod processes;
mod support;
mod surroundings;
mod unprivileged;
