//! What the planner knows: hosts, endpoints and workers, indexed, kept by deltas.
//!
//! Facts come in through the methods below, each of which keeps the indexes and notes what became dirty. Nothing is
//! read from anywhere and nothing is decided here.
//!
//! **Invariant:** a fleet built from another one's facts alone has the same indexes (property test).

mod apply;
mod dirty;
mod facts;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::Timestamp;
use types::{EndpointId, HostId, ModelKey, Scaling, WorkerId};

pub use apply::Applied;
pub use dirty::{Alarms, Dirty, Subject};
pub use facts::{
    CacheRoom, Cordon, Demand, Desire, EndpointFacts, HostFacts, HostModel, LaunchKind, Lifecycle, Link,
    ModelNeed, WorkerFacts, WorkerNeed,
};
pub(crate) use room::{GpuPick, Room};

use crate::{
    crash::Crashes,
    fetch::{FetchEffect, FetchEvent, FetchState},
    step::Step,
    worker::{Worker, WorkerEffect, WorkerEvent},
};

/// A host with what stands on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostEntry {
    pub(crate) facts: HostFacts,
    pub(crate) models: BTreeMap<ModelKey, HostModel>,
    pub(crate) workers: BTreeSet<WorkerId>,
    /// Room that it has without workers.
    pub(crate) whole: Room,
    /// Room that is left beside the workers that hold some.
    pub(crate) room: Room,
}

/// An endpoint with its workers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EndpointEntry {
    pub(crate) facts: EndpointFacts,
    pub(crate) workers: BTreeSet<WorkerId>,
}

/// The planner's view of everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    hosts: BTreeMap<HostId, HostEntry>,
    endpoints: BTreeMap<EndpointId, EndpointEntry>,
    workers: BTreeMap<WorkerId, WorkerFacts>,
    /// Hosts that have a model, whole or in part.
    holders: BTreeMap<ModelKey, BTreeSet<HostId>>,
    /// Endpoints that a change of any host may help: those with a held start or with fewer workers than they may want.
    hungry: BTreeSet<EndpointId>,
    dirty: Dirty,
}

impl Fleet {
    /// Returns what became dirty since the last call, for the next plan.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// Returns a dirty set that names everything: what a plan from nothing looks at.
    pub fn everything(&self) -> Dirty {
        Dirty {
            hosts: self.hosts.keys().cloned().collect(),
            endpoints: self.endpoints.keys().cloned().collect(),
        }
    }

    /// Notes that the alarm of a subject went off.
    pub fn wake(&mut self, subject: &Subject) {
        match subject {
            Subject::Host(host) => self.touch_host_alone(host),
            Subject::Endpoint(endpoint) => self.touch_endpoint(endpoint),
        }
    }

    /// Sets what is known of a host: new, or reported anew.
    pub fn put_host(&mut self, host: &HostId, facts: HostFacts) {
        match self.hosts.get_mut(host) {
            Some(entry) if entry.facts == facts => return,
            Some(entry) => entry.facts = facts,
            None => {
                let entry = HostEntry {
                    whole: Room::of(&facts.capacity),
                    room: Room::of(&facts.capacity),
                    facts,
                    models: BTreeMap::new(),
                    workers: BTreeSet::new(),
                };
                self.hosts.insert(host.clone(), entry);
            }
        }
        self.recount_room(host);
        self.touch_host(host);
    }

    /// Forgets a host. Its workers must have been removed before.
    ///
    /// # Panics
    /// When it still has workers.
    pub fn remove_host(&mut self, host: &HostId) {
        if let Some(entry) = self.hosts.remove(host) {
            assert!(entry.workers.is_empty(), "{host} is forgotten while it has workers");
            for model in entry.models.keys() {
                self.forget_holder(model, host);
            }
            self.touch_host(host);
        }
    }

    /// Notes whether a host is connected. Ignored for an unknown host, as are all changes of one.
    pub fn set_link(&mut self, host: &HostId, link: Link) {
        self.change_host(host, |facts| facts.link = link);
    }

    /// Notes whether a host takes new workers.
    pub fn set_cordon(&mut self, host: &HostId, cordon: Cordon) {
        self.change_host(host, |facts| facts.cordon = cordon);
    }

