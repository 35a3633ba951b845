//! From rows to the picture: what a restart begins with.
//!
//! Hosts are away until their agents dial in. Workers are taken to be as they were; the first report of their host
//! says whether they still are. Claimed jobs stay claimed meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::Observed;
use base::{ByteSize, Entropy, Redacted, Timestamp};
use scheduler::{
    Alarms, CacheRoom, Cordon, Fleet, HostFacts, Job, JobState, LaunchKind, Link, Place, Policy, Priority,
    ReadyIndex, Worker, WorkerFacts,
};
use state::{DatabaseError, EndpointRow, HostRow, JobRow, Loaded, ReleaseRow, WorkerRow};
use tokio::sync::watch;
use types::{EndpointId, HostCapacity, HostId, ReleaseId};

use super::{Owner, Secret, Timer, access};
use crate::{
    OpenControlError,
    handle::Shared,
    picture::{EndpointEntry, HostEntry, JobEntry, ReleaseEntry, WorkerEntry},
    timers::Timers,
};

/// How long claimed jobs and running workers wait for their hosts after a restart of the server. Agents dial again
/// within two seconds; the rest is for a host that is busy.
pub(super) const RETURN_GRACE: Duration = Duration::from_secs(10);
/// Bits of a generation that count within an epoch: no owner changes desired states that often.
const GENERATION_BITS: u32 = 32;

impl Owner {
    /// Begins an epoch and loads everything.
    pub(crate) async fn load(shared: &Shared, entropy: Entropy) -> Result<Self, OpenControlError> {
        let epoch = shared.state.begin_epoch().await?;
        let now = shared.clock.now();
        let mut loaded = shared.state.load().await?;
        if loaded.tenants.is_empty() {
            loaded = access::begin_tenancy(shared, &entropy, epoch, now).await?;
        }
        shared.keys.replace(&loaded.keys);
        let mut owner = Self {
            options: Arc::clone(&shared.options),
            clock: shared.clock.clone(),
            entropy,
            epoch,
            incarnation: loaded.incarnation,
            policy: Policy::default(),
            state: shared.state.clone(),
            began_at: now,
            fleet: Fleet::default(),
            ready: ReadyIndex::default(),
            endpoints: BTreeMap::new(),
            names: BTreeMap::new(),
            jobs: BTreeMap::new(),
            workers: BTreeMap::new(),
            hosts: BTreeMap::new(),
            manifests: BTreeMap::new(),
            secrets: BTreeMap::new(),
            pulls: BTreeMap::new(),
            grants: BTreeMap::new(),
            folders: BTreeMap::new(),
            reports: BTreeMap::new(),
            timers: Timers::new(),
            alarms: Alarms::default(),
            next_place: 1,
            // An epoch's generations are above all of the epochs before it, so none has to be stored.
            next_generation: epoch.0 << GENERATION_BITS,
            next_question: 1,
            payload_bytes: 0,
            late_results: 0,
            models_watch: watch::Sender::new(0),
            mutations: Vec::new(),
            after: Vec::new(),
            written_jobs: BTreeSet::new(),
            written_workers: BTreeSet::new(),
            written_endpoints: BTreeSet::new(),
            written_hosts: BTreeSet::new(),
            acknowledging: BTreeSet::new(),
            demand_changed: BTreeSet::new(),
            desired_changed: BTreeSet::new(),
        };
        owner.take_up(loaded, now)?;
        Ok(owner)
    }

