//! The fleet as it will be when the actions of this plan so far are done: the facts, and a thin layer above them.

use std::collections::{BTreeMap, BTreeSet};

use base::{ByteSize, Timestamp};
use types::{EndpointId, HostId, ModelKey, TenantId, WorkerId};

use super::{Action, Candidate, EndpointReport, Plan, Unfit};
use crate::{
    fetch::{FetchState, Source},
    fleet::{Desire, EndpointFacts, Fleet, HostEntry, HostModel, Room, Subject, WorkerFacts, WorkerNeed},
    policy::Policy,
};

/// Hosts of one placement: the best ones, and how many others there were for each reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    pub(super) candidates: Vec<Candidate>,
    pub(super) others: BTreeMap<Unfit, u32>,
    /// When the first of the hosts whose disk is failing may be tried again.
    pub(super) disk_retry_at: Option<Timestamp>,
}

/// What this plan changes on one host.
#[derive(Clone, Debug)]
struct HostDraft<'a> {
    room: Room,
    placed: BTreeMap<&'a ModelKey, ByteSize>,
    guests: Vec<Guest<'a>>,
}

/// A worker on a host, present or planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest<'a> {
    /// None for one that this plan makes.
    pub(super) worker: Option<&'a WorkerId>,
    pub(super) endpoint: &'a EndpointId,
    pub(super) tenant: &'a TenantId,
    pub(super) need: &'a WorkerNeed,
    /// Whether it waits and holds no room yet.
    pub(super) held: bool,
}