    /// Notes the rate at which a host was seen to fetch, in bytes per second.
    pub fn set_rate(&mut self, host: &HostId, hub_rate_bytes: Option<u64>) {
        self.change_host(host, |facts| facts.hub_rate_bytes = hub_rate_bytes);
    }

    /// Notes the room for models on a host's disk.
    pub fn set_cache(&mut self, host: &HostId, cache: CacheRoom) {
        self.change_host(host, |facts| facts.cache = cache);
    }

    /// Sets what is known of a model on a host.
    pub fn put_model(&mut self, host: &HostId, model: &ModelKey, held: HostModel) {
        let Some(entry) = self.hosts.get_mut(host) else {
            return;
        };
        if entry.models.get(model) == Some(&held) {
            return;
        }
        entry.models.insert(model.clone(), held);
        self.holders.entry(model.clone()).or_default().insert(host.clone());
        self.touch_host(host);
    }

    /// Forgets a model on a host: it has no byte of it and is not to have any.
    pub fn remove_model(&mut self, host: &HostId, model: &ModelKey) {
        if self.hosts.get_mut(host).is_some_and(|entry| entry.models.remove(model).is_some()) {
            self.forget_holder(model, host);
            self.touch_host(host);
        }
    }

    /// Steps the fetch of a model on a host and stores its next state.
    ///
    /// Returns none when the host does not have the model in its view.
    pub fn step_fetch(
        &mut self,
        host: &HostId,
        model: &ModelKey,
        event: &FetchEvent,
        now: Timestamp,
    ) -> Option<Step<FetchState, FetchEffect>> {
        let held = self.model(host, model)?;
        let step = held.state.step(event, now);
        if let Step::Next(state, _) = &step {
            self.put_model(host, model, HostModel { state: state.clone(), ..held.clone() });
        }
        Some(step)
    }

    /// Sets what is known of an endpoint: new, changed, or with another release.
    pub fn put_endpoint(&mut self, endpoint: &EndpointId, facts: EndpointFacts) {
        match self.endpoints.get_mut(endpoint) {
            Some(entry) if entry.facts == facts => return,
            Some(entry) => entry.facts = facts,
            None => {
                self.endpoints.insert(endpoint.clone(), EndpointEntry { facts, workers: BTreeSet::new() });
            }
        }
        self.touch_endpoint(endpoint);
    }

    /// Forgets an endpoint. Its workers must have been removed before.
    ///
    /// # Panics
    /// When it still has workers.
    pub fn remove_endpoint(&mut self, endpoint: &EndpointId) {
        if let Some(entry) = self.endpoints.remove(endpoint) {
            assert!(entry.workers.is_empty(), "{endpoint} is forgotten while it has workers");
        }
        self.hungry.remove(endpoint);
        self.dirty.endpoints.remove(endpoint);
    }

    /// Notes what waits for an endpoint. Ignored for an unknown endpoint, as are all changes of one.
    pub fn set_demand(&mut self, endpoint: &EndpointId, demand: Demand) {
        self.change_endpoint(endpoint, |facts| facts.demand = demand);
    }

    /// Notes how an endpoint scales.
    pub fn set_scaling(&mut self, endpoint: &EndpointId, scaling: &Scaling) {
        self.change_endpoint(endpoint, |facts| facts.scaling = scaling.clone());
    }

    /// Notes an endpoint's crashes in a row, or that there are none any more.
    pub fn set_crashes(&mut self, endpoint: &EndpointId, crashes: Option<Crashes>) {
        self.change_endpoint(endpoint, |facts| facts.crashes = crashes);
    }

    /// Notes that an endpoint is to go.
    pub fn set_lifecycle(&mut self, endpoint: &EndpointId, lifecycle: Lifecycle) {
        self.change_endpoint(endpoint, |facts| facts.lifecycle = lifecycle);
    }

