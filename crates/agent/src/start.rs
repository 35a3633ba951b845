//! The start of one worker, from "everything is here" to a process, and what is read of one that ended.
//!
//! It decides nothing: [`crate::host`] says when, and takes up what comes of it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use api::{DesiredWorker, EndReason};
use base::{Clock, Entropy, Redacted, Timestamp};
use runtime::{Driver, Egress, ExitReason, PythonEnvironment, ResolvedStart, Started, ViewMount, mounts};
use store::{Store, ViewLease, ViewSpec};
use types::{ErrorCode, Fault, HubAccess, Isolation, Launch, StartMark, WorkerId};

use crate::{
    edge::{Edge, EdgeRecord, Spelling},
    environment::{self, Circumstances},
    host::AskedToEnd,
    records::{ViewRecord, WorkerRecord},
    relay::{Relay, make_secret},
    warm::Warmer,
};

/// Lines of a worker's log that are told with its end: a Python traceback is mostly shorter.
const LAST_LINES: usize = 40;
/// Longer lines are cut in that report; the whole ones are in the log.
const LINE_CHARACTERS_MAX: usize = 2000;
/// The most GPUs of one machine: NVIDIA's largest baseboards carry 16.
const GPUS_MAX: u32 = 16;
/// What Hugging Face libraries say when a repository is not in the view and they may not ask the hub.
const OFFLINE_SIGNS: [&str; 4] =
    ["LocalEntryNotFoundError", "offline mode is enabled", "OfflineModeIsEnabled", "HF_HUB_OFFLINE"];

/// What starting needs of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    pub(crate) store: Store,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) relay: Relay,
    pub(crate) edge: Edge,
    pub(crate) records: crate::records::Records,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) egress: Egress,
    pub(crate) isolation: Isolation,
    pub(crate) hostname: String,
    pub(crate) warmer: Warmer,
}

/// What a start is made of, all of it here.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) worker: DesiredWorker,
    /// The owner's environment.
    pub(crate) env: BTreeMap<String, Redacted<String>>,
    /// Where its released folder stands.
    pub(crate) folder: Option<PathBuf>,
    /// The type of its GPUs.
    pub(crate) gpu_kind: Option<String>,
    /// Marks of its start so far.
    pub(crate) marks: BTreeMap<StartMark, Timestamp>,
}

/// A worker that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) leases: Vec<ViewLease>,
    pub(crate) started: Started,
    pub(crate) marks: BTreeMap<StartMark, Timestamp>,
}

/// How a worker ended, with what it said last.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) reason: EndReason,
    pub(crate) at: Timestamp,
    pub(crate) last_lines: Vec<String>,
}

