//! The models of this host: which are whole, which are on their way, which failed and when they are tried again.
//!
//! Bytes are `transfer`'s and `store`'s; when to fetch is [`crate::converge`]'s. It owns the handles of running
//! fetches: dropping one gives the fetch up.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::{DesiredModel, FetchProgress, FileProgress, ModelReport, ModelState};
use base::{Backoff, Redacted, Timestamp};
use hub::{Hub, HubOptions, TokenHolder};
use store::{Arrival, HubStanding, Provenance, SourceShare, Store, StoredModel, Supplier};
use tokio::sync::watch;
use transfer::{FetchPriority, FetchReport, FetchRequest, FetchState, Transfer};
use types::{Fault, HubName, Manifest, ModelKey};
use url::Url;

use crate::{SideSources, converge::ModelStanding, keep::Keeper};

/// Between tries of a fetch that failed for good. The transfer itself has been patient for two minutes by then; a
/// person may be mending something, and should not wait long for the next try.
const REFETCH: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(120) };
/// Hubs that are talked to; each has a pool of connections. Endpoints name few.
const HUBS_MAX: usize = 64;

/// A fetch that came to its end, or for which there was no room.
pub(crate) type FetchEnd = Result<FetchReport, Fault>;

/// The models of this host.
#[derive(Debug)]
pub(crate) struct Models {
    store: Store,
    transfer: Transfer,
    keeper: Keeper,
    sources: SideSources,
    hubs: HashMap<(HubName, Url), Hub>,
    fetches: BTreeMap<ModelKey, Fetch>,
    fetched: BTreeMap<ModelKey, Fetched>,
}

#[derive(Debug)]
enum Fetch {
    Running {
        started_at: Timestamp,
        failures: u32,
        /// Set once there is room and bytes are on their way.
        progress: Arc<OnceLock<watch::Receiver<transfer::FetchProgress>>>,
        token: TokenHolder,
    },
    Failed {
        fault: Fault,
        failures: u32,
        retry_at: Timestamp,
    },
}

/// What is known of a fetch that this agent made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    bytes: u64,
    millis: u64,
}

/// A fetch that is to be run: room first, then bytes.
#[derive(Debug)]
pub(crate) struct Bringing {
    store: Store,
    transfer: Transfer,
    keeper: Keeper,
    request: FetchRequest,
    hub_endpoint: Url,
    progress: Arc<OnceLock<watch::Receiver<transfer::FetchProgress>>>,
}

impl Bringing {
    /// Brings the model, and notes how it came.
    ///
    /// # Errors
    /// The fault that the model is reported with.
    ///
    /// # Cancel safety
    /// Dropping the future gives the fetch up; what it brought stays.
    pub(crate) async fn run(self) -> FetchEnd {
        let Self { store, transfer, keeper, request, hub_endpoint, progress } = self;
        let (manifest, supplier) = (Arc::clone(&request.manifest), request.supplier.clone());
        let reservation = {
            let (manifest, supplier) = (Arc::clone(&manifest), supplier.clone());
            let keeper = keeper.clone();
            blocking(move || keeper.room_for(&manifest, &supplier)).await?
        };
        let fetch = transfer.fetch(request);
        // Nobody else sets it.
        let _ = progress.set(fetch.progress());
        let report = fetch.join().await.map_err(|error| error.fault())?;
        drop(reservation);
        let noted = report.clone();
        blocking(move || {
            note_provenance(&store, &manifest, supplier, &hub_endpoint, &noted);
            keeper.learn(manifest.key());
        })
        .await;
        Ok(report)
    }
}