    /// Sets what is known of a worker. Its endpoint and host must be known.
    ///
    /// # Panics
    /// When they are not: a worker never exists without them.
    pub fn put_worker(&mut self, worker: &WorkerId, facts: WorkerFacts) {
        assert!(self.endpoints.contains_key(&facts.endpoint), "{worker} belongs to an unknown endpoint");
        assert!(self.hosts.contains_key(&facts.host), "{worker} is on an unknown host");
        if self.workers.get(worker) == Some(&facts) {
            return;
        }
        self.unlink_worker(worker);
        if let Some(host) = self.hosts.get_mut(&facts.host) {
            host.workers.insert(worker.clone());
        }
        if let Some(endpoint) = self.endpoints.get_mut(&facts.endpoint) {
            endpoint.workers.insert(worker.clone());
        }
        let (host, endpoint) = (facts.host.clone(), facts.endpoint.clone());
        self.workers.insert(worker.clone(), facts);
        self.recount_room(&host);
        self.touch_host(&host);
        self.touch_endpoint(&endpoint);
    }

    /// Steps a worker and stores its next state.
    ///
    /// Returns none when there is no such worker.
    pub fn step_worker(
        &mut self,
        worker: &WorkerId,
        event: &WorkerEvent,
        now: Timestamp,
    ) -> Option<Step<Worker, WorkerEffect>> {
        let facts = self.workers.get(worker)?;
        let step = facts.worker.step(event, now);
        if let Step::Next(next, _) = &step {
            let mut facts = facts.clone();
            facts.worker = next.clone();
            if !next.holds_room() {
                facts.gpus.clear();
            }
            self.put_worker(worker, facts);
        }
        Some(step)
    }

    /// Forgets a worker.
    pub fn remove_worker(&mut self, worker: &WorkerId) {
        if let Some(facts) = self.unlink_worker(worker) {
            self.touch_host(&facts.host);
            self.touch_endpoint(&facts.endpoint);
        }
    }

    /// Returns what is known of a worker.
    pub fn worker(&self, worker: &WorkerId) -> Option<&WorkerFacts> {
        self.workers.get(worker)
    }

    /// Returns what is known of a host.
    pub fn host(&self, host: &HostId) -> Option<&HostFacts> {
        self.hosts.get(host).map(|entry| &entry.facts)
    }

    /// Returns what is known of an endpoint.
    pub fn endpoint(&self, endpoint: &EndpointId) -> Option<&EndpointFacts> {
        self.endpoints.get(endpoint).map(|entry| &entry.facts)
    }

    /// Returns what is known of a model on a host.
    pub fn model(&self, host: &HostId, model: &ModelKey) -> Option<&HostModel> {
        self.hosts.get(host)?.models.get(model)
    }

