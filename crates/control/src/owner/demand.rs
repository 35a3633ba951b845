//! What waits for each endpoint, told to the planner.

use scheduler::{Demand, EndpointFacts, JobState, Lifecycle, Priority};
use types::EndpointId;

use super::Owner;

impl Owner {
    /// Tells the planner what changed in the queues.
    pub(super) fn refresh_demand(&mut self) {
        for endpoint in std::mem::take(&mut self.demand_changed) {
            let demand = self.demand_of(&endpoint);
            self.fleet.set_demand(&endpoint, demand);
        }
    }

    fn demand_of(&self, endpoint: &EndpointId) -> Demand {
        let next = self.ready.next_of(endpoint, Priority::Normal).and_then(|job| self.jobs.get(job));
        let oldest_since = next.and_then(|entry| match entry.machine.state() {
            JobState::InQueue { since } => Some(*since),
            JobState::InProgress { .. } | JobState::Ended { .. } => None,
        });
        Demand {
            queued: self.ready.waiting(endpoint, Priority::Normal),
            queued_low: self.ready.waiting(endpoint, Priority::Low),
            oldest_since,
            in_progress: self.endpoints.get(endpoint).map_or(0, |entry| entry.in_progress),
        }
    }

    /// Tells the planner of an endpoint as it is now.
    pub(super) fn put_endpoint_facts(&mut self, endpoint: &EndpointId) {
        let Some(entry) = self.endpoints.get(endpoint) else { return };
        let facts = EndpointFacts {
            tenant: entry.row.tenant.clone(),
            release: entry.row.release.clone(),
            need: std::sync::Arc::clone(&entry.release().need),
            scaling: entry.row.scaling.clone(),
            lifecycle: if entry.row.deleted_at.is_some() { Lifecycle::Deleting } else { Lifecycle::Active },
            demand: self.demand_of(endpoint),
            crashes: entry.crashes.clone(),
        };
        self.fleet.put_endpoint(endpoint, facts);
    }
}