    fn take_up(&mut self, loaded: Loaded, now: Timestamp) -> Result<(), DatabaseError> {
        for row in loaded.secrets {
            self.secrets.insert(row.secret, Secret { tenant: row.tenant, value: row.value });
        }
        let manifests =
            loaded.manifests.into_iter().map(|manifest| (manifest.key().clone(), Arc::new(manifest)));
        self.manifests = manifests.collect();
        self.pulls =
            loaded.pulls.into_iter().map(|row| ((row.tenant.clone(), row.key.clone()), row)).collect();
        self.grants =
            loaded.grants.into_iter().map(|row| ((row.tenant.clone(), row.repo.clone()), row)).collect();
        self.folders =
            loaded.folders.into_iter().map(|row| ((row.tenant.clone(), row.digest.clone()), row)).collect();
        let mut releases: BTreeMap<EndpointId, BTreeMap<ReleaseId, Arc<ReleaseEntry>>> = BTreeMap::new();
        for row in loaded.releases {
            let env = self.env_of(&row)?;
            let (endpoint, release) = (row.endpoint.clone(), row.release.clone());
            releases.entry(endpoint).or_default().insert(release, Arc::new(ReleaseEntry::new(row, env)));
        }
        for row in loaded.hosts {
            self.take_up_host(row, now);
        }
        for row in loaded.endpoints {
            let releases = releases.remove(&row.endpoint).unwrap_or_default();
            self.take_up_endpoint(row, releases)?;
        }
        for row in loaded.workers {
            self.take_up_worker(row)?;
        }
        for endpoint in self.endpoints.keys().cloned().collect::<Vec<_>>() {
            self.prune_releases(&endpoint);
        }
        let mut jobs = loaded.jobs;
        jobs.sort_by_key(|row| row.place);
        for row in jobs {
            self.take_up_job(row)?;
        }
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.want_pulls_on(&host);
        }
        Ok(())
    }

    /// Returns the environment of a release from its secret.
    pub(super) fn env_of(
        &self,
        row: &ReleaseRow,
    ) -> Result<BTreeMap<String, Redacted<String>>, DatabaseError> {
        let Some(secret) = row.env.as_ref() else { return Ok(BTreeMap::new()) };
        let value = self
            .secrets
            .get(secret)
            .filter(|secret| secret.tenant == row.tenant)
            .ok_or_else(|| DatabaseError::Sealed { secret: secret.to_string() })?;
        serde_json::from_str(value.value.expose())
            .map_err(|source| DatabaseError::Row { table: "secrets", source })
    }

    fn take_up_host(&mut self, row: HostRow, now: Timestamp) {
        let patience = self.policy.host_lost_after.saturating_sub(RETURN_GRACE);
        let facts = HostFacts {
            capacity: row.capacity.clone(),
            launches: launches(),
            link: Link::Away { since: now - patience },
            cordon: Cordon::Open,
            hub_rate_bytes: None,
            cache: initial_room(&row.capacity),
        };
        self.fleet.put_host(&row.host, facts);
        let entry = HostEntry {
            capacity: row.capacity,
            acknowledged: row.acknowledged,
            seen_at: row.seen_at,
            link: None,
            observed: Observed::default(),
        };
        self.hosts.insert(row.host, entry);
    }

    fn take_up_endpoint(
        &mut self,
        mut row: EndpointRow,
        releases: BTreeMap<ReleaseId, Arc<ReleaseEntry>>,
    ) -> Result<(), DatabaseError> {
        if !releases.contains_key(&row.release) {
            tracing::error!(endpoint = %row.endpoint, "an endpoint has no release; it is left out");
            return Ok(());
        }
        let crashes = row.crashes.take().map(serde_json::from_value).transpose();
        let crashes = crashes.map_err(|source| DatabaseError::Row { table: "endpoints", source })?;
        let endpoint = row.endpoint.clone();
        if row.deleted_at.is_none() {
            self.names.insert((row.tenant.clone(), row.name.clone()), endpoint.clone());
        }
        self.endpoints.insert(endpoint.clone(), EndpointEntry { row, releases, in_progress: 0, crashes });
        self.put_endpoint_facts(&endpoint);
        Ok(())
    }

    fn take_up_worker(&mut self, row: WorkerRow) -> Result<(), DatabaseError> {
        let machine: Worker = serde_json::from_value(row.machine)
            .map_err(|source| DatabaseError::Row { table: "workers", source })?;
        let known = self.endpoints.get(&row.endpoint).filter(|_| self.hosts.contains_key(&row.host));
        let release =
            known.and_then(|entry| Some((entry.row.name.clone(), entry.releases.get(&row.release)?.clone())));
        let Some((endpoint_name, release)) = release else {
            // Its endpoint is gone: nothing refers to the row any more.
            self.write(state::Mutation::RemoveWorker(row.tenant, row.worker));
            return Ok(());
        };
        if machine.phase().is_over() {
            let shown_until = row.ended_at.unwrap_or(row.created_at) + super::workers::SHOWN_AFTER_END;
            self.timers.set(&Timer::ForgetWorker(row.worker.clone()), Some(shown_until));
        } else {
            let facts = WorkerFacts {
                endpoint: row.endpoint.clone(),
                tenant: row.tenant.clone(),
                release: row.release.clone(),
                need: Arc::clone(&release.need),
                host: row.host.clone(),
                gpus: row.gpus.clone(),
                created_at: row.created_at,
                worker: machine.clone(),
            };
            self.fleet.put_worker(&row.worker, facts);
        }
        let entry = WorkerEntry {
            tenant: row.tenant,
            endpoint: row.endpoint,
            endpoint_name,
            release,
            host: row.host,
            gpus: row.gpus,
            machine,
            marks: row.marks,
            phases: row.phases,
            fetched_bytes: 0,
            created_at: row.created_at,
            ended_at: row.ended_at,
            jobs: BTreeSet::new(),
            stopping: BTreeMap::new(),
            run_since: None,
        };
        self.workers.insert(row.worker, entry);
        Ok(())
    }

    fn take_up_job(&mut self, row: JobRow) -> Result<(), DatabaseError> {
        let machine: Job = serde_json::from_value(row.machine)
            .map_err(|source| DatabaseError::Row { table: "jobs", source })?;
        let (job, endpoint, place) = (row.job, row.endpoint, Place(row.place));
        let priority = if row.low_priority { Priority::Low } else { Priority::Normal };
        self.next_place = self.next_place.max(row.place + 1);
        match machine.state() {
            JobState::InQueue { .. } => {
                self.ready.enqueue(&endpoint, &job, priority, place);
                self.ready.bar(&job, machine.barred_from().cloned());
            }
            JobState::InProgress { worker, .. } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.jobs.insert(job.clone());
                }
                if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
                    endpoint.in_progress += 1;
                }
            }
            JobState::Ended { .. } => self.timers.set(&Timer::ForgetJob(job.clone()), row.forget_at),
        }
        self.timers.set(&Timer::Job(job.clone()), machine.deadline().map(|(at, _)| at));
        self.demand_changed.insert(endpoint.clone());
        let entry = JobEntry {
            tenant: row.tenant,
            endpoint,
            place,
            priority,
            machine,
            epoch: row.epoch,
            forget_at: row.forget_at,
            payload: None,
            progress: None,
            chunks: 0,
            chunks_read: 0,
            changed: watch::Sender::new(0),
        };
        self.jobs.insert(job, entry);
        Ok(())
    }

    /// Returns whether a host is connected and has told what is on it.
    pub(super) fn is_synced(&self, host: &HostId) -> bool {
        self.hosts.get(host).and_then(|entry| entry.link.as_ref()).is_some_and(|link| link.synced)
    }

    /// Returns until when hosts have the time to come back after a restart, while that is not over.
    pub(super) fn return_awaited_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.began_at + RETURN_GRACE;
        (now < until).then_some(until)
    }
}

/// What agents can start: commands, until there are drivers for images.
pub(super) fn launches() -> BTreeSet<LaunchKind> {
    BTreeSet::from([LaunchKind::Command])
}

/// Returns the room for models on a host that has not told how much it has: what its configuration allows.
pub(super) fn initial_room(capacity: &HostCapacity) -> CacheRoom {
    CacheRoom { free: capacity.cache_bytes_max, evictable: ByteSize(0) }
}
