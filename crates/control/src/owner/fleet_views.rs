//! Workers and hosts as clients see them, and the time of workers that goes on.

use std::collections::BTreeMap;

use api::{FetchView, HostList, HostView, Problem, StoreView, TimelineMark, WorkerList, WorkerView};
use base::Timestamp;
use scheduler::LedgerInterval;
use state::IntervalRow;
use types::{EndpointId, ErrorCode, Fault, HostId, Isolation, StartMark, TenantId, WorkerId};

use super::Owner;
use crate::picture::{HostEntry, WorkerEntry};

impl Owner {
    /// Returns the workers of one endpoint, or of all, newest first.
    pub(crate) fn worker_list(
        &self,
        tenant: &TenantId,
        endpoint: Option<&str>,
    ) -> Result<WorkerList, Problem> {
        let endpoint = endpoint.map(|text| self.endpoint_of(tenant, text)).transpose()?;
        let wanted = |entry: &WorkerEntry| {
            entry.tenant == *tenant && endpoint.as_ref().is_none_or(|endpoint| entry.endpoint == *endpoint)
        };
        let mut found: Vec<_> = self.workers.iter().filter(|(_, entry)| wanted(entry)).collect();
        found.sort_by_key(|(id, entry)| (std::cmp::Reverse(entry.created_at), *id));
        Ok(WorkerList {
            workers: found.into_iter().map(|(id, entry)| self.worker_view_of(id, entry)).collect(),
        })
    }

