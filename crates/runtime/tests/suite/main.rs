//! The drivers under test: one conformance suite for all, and what only real processes can show.

mod conformance;
mod hostile;
mod processes;
mod support;
mod surroundings;
mod unprivileged;
