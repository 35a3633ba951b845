//! One worker of this host, as the agent keeps it: where it stands, since when, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use api::{EndReason, WorkerReport, WorkerState};
use base::Timestamp;
use serde::{Deserialize, Serialize};
use store::{ViewLease, ViewSpec};
use tokio_util::sync::CancellationToken;
use types::{Fault, HubAccess, ModelKey, StartMark, WorkerId};

use crate::{
    converge::WorkerStanding,
    edge::EdgeRecord,
    records::{ViewRecord, WorkerRecord},
    relay::RelayRecord,
    start::Ending,
};

/// One worker.
#[derive(Debug)]
pub(crate) struct Slot {
    stage: Stage,
    marks: BTreeMap<StartMark, Timestamp>,
    /// Models that were not here when the worker was first asked for.
    waited_for: BTreeSet<ModelKey>,
    leases: Vec<ViewLease>,
    hub_access: HubAccess,
    /// Ends the task that serves its own relay.
    relay: Option<CancellationToken>,
    asked_to_end: AskedToEnd,
}

/// Whether an end of the worker is what we wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AskedToEnd {
    /// It is.
    Yes,
    /// It would come from the worker itself.
    No,
}

#[derive(Debug)]
enum Stage {
    Held { why: String },
    Starting,
    Alive,
    Draining,
    Stopping,
    Failed(Fault),
    Ended(Ending),
}

impl Slot {
    /// Makes a worker that is not started yet.
    pub(crate) fn held(waited_for: BTreeSet<ModelKey>, hub_access: HubAccess) -> Self {
        let stage = Stage::Held { why: "is new".to_owned() };
        Self {
            stage,
            marks: BTreeMap::new(),
            waited_for,
            leases: Vec::new(),
            hub_access,
            relay: None,
            asked_to_end: AskedToEnd::No,
        }
    }

    /// Makes a worker that an earlier agent left running.
    pub(crate) fn adopted(record: &WorkerRecord, leases: Vec<ViewLease>) -> Self {
        // Also one that was asked to end: whether it heard is not known, so it is asked again.
        Self { leases, ..Self::recorded(record) }
    }

    /// Makes a worker that an earlier agent left running and that is not there any more.
    pub(crate) fn vanished(record: &WorkerRecord, now: Timestamp) -> Self {
        let reason = match record.asked_to_end {
            AskedToEnd::Yes => EndReason::Stopped,
            AskedToEnd::No => EndReason::Vanished,
        };
        let ending = Ending { reason, at: now, last_lines: Vec::new() };
        Self { stage: Stage::Ended(ending), ..Self::recorded(record) }
    }

    fn recorded(record: &WorkerRecord) -> Self {
        Self {
            stage: Stage::Alive,
            marks: record.marks.clone(),
            waited_for: BTreeSet::new(),
            leases: Vec::new(),
            hub_access: record.hub_access,
            relay: None,
            asked_to_end: record.asked_to_end,
        }
    }

    /// Returns where it stands, for decisions.
    pub(crate) fn standing(&self, live_jobs: impl FnOnce() -> usize) -> WorkerStanding {
        match &self.stage {
            Stage::Held { .. } => WorkerStanding::Held,
            Stage::Starting => WorkerStanding::Starting,
            Stage::Alive => WorkerStanding::Alive,
            Stage::Draining => WorkerStanding::Draining { live_jobs: live_jobs() },
            Stage::Stopping => WorkerStanding::Stopping,
            Stage::Failed(_) | Stage::Ended(_) => WorkerStanding::Over,
        }
    }

    /// Returns where it stands, for the server.
    pub(crate) fn report(&self, id: &WorkerId) -> WorkerReport {
        let state = match &self.stage {
            Stage::Held { why } => WorkerState::Pending(why.clone()),
            Stage::Starting => WorkerState::Pending("its process is being started".to_owned()),
            Stage::Alive | Stage::Draining | Stage::Stopping => WorkerState::Alive,
            Stage::Failed(fault) => WorkerState::Failed(fault.clone()),
            Stage::Ended(ending) => WorkerState::Ended {
                reason: ending.reason,
                at: ending.at,
                last_lines: ending.last_lines.clone(),
            },
        };
        WorkerReport {
            worker: id.clone(),
            state,
            marks: self.marks.clone(),
            last_ping_at: None,
            pinged_jobs: Vec::new(),
        }
    }