    /// Returns the id, and entry, of a worker that this tenant may see.
    fn worker_of(&self, tenant: &TenantId, text: &str) -> Result<(WorkerId, &WorkerEntry), Problem> {
        let id = text.parse::<WorkerId>().ok();
        let found = id.and_then(|id| self.workers.get(&id).map(|entry| (id, entry)));
        found.filter(|(_, entry)| entry.tenant == *tenant).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Fault::new(ErrorCode::WorkerNotFound, format!("no worker {shown:?} is known here"))
                .with_hint("larder worker list shows them; ended ones are shown for an hour")
                .into()
        })
    }

    /// Returns one worker.
    pub(crate) fn worker_view(&self, tenant: &TenantId, text: &str) -> Result<WorkerView, Problem> {
        let (id, entry) = self.worker_of(tenant, text)?;
        Ok(self.worker_view_of(&id, entry))
    }

    /// Returns a worker's id and host.
    pub(crate) fn place_of(&self, tenant: &TenantId, text: &str) -> Result<(WorkerId, HostId), Problem> {
        let (id, entry) = self.worker_of(tenant, text)?;
        Ok((id, entry.host.clone()))
    }

    fn worker_view_of(&self, id: &WorkerId, entry: &WorkerEntry) -> WorkerView {
        let now = self.clock.now();
        let mut phases = entry.phases.clone();
        if let Some(phase) = entry.machine.ledger_phase() {
            let millis = now.since(entry.machine.interval_from()).as_millis();
            *phases.entry(phase).or_default() += u64::try_from(millis).unwrap_or(u64::MAX);
        }
        let isolation = self.hosts.get(&entry.host).map_or(Isolation::None, |host| host.capacity.isolation);
        let fetch = entry.machine.is_held().then(|| self.fetch_for(entry)).flatten();
        WorkerView {
            id: id.clone(),
            endpoint_id: entry.endpoint.clone(),
            endpoint_name: entry.endpoint_name.clone(),
            version: entry.release.row.version,
            host_id: Some(entry.host.clone()),
            phase: entry.machine.phase(),
            isolation,
            timeline: timeline(&entry.marks),
            phases,
            jobs: entry.jobs.iter().cloned().collect(),
            fetch,
            fault: self.start_fault(id),
            created_at: entry.created_at.to_rfc3339(),
            ended_at: entry.ended_at.map(Timestamp::to_rfc3339),
        }
    }

    fn fetch_for(&self, entry: &WorkerEntry) -> Option<FetchView> {
        let models = entry.release.row.models.iter();
        models.filter_map(|model| self.fetch_view(&entry.host, &model.key)).next()
    }

    /// Returns the hosts.
    pub(crate) fn host_list(&self) -> HostList {
        HostList { hosts: self.hosts.iter().map(|(id, entry)| self.host_view_of(id, entry)).collect() }
    }

    /// Returns one host.
    pub(crate) fn host_view(&self, text: &str) -> Result<HostView, Problem> {
        let id = text.parse::<HostId>().ok();
        let found = id.and_then(|id| self.hosts.get(&id).map(|entry| self.host_view_of(&id, entry)));
        found.ok_or_else(|| self.host_unknown(text))
    }

    fn host_view_of(&self, id: &HostId, entry: &HostEntry) -> HostView {
        let store = entry.observed.host.store;
        let mut warnings = match entry.capacity.isolation {
            Isolation::None => vec!["workers run without isolation and see the whole host".to_owned()],
            Isolation::Privileged | Isolation::Unprivileged => Vec::new(),
        };
        if store.damaged_files > 0 {
            warnings.push(format!("{} files were found damaged on its disk", store.damaged_files));
        }
        HostView {
            id: id.clone(),
            connected: entry.link.is_some(),
            isolation: entry.capacity.isolation,
            cache_bytes: entry.observed.host.cache_bytes,
            disk_available: entry.observed.host.disk.available,
            store: StoreView {
                limit: if store.limit == 0 { entry.capacity.cache_bytes_max.bytes() } else { store.limit },
                floor: store.floor,
                free: store.free,
                evictable: store.evictable,
                pinned: store.pinned,
                leased: store.leased,
                unreferenced: store.unreferenced,
                partial: store.partial,
                evictions: store.evictions,
                evicted: store.evicted,
                scrubbed: store.scrubbed,
                damaged_files: store.damaged_files,
            },
            workers: u32::try_from(self.fleet.workers_on(id).count()).unwrap_or(u32::MAX),
            gpus: entry.capacity.gpus.iter().map(|gpu| format!("{} {}", gpu.kind, gpu.uuid)).collect(),
            warnings,
        }
    }

    /// Returns the time of workers that is in no written interval yet, as intervals that end now.
    pub(crate) fn open_intervals(&self, tenant: &TenantId) -> Vec<IntervalRow> {
        let now = self.clock.now();
        let open =
            self.workers.iter().filter(|(_, entry)| entry.tenant == *tenant).filter_map(|(id, entry)| {
                let phase = entry.machine.ledger_phase()?;
                let interval = LedgerInterval { phase, from: entry.machine.interval_from(), to: now };
                (interval.from < interval.to).then(|| IntervalRow {
                    tenant: tenant.clone(),
                    endpoint: entry.endpoint.clone(),
                    worker: id.clone(),
                    phase,
                    from: interval.from,
                    to: interval.to,
                    fetched_bytes: entry.fetched_bytes,
                })
            });
        open.collect()
    }

    /// Returns the names of a tenant's endpoints.
    pub(crate) fn names_of(&self, tenant: &TenantId) -> BTreeMap<EndpointId, String> {
        let mine = self.names.iter().filter(|((owner, _), _)| owner == tenant);
        mine.map(|((_, name), id)| (id.clone(), name.to_string())).collect()
    }
}

fn timeline(marks: &BTreeMap<StartMark, Timestamp>) -> Vec<TimelineMark> {
    let Some(first) = marks.values().min().copied() else { return Vec::new() };
    let mark = |(mark, at): (&StartMark, &Timestamp)| TimelineMark {
        mark: *mark,
        at: at.to_rfc3339(),
        after: i64::try_from(at.since(first).as_millis()).unwrap_or(i64::MAX),
    };
    marks.iter().map(mark).collect()
}
