//! The six counters of workers that `/health` shows.

use serde::{Deserialize, Serialize};
use types::WorkerPhase;

/// Workers of an endpoint by what they can do for a caller. Counters overlap where Runpod's do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHealth {
    /// Warm, without a job.
    pub idle: u32,
    /// On their way: fetching, or started and not yet asking for work.
    pub initializing: u32,
    /// Warm: idle or running.
    pub ready: u32,
    /// With jobs, also while draining.
    pub running: u32,
    /// Waiting for room on their host.
    pub throttled: u32,
    /// Crashed or never ready, until the next start replaces them.
    pub unhealthy: u32,
}

/// Returns the counters of these workers.
pub fn worker_health(phases: impl IntoIterator<Item = WorkerPhase>) -> WorkerHealth {
    let mut health = WorkerHealth::default();
    for phase in phases {
        match phase {
            WorkerPhase::Initializing | WorkerPhase::Starting => health.initializing += 1,
            WorkerPhase::Throttled => health.throttled += 1,
            WorkerPhase::Running => {
                health.running += 1;
                health.ready += 1;
            }
            WorkerPhase::Idle => {
                health.idle += 1;
                health.ready += 1;
            }
            // It takes no more jobs; what it still does is work.
            WorkerPhase::Draining => health.running += 1,
            WorkerPhase::Unhealthy => health.unhealthy += 1,
            WorkerPhase::Stopped => {}
        }
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_overlap_as_runpods_do() {
        let phases = [
            WorkerPhase::Initializing,
            WorkerPhase::Starting,
            WorkerPhase::Throttled,
            WorkerPhase::Running,
            WorkerPhase::Idle,
            WorkerPhase::Draining,
            WorkerPhase::Unhealthy,
            WorkerPhase::Stopped,
        ];
        let expected =
            WorkerHealth { idle: 1, initializing: 2, ready: 2, running: 2, throttled: 1, unhealthy: 1 };
        assert_eq!(worker_health(phases), expected);
    }
}