    /// Returns whether no process of it runs or is about to.
    pub(crate) fn is_over_or_held(&self) -> bool {
        match &self.stage {
            Stage::Held { .. } | Stage::Failed(_) | Stage::Ended(_) => true,
            Stage::Starting | Stage::Alive | Stage::Draining | Stage::Stopping => false,
        }
    }

    /// Returns when its process ended, if it had one that has.
    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::Ended(ending) => Some(ending.at),
            Stage::Held { .. }
            | Stage::Starting
            | Stage::Alive
            | Stage::Draining
            | Stage::Stopping
            | Stage::Failed(_) => None,
        }
    }

    /// Returns whether a process of it runs.
    pub(crate) fn is_running(&self) -> bool {
        match &self.stage {
            Stage::Alive | Stage::Draining | Stage::Stopping => true,
            Stage::Held { .. } | Stage::Starting | Stage::Failed(_) | Stage::Ended(_) => false,
        }
    }

    pub(crate) const fn asked_to_end(&self) -> AskedToEnd {
        self.asked_to_end
    }

    pub(crate) const fn hub_access(&self) -> HubAccess {
        self.hub_access
    }

    pub(crate) const fn waited_for(&self) -> &BTreeSet<ModelKey> {
        &self.waited_for
    }

    /// Returns the models that it holds.
    pub(crate) fn leased(&self) -> impl Iterator<Item = &ModelKey> {
        self.leases.iter().map(|lease| &lease.spec().key)
    }

    pub(crate) const fn marks(&self) -> &BTreeMap<StartMark, Timestamp> {
        &self.marks
    }

    pub(crate) fn hold(&mut self, why: String) {
        self.stage = Stage::Held { why };
    }

    pub(crate) fn begin_start(&mut self) {
        self.stage = Stage::Starting;
    }

    /// Takes up the end of its start. `relay` ends the task that serves a relay of its own.
    pub(crate) fn started(
        &mut self,
        leases: Vec<ViewLease>,
        marks: BTreeMap<StartMark, Timestamp>,
        relay: Option<CancellationToken>,
    ) {
        self.marks.extend(marks);
        match &self.stage {
            Stage::Held { .. } | Stage::Starting => {
                self.stage = Stage::Alive;
                self.leases = leases;
                self.relay = relay;
            }
            // It ended at once, and that was heard first.
            Stage::Failed(_) | Stage::Ended(_) | Stage::Alive | Stage::Draining | Stage::Stopping => {
                relay.inspect(CancellationToken::cancel);
            }
        }
    }

    pub(crate) fn serve(&mut self, relay: CancellationToken) {
        self.relay = Some(relay);
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        self.stage = Stage::Failed(fault);
    }

    pub(crate) fn drain(&mut self) {
        self.stage = Stage::Draining;
    }

    pub(crate) fn stop(&mut self) {
        self.stage = Stage::Stopping;
        self.asked_to_end = AskedToEnd::Yes;
    }

    pub(crate) fn withdraw(&mut self, now: Timestamp) {
        self.end(Ending { reason: EndReason::Stopped, at: now, last_lines: Vec::new() });
    }

    /// Takes up its end: what it held is let go.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.stage = Stage::Ended(ending);
        self.leases.clear();
        if let Some(relay) = self.relay.take() {
            relay.cancel();
        }
    }

    /// Returns what must survive the agent.
    pub(crate) fn record(
        &self,
        worker: &WorkerId,
        relay: RelayRecord,
        edge: Option<EdgeRecord>,
    ) -> WorkerRecord {
        WorkerRecord {
            worker: worker.clone(),
            relay,
            edge,
            views: self.leases.iter().map(|lease| ViewRecord::from(lease.spec())).collect(),
            marks: self.marks.clone(),
            hub_access: self.hub_access,
            asked_to_end: self.asked_to_end,
        }
    }
}

/// Returns the views of a record.
pub(crate) fn views(record: &WorkerRecord) -> Vec<ViewSpec> {
    record.views.iter().cloned().map(ViewSpec::from).collect()
}