    /// Returns the hosts, in the order of their ids.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostId, &HostFacts)> {
        self.hosts.iter().map(|(host, entry)| (host, &entry.facts))
    }

    /// Returns the endpoints, in the order of their ids.
    pub fn endpoints(&self) -> impl Iterator<Item = (&EndpointId, &EndpointFacts)> {
        self.endpoints.iter().map(|(endpoint, entry)| (endpoint, &entry.facts))
    }

    /// Returns the models of a host, in the order of their keys.
    pub fn models_on(&self, host: &HostId) -> impl Iterator<Item = (&ModelKey, &HostModel)> {
        self.hosts.get(host).into_iter().flat_map(|entry| &entry.models)
    }

    /// Returns the hosts that have a model, whole or in part.
    pub fn holders_of(&self, model: &ModelKey) -> impl Iterator<Item = &HostId> {
        self.holders.get(model).into_iter().flatten()
    }

    /// Returns an endpoint's workers, in the order of their ids.
    pub fn workers_of(&self, endpoint: &EndpointId) -> impl Iterator<Item = (&WorkerId, &WorkerFacts)> {
        let workers = self.endpoints.get(endpoint).into_iter().flat_map(|entry| &entry.workers);
        workers.filter_map(|worker| self.workers.get_key_value(worker))
    }

    /// Returns the workers on a host, in the order of their ids.
    pub fn workers_on(&self, host: &HostId) -> impl Iterator<Item = (&WorkerId, &WorkerFacts)> {
        let workers = self.hosts.get(host).into_iter().flat_map(|entry| &entry.workers);
        workers.filter_map(|worker| self.workers.get_key_value(worker))
    }

    /// Returns the held starts on a host that wait for a model: those that its fetch's effects concern.
    pub fn starts_waiting_for(&self, host: &HostId, model: &ModelKey) -> impl Iterator<Item = &WorkerId> {
        let waiting = self.workers_on(host).filter(|(_, facts)| {
            facts.worker.is_held() && facts.need.models.iter().any(|need| need.key == *model)
        });
        waiting.map(|(worker, _)| worker)
    }

    /// Returns the fleet's own copy of a host's id.
    pub(crate) fn host_id(&self, host: &HostId) -> Option<&HostId> {
        self.hosts.get_key_value(host).map(|(host, _)| host)
    }

    pub(crate) fn host_entry(&self, host: &HostId) -> Option<&HostEntry> {
        self.hosts.get(host)
    }

    pub(crate) fn host_entries(&self) -> impl Iterator<Item = (&HostId, &HostEntry)> {
        self.hosts.iter()
    }

    fn change_host(&mut self, host: &HostId, change: impl FnOnce(&mut HostFacts)) {
        if let Some(facts) = self.host(host) {
            let mut facts = facts.clone();
            change(&mut facts);
            self.put_host(host, facts);
        }
    }

    fn change_endpoint(&mut self, endpoint: &EndpointId, change: impl FnOnce(&mut EndpointFacts)) {
        if let Some(facts) = self.endpoint(endpoint) {
            let mut facts = facts.clone();
            change(&mut facts);
            self.put_endpoint(endpoint, facts);
        }
    }

    fn unlink_worker(&mut self, worker: &WorkerId) -> Option<WorkerFacts> {
        let facts = self.workers.remove(worker)?;
        if let Some(host) = self.hosts.get_mut(&facts.host) {
            host.workers.remove(worker);
        }
        if let Some(endpoint) = self.endpoints.get_mut(&facts.endpoint) {
            endpoint.workers.remove(worker);
        }
        self.recount_room(&facts.host);
        self.touch_host(&facts.host);
        Some(facts)
    }

    fn forget_holder(&mut self, model: &ModelKey, host: &HostId) {
        if let Some(holders) = self.holders.get_mut(model) {
            holders.remove(host);
            if holders.is_empty() {
                self.holders.remove(model);
            }
        }
    }

    /// Counts the room of a host again. A host has few workers, so counting beats keeping a sum that can drift.
    fn recount_room(&mut self, host: &HostId) {
        let Some(entry) = self.hosts.get(host) else {
            return;
        };
        let whole = Room::of(&entry.facts.capacity);
        let mut room = whole.clone();
        for (_, facts) in self.workers_on(host) {
            if facts.worker.holds_room() {
                room.take(&facts.need, &facts.gpus);
            }
        }
        if let Some(entry) = self.hosts.get_mut(host) {
            (entry.whole, entry.room) = (whole, room);
        }
    }

    /// Notes that a host changed in a way that may help any hungry endpoint and concerns those that it serves.
    fn touch_host(&mut self, host: &HostId) {
        self.dirty.hosts.insert(host.clone());
        if let Some(entry) = self.hosts.get(host) {
            let served = entry.workers.iter().filter_map(|worker| self.workers.get(worker));
            self.dirty.endpoints.extend(served.map(|facts| facts.endpoint.clone()));
        }
        self.dirty.endpoints.extend(self.hungry.iter().cloned());
    }

    fn touch_host_alone(&mut self, host: &HostId) {
        if self.hosts.contains_key(host) {
            self.dirty.hosts.insert(host.clone());
        }
    }

    fn touch_endpoint(&mut self, endpoint: &EndpointId) {
        let Some(entry) = self.endpoints.get(endpoint) else {
            return;
        };
        let workers = || entry.workers.iter().filter_map(|worker| self.workers.get(worker));
        if entry.facts.is_hungry(workers()) {
            self.hungry.insert(endpoint.clone());
        } else {
            self.hungry.remove(endpoint);
        }
        self.dirty.endpoints.insert(endpoint.clone());
    }
}

/// Shared needs: all workers of a release have the same.
pub type SharedNeed = Arc<WorkerNeed>;

#[cfg(test)]
mod tests;