impl Starter {
    /// Starts a worker.
    ///
    /// # Errors
    /// The fault that the start is reported with; nothing of the worker remains then.
    pub(crate) async fn start(&self, order: Order) -> Result<Running, Fault> {
        let worker = order.worker.worker.clone();
        let started = self.try_start(order).await;
        if started.is_err() {
            self.relay.dismiss(&worker);
            self.edge.dismiss(&worker);
            let (records, worker) = (self.records.clone(), worker.clone());
            let removed = tokio::task::spawn_blocking(move || records.remove(&worker)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "the record of a worker that did not start could not be removed");
            }
        }
        started
    }

    async fn try_start(&self, order: Order) -> Result<Running, Fault> {
        let Order { worker, env: owner, folder, gpu_kind, mut marks } = order;
        let (command, python) = match &worker.launch {
            Launch::Command { command, python, .. } => (command.clone(), python.clone()),
            Launch::Image { image } => return Err(image_unsupported(image)),
        };
        let python = match python {
            Some(folder) => Some(PythonEnvironment::inspect(&folder).await.map_err(|error| error.fault())?),
            None => None,
        };
        let leases = self.lease(&worker).await?;
        let views: Vec<ViewMount> = leases
            .iter()
            .zip(&worker.views)
            .map(|(lease, view)| ViewMount {
                host_path: lease.path().to_owned(),
                canonical: view.key.repo.name.clone(),
                spelled: view.reference.repo.clone(),
            })
            .collect();
        let mounts = mounts::hub(&views).map_err(|error| error.fault())?;
        let (hub_cache, model_folders) = self.places(&worker, &leases);
        if !views.is_empty() {
            marks.insert(StartMark::ViewMounted, self.clock.now());
        }
        let secret = make_secret(&self.entropy);
        let environment = environment::compose(
            &worker,
            &Circumstances {
                owner: &owner,
                secret: &secret,
                egress: self.egress,
                hub_cache,
                model_folders: &model_folders,
                gpu_kind: gpu_kind.as_deref(),
                hostname: &self.hostname,
            },
        );
        match worker.hub_access {
            HubAccess::Edge => {
                self.edge.admit(worker.worker.clone(), &secret, edge_record(&worker), &leases);
            }
            HubAccess::Online | HubAccess::Offline => {}
        }
        self.relay.admit(worker.worker.clone(), worker.endpoint.clone(), secret);
        self.record(&worker, &leases, &marks).await?;
        let start = ResolvedStart {
            worker: worker.worker.clone(),
            command,
            env: environment.values,
            relay_env: environment.relay_paths,
            folder,
            python,
            mounts,
            devices: gpu_devices(&worker.gpus),
            limits: worker.limits.clone(),
            egress: self.egress,
        };
        let started = self.driver.start(start).await.map_err(|error| error.fault())?;
        marks.insert(StartMark::ProcessStarted, started.at);
        for note in &started.notes {
            tracing::warn!(worker = %worker.worker, note, "a worker runs with less than was asked for");
        }
        Ok(Running { leases, started, marks })
    }

    /// Returns where a worker looks for models, and where it sees each.
    fn places(&self, worker: &DesiredWorker, leases: &[ViewLease]) -> (Option<&'static str>, Vec<String>) {
        match self.isolation {
            Isolation::Privileged | Isolation::Unprivileged => {
                let seen = worker.views.iter().map(|view| environment::model_folder(&view.key));
                (Some(mounts::HUB_FOLDER), seen.collect())
            }
            // It sees the host; the driver makes a hub folder of links for it, and tells it where.
            Isolation::None => {
                (None, leases.iter().map(|lease| lease.path().display().to_string()).collect())
            }
        }
    }

    async fn lease(&self, worker: &DesiredWorker) -> Result<Vec<ViewLease>, Fault> {
        let specs: Vec<ViewSpec> = worker
            .views
            .iter()
            .map(|view| ViewSpec { key: view.key.clone(), refs: view.refs.clone() })
            .collect();
        lease(&self.store, specs).await
    }

    async fn record(
        &self,
        worker: &DesiredWorker,
        leases: &[ViewLease],
        marks: &BTreeMap<StartMark, Timestamp>,
    ) -> Result<(), Fault> {
        let relay = self.relay.record(&worker.worker).expect("the worker was admitted by this very start");
        let record = WorkerRecord {
            worker: worker.worker.clone(),
            relay,
            edge: self.edge.record(&worker.worker),
            views: leases.iter().map(|lease| ViewRecord::from(lease.spec())).collect(),
            marks: marks.clone(),
            hub_access: worker.hub_access,
            asked_to_end: AskedToEnd::No,
        };
        let records = self.records.clone();
        let saved = tokio::task::spawn_blocking(move || records.save(&record)).await;
        let saved = saved.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        saved.map_err(|error| {
            Fault::from_error(ErrorCode::DiskError, &error)
                .with_hint("look at the room and health of the host's disk")
        })
    }

    /// Reads what an ended worker said last, and tells why it ended.
    pub(crate) async fn ending(
        &self,
        worker: &WorkerId,
        status: ExitReason,
        at: Timestamp,
        asked_to_end: AskedToEnd,
        hub_access: HubAccess,
    ) -> Ending {
        let lines = self.driver.logs(worker, LAST_LINES).await.unwrap_or_default();
        let mut last_lines: Vec<String> =
            lines.into_iter().map(|line| line.text.chars().take(LINE_CHARACTERS_MAX).collect()).collect();
        let reason = end_reason(status, asked_to_end);
        if let Some(unhealthy) = self.relay.facts(worker).unhealthy {
            last_lines.push(format!("larder: the worker reported itself unhealthy: {unhealthy}"));
        }
        if let Some(hint) = offline_hint(&last_lines, reason, hub_access) {
            last_lines.push(hint);
        }
        Ending { reason, at, last_lines }
    }
}