/// A host as this plan sees it.
pub(super) struct HostView<'d> {
    pub(super) id: &'d HostId,
    pub(super) entry: &'d HostEntry,
    draft: Option<&'d HostDraft<'d>>,
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    fleet: &'a Fleet,
    policy: &'a Policy,
    now: Timestamp,
    plan: Plan,
    hosts: BTreeMap<&'a HostId, HostDraft<'a>>,
    /// Workers that this plan ends.
    ended: BTreeSet<WorkerId>,
    /// Those of them that it ends because they took too long to become ready.
    unready: BTreeSet<WorkerId>,
    /// Held starts that this plan moves to another host.
    moved: BTreeSet<WorkerId>,
    /// Held starts that this plan lets go.
    released: BTreeSet<WorkerId>,
    surveys: BTreeMap<&'a EndpointId, Survey>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(fleet: &'a Fleet, policy: &'a Policy, now: Timestamp) -> Self {
        Self {
            fleet,
            policy,
            now,
            plan: Plan::default(),
            hosts: BTreeMap::new(),
            ended: BTreeSet::new(),
            unready: BTreeSet::new(),
            moved: BTreeSet::new(),
            released: BTreeSet::new(),
            surveys: BTreeMap::new(),
        }
    }

    pub(super) const fn fleet(&self) -> &'a Fleet {
        self.fleet
    }

    pub(super) const fn policy(&self) -> &'a Policy {
        self.policy
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn into_plan(self) -> Plan {
        self.plan
    }

    pub(super) fn act(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    pub(super) fn report(&mut self, endpoint: &EndpointId, report: EndpointReport) {
        self.plan.reports.insert(endpoint.clone(), report);
    }

    /// Asks for the subject to be planned again at this moment at the latest. A moment that has come is no alarm:
    /// what was to happen then has been decided in this plan.
    pub(super) fn alarm(&mut self, subject: Subject, at: Option<Timestamp>) {
        let at = at.filter(|at| *at > self.now);
        let alarm = self.plan.alarms.entry(subject).or_default();
        *alarm = [*alarm, at].into_iter().flatten().min();
    }

    pub(super) fn end(&mut self, worker: &WorkerId) {
        self.ended.insert(worker.clone());
    }

    pub(super) fn end_unready(&mut self, worker: &WorkerId) {
        self.end(worker);
        self.unready.insert(worker.clone());
    }

    pub(super) fn is_unready(&self, worker: &WorkerId) -> bool {
        self.unready.contains(worker)
    }

    pub(super) fn is_ended(&self, worker: &WorkerId) -> bool {
        self.ended.contains(worker)
    }

    pub(super) fn is_released(&self, worker: &WorkerId) -> bool {
        self.released.contains(worker)
    }

    pub(super) fn view(&self, host: &'a HostId) -> Option<HostView<'_>> {
        let entry = self.fleet.host_entry(host)?;
        Some(HostView { id: host, entry, draft: self.hosts.get(host) })
    }

    pub(super) fn views(&self) -> impl Iterator<Item = HostView<'_>> {
        self.fleet.host_entries().map(|(host, entry)| HostView {
            id: host,
            entry,
            draft: self.hosts.get(host),
        })
    }

    /// Returns everyone who is or will be on a host.
    pub(super) fn guests<'s>(&'s self, host: &HostView<'s>) -> impl Iterator<Item = Guest<'s>> {
        let present = self.fleet.workers_on(host.id).filter(|(worker, facts)| {
            let goes = self.ended.contains(*worker) || self.moved.contains(*worker);
            !(facts.worker.phase().is_over() || (goes && facts.worker.is_held()))
        });
        let present = present.map(|(worker, facts)| Guest {
            worker: Some(worker),
            endpoint: &facts.endpoint,
            tenant: &facts.tenant,
            need: &facts.need,
            held: facts.worker.is_held() && !self.released.contains(worker),
        });
        present.chain(host.draft.into_iter().flat_map(|draft| draft.guests.iter().copied()))
    }

    pub(super) fn survey(&mut self, endpoint: &'a EndpointId, survey: Survey) {
        self.surveys.entry(endpoint).or_insert(survey);
    }

    pub(super) fn take_survey(&mut self, endpoint: &EndpointId) -> Option<Survey> {
        self.surveys.remove(endpoint)
    }

    /// Asks for the models of a worker on a host, unless they are asked for already.
    pub(super) fn place_models(&mut self, endpoint: &'a EndpointId, host: &'a HostId, need: &'a WorkerNeed) {
        for model in &need.models {
            let Some(view) = self.view(host) else {
                return;
            };
            if view.desire(&model.key) != Desire::None {
                continue;
            }
            let missing = view.model(&model.key).map_or(model.total, |here| here.state.missing(model.total));
            self.act(Action::PlaceModel {
                host: host.clone(),
                model: model.key.clone(),
                total: model.total,
                missing,
                source: Source::Hub,
                endpoint: endpoint.clone(),
            });
            if let Some(draft) = self.draft_of(host) {
                draft.placed.insert(&model.key, missing);
            }
        }
    }

    /// Notes that a held start takes its room.
    pub(super) fn release(&mut self, worker: &WorkerId, facts: &'a WorkerFacts, gpus: &[String]) {
        self.released.insert(worker.clone());
        if let Some(draft) = self.draft_of(&facts.host) {
            draft.room.take(&facts.need, gpus);
        }
    }

    /// Notes that a held start goes to another host, and takes room there when it will be let go in the next plan.
    pub(super) fn receive(
        &mut self,
        worker: &'a WorkerId,
        facts: &'a WorkerFacts,
        to: &'a HostId,
        gpus: Option<&[String]>,
    ) {
        self.moved.insert(worker.clone());
        let guest = Guest {
            worker: Some(worker),
            endpoint: &facts.endpoint,
            tenant: &facts.tenant,
            need: &facts.need,
            held: gpus.is_none(),
        };
        self.add_guest(to, guest, gpus);
    }

    /// Notes a worker that this plan makes, with the GPUs that it takes unless it is held.
    pub(super) fn make(
        &mut self,
        endpoint: &'a EndpointId,
        facts: &'a EndpointFacts,
        host: &'a HostId,
        gpus: Option<&[String]>,
    ) {
        let guest =
            Guest { worker: None, endpoint, tenant: &facts.tenant, need: &facts.need, held: gpus.is_none() };
        self.add_guest(host, guest, gpus);
    }

    fn add_guest(&mut self, host: &'a HostId, guest: Guest<'a>, gpus: Option<&[String]>) {
        if let Some(draft) = self.draft_of(host) {
            if let Some(gpus) = gpus {
                draft.room.take(guest.need, gpus);
            }
            draft.guests.push(guest);
        }
    }

    fn draft_of(&mut self, host: &'a HostId) -> Option<&mut HostDraft<'a>> {
        let entry = self.fleet.host_entry(host)?;
        Some(self.hosts.entry(host).or_insert_with(|| HostDraft {
            room: entry.room.clone(),
            placed: BTreeMap::new(),
            guests: Vec::new(),
        }))
    }
}

impl<'d> HostView<'d> {
    pub(super) fn room(&self) -> &'d Room {
        self.draft.map_or(&self.entry.room, |draft| &draft.room)
    }

    pub(super) fn model(&self, model: &ModelKey) -> Option<&'d HostModel> {
        self.entry.models.get(model)
    }

    /// Returns whether a model is, or will be by this plan, asked for here.
    pub(super) fn desire(&self, model: &ModelKey) -> Desire {
        if self.draft.is_some_and(|draft| draft.placed.contains_key(model)) {
            Desire::ForWorkers
        } else {
            self.model(model).map_or(Desire::None, |here| here.desire)
        }
    }

    /// Returns the bytes that each model asked for here still misses. A failed fetch is not on its way.
    pub(super) fn desired_missing(&self) -> impl Iterator<Item = (&'d ModelKey, ByteSize)> {
        let asked = self.entry.models.iter().filter(|(_, here)| {
            here.desire != Desire::None
                && matches!(here.state, FetchState::Wanted { .. } | FetchState::Fetching { .. })
        });
        let asked = asked.map(|(key, here)| (key, here.state.missing(here.total)));
        let placed = self.draft.into_iter().flat_map(|draft| &draft.placed);
        asked.chain(placed.map(|(key, missing)| (*key, *missing)))
    }

    /// Returns whether every model of a need is here, verified.
    pub(super) fn holds(&self, need: &WorkerNeed) -> bool {
        need.models.iter().all(|model| self.model(&model.key).is_some_and(|here| here.state.is_ready()))
    }
}
