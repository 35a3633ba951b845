//! The link with agents.

use std::time::Duration;

/// How often an agent reports at least. Six missed ones are the bound after which the planner gives a host up.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