/// Notes how a model came, unless that is known: a repair does not change where a model is from.
fn note_provenance(
    store: &Store,
    manifest: &Manifest,
    supplier: Supplier,
    hub_endpoint: &Url,
    report: &FetchReport,
) {
    let key = manifest.key();
    let (Some(model), None) = (store.get(key), store.provenance(key)) else { return };
    let sources = report.sources.iter().filter(|source| source.bytes.bytes() > 0).map(|source| SourceShare {
        source: source.name.clone(),
        bytes: source.bytes,
        bytes_per_second: source.rate_bytes_per_second,
    });
    let provenance = Provenance {
        arrival: Arrival::Fetched { hub_endpoint: hub_endpoint.to_string(), sources: sources.collect() },
        arrived_at: model.published_at,
        bytes: report.bytes_fetched,
        millis: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
        supplier,
    };
    if let Err(error) = store.note_provenance(key, provenance) {
        tracing::warn!(model = %key, reason = %error.fault(), "how a model came could not be noted");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

impl Models {
    pub(crate) fn new(store: Store, transfer: Transfer, keeper: Keeper, sources: SideSources) -> Self {
        let (hubs, fetches, fetched) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { store, transfer, keeper, sources, hubs, fetches, fetched }
    }

    /// Returns models to fetch beyond those that are desired: damaged ones, whose files are brought again from where they
    /// came, as far as a hub gives them without a token.
    pub(crate) fn repairs(&self, desired: &[DesiredModel]) -> Vec<DesiredModel> {
        let desired: BTreeSet<&ModelKey> = desired.iter().map(|model| model.manifest.key()).collect();
        let damaged = self.store.damaged();
        let others = damaged.iter().filter(|model| !desired.contains(model.manifest.key()));
        others.filter_map(|model| self.repair(model)).collect()
    }

    fn repair(&self, model: &StoredModel) -> Option<DesiredModel> {
        let provenance = self.store.provenance(model.manifest.key())?;
        let Arrival::Fetched { hub_endpoint, .. } = &provenance.arrival else { return None };
        Some(DesiredModel {
            manifest: model.manifest.clone(),
            hub_endpoint: hub_endpoint.parse().ok()?,
            hub_trusted: provenance.supplier.standing == HubStanding::Trusted,
            tenant: provenance.supplier.tenant,
            token: None,
        })
    }

    /// Returns the models that are being brought.
    pub(crate) fn coming(&self) -> impl Iterator<Item = &ModelKey> {
        let running = self.fetches.iter().filter(|(_, fetch)| matches!(fetch, Fetch::Running { .. }));
        running.map(|(key, _)| key)
    }

    /// Returns where each model stands. A desired one that only another tenant may have is not ready: it is fetched
    /// for this one, and only then seen by its workers.
    pub(crate) fn standings(&self, desired: &[DesiredModel]) -> BTreeMap<ModelKey, ModelStanding> {
        let ready = self
            .store
            .list()
            .into_iter()
            .map(|model| model.manifest.key().clone())
            .filter(|key| self.may_be_shown(key, desired))
            .map(|key| (key, ModelStanding::Ready));
        let fetches = self.fetches.iter().map(|(key, fetch)| {
            let standing = match fetch {
                Fetch::Running { .. } => ModelStanding::Fetching,
                Fetch::Failed { retry_at, .. } => ModelStanding::Failed { retry_at: *retry_at },
            };
            (key.clone(), standing)
        });
        fetches.chain(ready).collect()
    }

    /// Returns what is known of the fetch that brought a model.
    pub(crate) fn fetched(&self, key: &ModelKey) -> Option<Fetched> {
        self.fetched.get(key).copied()
    }

    /// Returns whether a model is whole, for whom it is desired.
    pub(crate) fn is_ready(&self, key: &ModelKey, desired: &[DesiredModel]) -> bool {
        self.store.get(key).is_some() && self.may_be_shown(key, desired)
    }

    /// Returns whether a model that is here may be used by those who desire it: the store's trust rule.
    fn may_be_shown(&self, key: &ModelKey, desired: &[DesiredModel]) -> bool {
        let mut wanting = desired.iter().filter(|model| model.manifest.key() == key);
        wanting.all(|model| self.store.holds(key, &supplier(model)))
    }

    /// Begins a fetch: what it gives is to be run by a task of the caller's.
    ///
    /// # Errors
    /// When the hub's address can't be used; the model then counts as failed.
    pub(crate) fn begin(
        &mut self,
        model: &DesiredModel,
        token: Option<Redacted<String>>,
        priority: FetchPriority,
        now: Timestamp,
    ) -> Option<Bringing> {
        let key = model.manifest.key();
        let failures = match self.fetches.get(key) {
            Some(Fetch::Failed { failures, .. } | Fetch::Running { failures, .. }) => *failures,
            None => 0,
        };
        let hub = match self.hub(key.repo.hub.clone(), model.hub_endpoint.clone()) {
            Ok(hub) => hub,
            Err(fault) => {
                self.failed(key, fault, failures, now);
                return None;
            }
        };
        let token = TokenHolder::new(token);
        let sources = self.sources.of(key, hub, token.token());
        let manifest = Arc::new(model.manifest.clone());
        let request = FetchRequest { priority, ..FetchRequest::new(manifest, sources, supplier(model)) };
        let progress = Arc::new(OnceLock::new());
        let running = Fetch::Running { started_at: now, failures, progress: Arc::clone(&progress), token };
        self.fetches.insert(key.clone(), running);
        Some(Bringing {
            store: self.store.clone(),
            transfer: self.transfer.clone(),
            keeper: self.keeper.clone(),
            request,
            hub_endpoint: model.hub_endpoint.clone(),
            progress,
        })
    }

    /// Has a running fetch go on with another token.
    pub(crate) fn renew_token(&self, key: &ModelKey, token: Redacted<String>) {
        match self.fetches.get(key) {
            Some(Fetch::Running { token: held, .. }) => held.replace(Some(token)),
            Some(Fetch::Failed { .. }) | None => {}
        }
    }

    /// Forgets a fetch that was given up.
    pub(crate) fn give_up(&mut self, key: &ModelKey) {
        self.fetches.remove(key);
    }

    /// Takes up the end of a fetch.
    pub(crate) fn ended(&mut self, key: &ModelKey, end: FetchEnd, now: Timestamp) {
        let Some(Fetch::Running { started_at, failures, .. }) = self.fetches.remove(key) else { return };
        match end {
            Ok(report) => {
                let millis = u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX);
                let bytes = report.bytes_fetched.bytes();
                tracing::info!(model = %key, bytes, millis, "fetched");
                self.fetched.insert(key.clone(), Fetched { started_at, ended_at: now, bytes, millis });
            }
            Err(fault) => self.failed(key, fault, failures, now),
        }
    }

    fn failed(&mut self, key: &ModelKey, fault: Fault, failures: u32, now: Timestamp) {
        let failures = failures + 1;
        let retry_at = now + REFETCH.after(failures);
        tracing::warn!(model = %key, reason = %fault, failures, "a fetch failed and is tried again");
        self.fetches.insert(key.clone(), Fetch::Failed { fault, failures, retry_at });
    }

    /// Returns where each desired or held model stands, for the server.
    pub(crate) fn report(&self, desired: &[DesiredModel]) -> Vec<ModelReport> {
        let mut reports = BTreeMap::new();
        for model in self.store.list() {
            let key = model.manifest.key().clone();
            if !self.may_be_shown(&key, desired) {
                continue;
            }
            let fetched = self.fetched.get(&key);
            let state = ModelState::Ready {
                since: model.published_at,
                fetch_started_at: fetched.map(|fetched| fetched.started_at),
                bytes_fetched: fetched.map_or(0, |fetched| fetched.bytes),
                fetch_millis: fetched.map_or(0, |fetched| fetched.millis),
            };
            let bytes_here = model.manifest.bytes().bytes();
            reports.insert(key.clone(), ModelReport { key, state, bytes_here });
        }
        for model in desired {
            let key = model.manifest.key();
            if !reports.contains_key(key) {
                let (state, bytes_here) = self.unfinished(model);
                reports.insert(key.clone(), ModelReport { key: key.clone(), state, bytes_here });
            }
        }
        reports.into_values().collect()
    }

    fn unfinished(&self, model: &DesiredModel) -> (ModelState, u64) {
        let bytes_here = || bytes_here(&self.store, &model.manifest, &supplier(model));
        match self.fetches.get(model.manifest.key()) {
            None => (ModelState::Pending("waits for its turn".to_owned()), bytes_here()),
            Some(Fetch::Failed { fault, failures, retry_at }) => {
                let state =
                    ModelState::Failed { fault: fault.clone(), failures: *failures, retry_at: *retry_at };
                (state, bytes_here())
            }
            Some(Fetch::Running { started_at, failures, progress, .. }) => match progress.get() {
                Some(progress) => {
                    let progress = progress.borrow().clone();
                    let bytes = progress.bytes_done.bytes();
                    (running_state(&progress, *started_at, *failures), bytes)
                }
                None => (ModelState::Pending("room is made for it".to_owned()), bytes_here()),
            },
        }
    }

    fn hub(&mut self, name: HubName, endpoint: Url) -> Result<Hub, Fault> {
        let key = (name, endpoint);
        if let Some(hub) = self.hubs.get(&key) {
            return Ok(hub.clone());
        }
        let options = HubOptions::new(key.0.clone(), key.1.clone());
        let hub = Hub::new(options).map_err(|error| error.fault())?;
        if self.hubs.len() >= HUBS_MAX {
            self.hubs.clear();
        }
        self.hubs.insert(key, hub.clone());
        Ok(hub)
    }
}

/// While the source is asked again after an error, that error is what a person wants to see.
fn running_state(progress: &transfer::FetchProgress, started_at: Timestamp, failures: u32) -> ModelState {
    match &progress.state {
        FetchState::Retrying { fault, at } => {
            ModelState::Failed { fault: fault.clone(), failures: failures + 1, retry_at: *at }
        }
        FetchState::Waiting
        | FetchState::Fetching
        | FetchState::Verifying
        | FetchState::Done
        | FetchState::Failed { .. } => ModelState::Fetching(FetchProgress {
            started_at,
            files_total: progress.files_total,
            files_done: progress.files_done,
            bytes_total: progress.bytes_total.bytes(),
            bytes_done: progress.bytes_done.bytes(),
            bytes_per_second: progress.rate_bytes_per_second,
            eta_millis: progress.eta.map(|eta| u64::try_from(eta.as_millis()).unwrap_or(u64::MAX)),
            sources: progress.sources.clone(),
            files: progress.files.iter().map(wire_file).collect(),
        }),
    }
}

fn wire_file(file: &transfer::FileProgress) -> FileProgress {
    FileProgress {
        path: file.path.to_string(),
        bytes_total: file.bytes_total.bytes(),
        bytes_done: file.bytes_done.bytes(),
    }
}

fn supplier(model: &DesiredModel) -> Supplier {
    let standing = if model.hub_trusted { HubStanding::Trusted } else { HubStanding::Untrusted };
    Supplier { hub: model.manifest.key().repo.hub.clone(), tenant: model.tenant.clone(), standing }
}

fn bytes_here(store: &Store, manifest: &Manifest, supplier: &Supplier) -> u64 {
    let missing = store.missing(manifest, supplier).bytes.bytes();
    manifest.bytes().bytes().saturating_sub(missing)
}
