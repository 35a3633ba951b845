//! The agent as a component: opened from its folder, run until cancelled, reached through its handle.
//!
//! ```text
//!            ┌ uplink ──────── the link with the server
//!  Agent ────┼ host ────────── what should be, what is; fetches, starts, ends
//!            ├ relay sweep ─── jobs that nobody took on
//!            ├ spool ───────── the files of results
//!            ├ journal ─────── the records of workers
//!            ├ keeper ──────── room for models, eviction, notes
//!            ├ scrub ───────── bytes at rest, verified slowly
//!            └ transfer ────── the bytes of models
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use api::{JobEventKind, Observed};
use base::TaskScope;
use runtime::{Adopted, Driver};
use store::{RoomLimits, Store, StoreOptions, ViewSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use transfer::{Transfer, TransferOptions, TransferService};
use types::{HostId, JobId, WorkerId};

use crate::{
    OpenAgentError,
    edge::Edge,
    host::{Command, Ears, Host, HostParts, Slot, disk_total, disk_use, views},
    identity::Identity,
    keep::{Keeper, Learnt, scrub},
    models::Models,
    options::{AgentOptions, Surroundings},
    outbox::{Outbox, parse_event},
    questions::Oracle,
    records::{Records, WorkerRecord},
    relay::{Relay, RelayCounts},
    spool::{Opened, Place, Spool},
    start::{Starter, lease},
    uplink::{LinkStatus, Uplink},
    warm::Warmer,
};

/// Messages of the server that wait for the host, which takes each up within milliseconds.
const INBOUND_MAX: usize = 256;
/// What this host has learnt of how models are used; see [`crate::keep`].
const EXPERIENCE_FILE: &str = "experience.json";
/// Commands that wait. Each is somebody who stops the agent.
const COMMANDS_MAX: usize = 8;

/// The agent of this host.
#[derive(Debug)]
pub struct Agent {
    parts: HostParts,
    ears: Ears,
    uplink: Uplink,
    spool: Spool,
    transfer: TransferService,
    journal: watch::Receiver<Vec<WorkerRecord>>,
    records: Records,
}

/// Reaches a running agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    host: HostId,
    status: watch::Receiver<LinkStatus>,
    observed: watch::Receiver<Arc<Observed>>,
    relay: Relay,
    outbox: Arc<Outbox>,
    commands: mpsc::Sender<Command>,
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentStatus {
    /// Whether it reaches the server.
    pub link: LinkStatus,
    /// Durable job events that the server has not committed yet.
    pub unacknowledged: usize,
    /// What the relay counted.
    pub relay: RelayCounts,
    /// Workers whose process runs.
    pub workers_alive: usize,
}

/// What the spool knows of an agent before this one.
#[derive(Debug, Default)]
struct Recovered {
    events: Vec<(u64, Place)>,
    /// The numbers of the next chunks.
    chunks: BTreeMap<(WorkerId, JobId), u32>,
}

impl Agent {
    /// Opens the agent's folder, its store and spool, and takes up the workers that an earlier agent left running.
    ///
    /// # Errors
    /// [`OpenAgentError`] by condition.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the folder as a killed agent would: it can be opened again.
    pub async fn open(
        options: AgentOptions,
        surroundings: Surroundings,
    ) -> Result<(Self, AgentHandle), OpenAgentError> {
        let Kept { identity, store, spool, recovered, records } =
            open_folder(&options, &surroundings).await?;
        let Surroundings { clock, entropy, disk, driver } = surroundings;
        let Opened { spool, handle: spool_handle, first_number } = spool;
        let outbox =
            Arc::new(Outbox::new(spool_handle, clock.clone(), first_number, recovered.events.clone()));
        let relay = Relay::new(options.limits.relay, clock.clone(), entropy.clone(), outbox.clone());
        let transfer_options =
            TransferOptions { rate_max: options.limits.fetch_rate_max, ..TransferOptions::default() };
        let (transfer, transfer_service) =
            Transfer::new(transfer_options, store.clone(), clock.clone(), entropy.clone());
        let starter = Starter {
            store: store.clone(),
            driver: driver.clone(),
            relay: relay.clone(),
            edge: Edge::new(
                store.clone(),
                Arc::clone(&disk),
                clock.clone(),
                options.egress,
                options.pass_through,
            ),
            records: records.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            egress: options.egress,
            isolation: options.capacity.isolation,
            hostname: identity.host.to_string(),
            warmer: Warmer::new(store.clone()),
        };
        let driver_events = driver.take_events().expect("an agent is the only one that its driver talks to");
        let (workers, listeners) = adopt(&starter, &recovered, options.data_dir.clone()).await?;
        let (inbound_sender, inbound) = mpsc::channel(INBOUND_MAX);
        let (commands_sender, commands) = mpsc::channel(COMMANDS_MAX);
        let observed = watch::Sender::new(Arc::new(Observed::default()));
        let status = watch::Sender::new(LinkStatus::Starting);
        let (journal_sender, journal) = watch::channel(Vec::new());
        let handle = AgentHandle {
            host: identity.host.clone(),
            status: status.subscribe(),
            observed: observed.subscribe(),
            relay: relay.clone(),
            outbox: outbox.clone(),
            commands: commands_sender,
        };
        let uplink = Uplink {
            host: identity.host.clone(),
            capacity: options.capacity.clone(),
            connect: options.connect,
            clock,
            entropy,
            outbox: outbox.clone(),
            relay,
            inbound: inbound_sender,
            observed: observed.subscribe(),
            status,
        };
        let disk_total = disk_total(store.clone()).await;
        let limits = RoomLimits {
            cache_bytes_max: options.capacity.cache_bytes_max,
            disk_free_min: options
                .limits
                .disk_free_min
                .unwrap_or_else(|| RoomLimits::default_disk_free_min(disk_total)),
        };
        let learnt = Learnt::read(disk.clone(), options.data_dir.join(EXPERIENCE_FILE));
        let keeper = Keeper::new(store.clone(), starter.clock.clone(), limits, options.limits.scrub, learnt);
        let usage = disk_use(store.clone(), keeper.clone(), None).await;
        let parts = HostParts {
            usage,
            models: Models::new(store.clone(), transfer, keeper.clone(), options.sources),
            oracle: Oracle::new(store, keeper.clone(), driver),
            keeper,
            starter,
            outbox,
            disk,
            identity,
            data_dir: options.data_dir,
            capacity: options.capacity,
            limits: options.limits,
            workers,
            listeners,
            observed,
            journal: journal_sender,
        };
        let ears = Ears { inbound, driver: driver_events, commands };
        let agent = Self { parts, ears, uplink, spool, transfer: transfer_service, journal, records };
        Ok((agent, handle))
    }

    /// Runs until cancelled. Workers go on; an agent that is opened on the same folder takes them up. To end them
    /// first, use [`AgentHandle::stop_workers`].
    pub async fn run(self, token: CancellationToken) {
        let Self { parts, ears, uplink, spool, transfer, journal, records } = self;
        // Not a child of `token`: the spool outlives whoever writes to it.
        let mut storing = TaskScope::new(&CancellationToken::new());
        storing.spawn("spool", spool.run(storing.token()));
        let mut tasks = TaskScope::new(&token);
        let relay = parts.starter.relay.clone();
        tasks.spawn("relay sweep", relay.sweep(tasks.token()));
        tasks.spawn("keeper", parts.keeper.clone().run(tasks.token()));
        tasks.spawn("scrub", scrub(parts.keeper.clone(), tasks.token()));
        tasks.spawn("transfer", transfer.run(tasks.token()));
        tasks.spawn("journal", keep_journal(journal, records, tasks.token()));
        // The host first: what it publishes before it runs is what the server hears first.
        let host = Host::new(parts, &tasks.token());
        tasks.spawn("host", host.run(ears, tasks.token()));
        tasks.spawn("uplink", uplink.run(tasks.token()));
        while !token.is_cancelled() {
            tokio::select! {
                // Cancel-safe: a token stays cancelled, and joining loses no task.
                () = token.cancelled() => {}
                ended = tasks.join_next() => match ended {
                    Some(Ok(name)) => tracing::debug!(name, "a task of the agent ended"),
                    Some(Err(error)) => {
                        tracing::error!(%error, "the agent ends after a mistake of its own");
                        break;
                    }
                    None => break,
                },
            }
        }
        if let Err(error) = tasks.shutdown().await {
            tracing::error!(%error, "a task of the agent ended in a panic");
        }
        // Last, so that results which the relay was taking are stored.
        if let Err(error) = storing.shutdown().await {
            tracing::error!(%error, "the spool ended in a panic");
        }
    }
}

impl AgentHandle {
    /// Returns the host, as the server knows it.
    pub const fn host(&self) -> &HostId {
        &self.host
    }

    /// Returns how the agent is.
    pub fn status(&self) -> AgentStatus {
        let observed = self.observed.borrow();
        let alive = observed.workers.iter().filter(|worker| matches!(worker.state, api::WorkerState::Alive));
        AgentStatus {
            link: self.status.borrow().clone(),
            unacknowledged: self.outbox.held(),
            relay: self.relay.counts(),
            workers_alive: alive.count(),
        }
    }

    /// Follows whether the agent reaches the server.
    pub fn link(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Follows what the agent reports, without what only the relay knows.
    pub fn observed(&self) -> watch::Receiver<Arc<Observed>> {
        self.observed.clone()
    }

    /// Ends all workers and starts no more; returns when the last process is gone or the agent is.
    ///
    /// # Cancel safety
    /// Dropping the future does not call the end of the workers off.
    pub async fn stop_workers(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::StopWorkers(answer)).await.is_ok() {
            // An agent that is gone has no workers to wait for.
            let _ = answered.await;
        }
    }
}

impl Recovered {
    fn take(&mut self, found: &crate::spool::Found) {
        let event = match parse_event(&found.payload) {
            Ok(event) => event,
            Err(error) => {
                return tracing::error!(number = found.number, %error, "a stored job event is not understood");
            }
        };
        self.events.push((found.number, found.place));
        match event.kind {
            JobEventKind::Chunk { index, .. } => {
                let next = self.chunks.entry((event.worker, event.job)).or_default();
                *next = (*next).max(index.saturating_add(1));
            }
            JobEventKind::Accepted
            | JobEventKind::Returned
            | JobEventKind::NotAccepted
            | JobEventKind::Vanished
            | JobEventKind::Progress(_)
            | JobEventKind::Done { .. } => {}
        }
    }

    fn chunks_of(&self, worker: &WorkerId) -> BTreeMap<JobId, u32> {
        let own = self.chunks.iter().filter(|((id, _), _)| id == worker);
        own.map(|((_, job), next)| (job.clone(), *next)).collect()
    }
}

/// What stands in the agent's folder.
struct Kept {
    identity: Identity,
    store: Store,
    spool: Opened,
    recovered: Recovered,
    records: Records,
}

async fn open_folder(options: &AgentOptions, surroundings: &Surroundings) -> Result<Kept, OpenAgentError> {
    let Surroundings { clock, entropy, disk, driver: _ } = surroundings.clone();
    let data_dir = options.data_dir.clone();
    let failed = |path: PathBuf| move |source| OpenAgentError::Folder { path, source };
    disk.make_folder(&data_dir).map_err(failed(data_dir.clone()))?;
    let identity = Identity::load(&disk, &data_dir, &entropy).map_err(failed(data_dir.clone()))?;
    let store_options = StoreOptions::at(data_dir.join("store"));
    let store_disk = disk.clone();
    let store = blocking(move || Store::open(store_disk, clock, store_options)).await?;
    let spool_folder = data_dir.join("spool");
    let bytes_max = options.limits.spool_bytes_max.bytes();
    let (spool_disk, folder) = (disk.clone(), spool_folder.clone());
    let (spool, mut recovered) = blocking(move || {
        let mut recovered = Recovered::default();
        (Spool::open(spool_disk, folder, bytes_max, |found| recovered.take(&found)), recovered)
    })
    .await;
    recovered.events.sort_unstable_by_key(|(number, _)| *number);
    let records_folder = data_dir.join("workers");
    let records = Records::open(disk, records_folder.clone()).map_err(failed(records_folder))?;
    Ok(Kept { identity, store, spool: spool.map_err(failed(spool_folder))?, recovered, records })
}

type AdoptedWorkers = (BTreeMap<WorkerId, Slot>, Vec<(WorkerId, runtime::Relay)>);

/// Takes up workers that run, by their records; ends those that have none.
async fn adopt(
    starter: &Starter,
    recovered: &Recovered,
    data_dir: PathBuf,
) -> Result<AdoptedWorkers, OpenAgentError> {
    let records =
        starter.records.load().map_err(|source| OpenAgentError::Folder { path: data_dir, source })?;
    let mut running: BTreeMap<WorkerId, Adopted> =
        starter.driver.adopt().await?.into_iter().map(|adopted| (adopted.worker.clone(), adopted)).collect();
    let now = starter.clock.now();
    let mut workers = BTreeMap::new();
    let mut listeners = Vec::new();
    let mut used = BTreeSet::new();
    for record in records {
        let id = record.worker.clone();
        let slot = match running.remove(&id) {
            Some(adopted) => {
                let chunks = recovered.chunks_of(&id);
                starter.relay.adopt(id.clone(), record.relay.clone(), &chunks);
                listeners.push((id.clone(), adopted.relay));
                used.extend(views(&record).iter().map(ViewSpec::id));
                let leases = adopted_leases(starter, &record).await;
                if let Some(edge) = record.edge.clone() {
                    starter.edge.admit(id.clone(), &record.relay.secret, edge, &leases);
                }
                Slot::adopted(&record, leases)
            }
            None => Slot::vanished(&record, now),
        };
        workers.insert(id, slot);
    }
    for id in running.keys() {
        end_stranger(&starter.driver, id).await;
    }
    let store = starter.store.clone();
    match blocking(move || store.sweep_views(&used)).await {
        Ok(removed) => tracing::debug!(removed, "removed views that nothing uses"),
        Err(error) => tracing::warn!(reason = %error.fault(), "views that nothing uses could not be removed"),
    }
    if !workers.is_empty() {
        tracing::info!(workers = workers.len(), "took up workers of an earlier agent");
    }
    Ok((workers, listeners))
}

/// Leases what a running worker sees. A view that can't be leased again stays in its place all the same: taking it
/// away would take the files from under the worker.
async fn adopted_leases(starter: &Starter, record: &WorkerRecord) -> Vec<store::ViewLease> {
    let mut leases = Vec::new();
    for spec in views(record) {
        match lease(&starter.store, vec![spec]).await {
            Ok(leased) => leases.extend(leased),
            Err(fault) => {
                tracing::warn!(worker = %record.worker, reason = %fault, "a running worker's model is not leased");
            }
        }
    }
    leases
}

async fn end_stranger(driver: &Arc<dyn Driver>, worker: &WorkerId) {
    tracing::warn!(%worker, "a worker runs of which there is no record; it is ended");
    if let Err(error) = driver.kill(worker).await {
        tracing::warn!(%worker, reason = %error.fault(), "it could not be ended");
    }
}

/// Writes the records of running workers as they change; what is written is always the newest.
async fn keep_journal(
    mut journal: watch::Receiver<Vec<WorkerRecord>>,
    records: Records,
    token: CancellationToken,
) {
    let mut written = BTreeMap::new();
    loop {
        tokio::select! {
            // Cancel-safe: a token stays cancelled, and a watched value stays.
            () = token.cancelled() => return,
            changed = journal.changed() => if changed.is_err() { return },
        }
        let newest = journal.borrow_and_update().clone();
        let records = records.clone();
        let saved;
        (saved, written) = blocking(move || {
            let saved = records.refresh(&newest, &mut written);
            (saved, written)
        })
        .await;
        if let Err(error) = saved {
            tracing::warn!(%error, "the records of running workers could not be written");
        }
    }
}

/// Runs blocking work off the async threads.
///
/// # Panics
/// When the work panics.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