fn edge_record(worker: &DesiredWorker) -> EdgeRecord {
    let spellings =
        worker.views.iter().map(|view| Spelling { name: view.reference.repo.clone(), key: view.key.clone() });
    EdgeRecord { hub: worker.hub.clone(), spellings: spellings.collect() }
}

/// Leases views, each distinct one once; the answer is in the order of the specs.
///
/// # Errors
/// The store's.
pub(crate) async fn lease(store: &Store, specs: Vec<ViewSpec>) -> Result<Vec<ViewLease>, Fault> {
    let store = store.clone();
    let leased = tokio::task::spawn_blocking(move || {
        specs.iter().map(|spec| store.view(spec).map_err(|error| error.fault())).collect()
    });
    leased.await.unwrap_or_else(|panic| Err(Fault::from_error(ErrorCode::Internal, &panic)))
}

/// Returns the device files that CUDA needs. Which of them is which GPU only the driver's library knows, so a worker
/// with a GPU gets all; `CUDA_VISIBLE_DEVICES` names its own.
fn gpu_devices(gpus: &[String]) -> Vec<PathBuf> {
    if gpus.is_empty() {
        return Vec::new();
    }
    let numbered = (0..GPUS_MAX).map(|number| format!("/dev/nvidia{number}"));
    let shared = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"].map(str::to_owned);
    shared.into_iter().chain(numbered).map(PathBuf::from).filter(|path| path.exists()).collect()
}

fn image_unsupported(image: &str) -> Fault {
    Fault::new(ErrorCode::LaunchUnsupported, format!("this host can't run the image {image}"))
        .with_hint("give the endpoint a command, or add a host with Docker")
}

/// Returns how a worker ended, as the server is told.
fn end_reason(status: ExitReason, asked_to_end: AskedToEnd) -> EndReason {
    match status {
        // Whatever it made of our signal.
        ExitReason::Code(_) | ExitReason::Signal(_) | ExitReason::Killed
            if asked_to_end == AskedToEnd::Yes =>
        {
            EndReason::Stopped
        }
        ExitReason::Code(code) => EndReason::Exited(code),
        ExitReason::Signal(signal) => EndReason::Signalled(signal),
        ExitReason::OutOfMemory => EndReason::OutOfMemory,
        ExitReason::Killed => EndReason::Stopped,
        ExitReason::Lost => EndReason::Vanished,
    }
}

/// Returns what to try when a worker ended for want of a repository that it could have asked the hub for.
fn offline_hint(lines: &[String], reason: EndReason, hub_access: HubAccess) -> Option<String> {
    let failed = match reason {
        EndReason::Exited(code) => code != 0,
        EndReason::Signalled(_) => true,
        EndReason::Stopped | EndReason::OutOfMemory | EndReason::Vanished => false,
    };
    let offline = match hub_access {
        HubAccess::Offline => true,
        // The edge says itself what it does not give, and why.
        HubAccess::Edge | HubAccess::Online => false,
    };
    let missing = lines.iter().any(|line| OFFLINE_SIGNS.iter().any(|sign| line.contains(sign)));
    (failed && offline && missing).then(|| {
        "larder: the worker looked for a repository that is not among its models, and may not ask the hub: \
         add it with --model, or let the worker ask with --hub-access edge"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
