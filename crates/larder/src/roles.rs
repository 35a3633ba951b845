//! The roles that work in this very process. `up` runs two of them as children.

pub(crate) mod agent;
pub(crate) mod hub;
pub(crate) mod server;
