//! Starting a worker: a place for it, a shim, the order, and the answer.

use std::{
    collections::HashMap,
    net::{Shutdown, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use base::Entropy;
use tokio::process::Child;
use types::{CommandLine, Isolation, WorkerId, WorkerLimits};

use super::{
    Confinement, Entry, ProcessDriver, Shared, blocking,
    connection::{self, Connection, NewShim},
    hint::Facts,
    lock, resolve, watch,
};
use crate::{
    DriverError, DriverEvent, Egress, Relay, ResolvedStart, Started,
    protocol::{Enclosure, Reply, Request, Running, Spec, write_frame},
    records::RunFolder,
};

/// The system's shortest program, for finding out whether any worker could run.
const PROBE_PROGRAM: &str = "/bin/true";
/// It ends at once; taking its control groups away can take half a second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a worker.
pub(super) async fn start(driver: &ProcessDriver, start: ResolvedStart) -> Result<Started, DriverError> {
    let shared = &driver.shared;
    let worker = start.worker.clone();
    let place = Place::take(shared, &worker)?;
    let own_ids = *shared.own_ids.get_or_init(can_give_ids);
    let enclosure = resolve::enclosure(shared.options.confinement, resolve::identity(own_ids, place.slot));
    let run_folder = place.folder.path().to_owned();
    let spec = resolve::spec(start, run_folder, enclosure, place.slot, &shared.options.protected)?;
    let launched = launch(driver, spec, worker.as_str()).await?;
    let Launched { running, relay, mut shim } = launched;
    let silent = |source| DriverError::ShimSilent { source };
    let parts = shim.keep();
    let (connection, heard) = Connection::keep(parts.socket, parts.pidfd).map_err(silent)?;
    place.keep(Entry::Running { slot: running.slot, connection });
    let event = DriverEvent::ProcessStarted { worker: worker.clone(), at: running.started_at };
    driver.spawn(
        "worker-watch",
        watch::watch(Arc::clone(shared), worker, heard, Some(parts.child), Some(event)),
    );
    Ok(Started {
        relay: Relay { listener: relay, url: running.relay_url, sharing: running.sharing },
        processes: running.processes,
        at: running.started_at,
        notes: running.notes,
    })
}

/// Finds out how workers are kept apart, by starting one that ends at once.
pub(super) async fn probe(driver: &ProcessDriver) -> Result<Isolation, DriverError> {
    match driver.shared.options.confinement {
        Confinement::None => return Ok(Isolation::None),
        Confinement::Sandbox => {}
    }
    if can_give_ids() && try_identity(driver, true).await.is_ok() {
        // Whoever asked first has decided.
        let _ = driver.shared.own_ids.set(true);
        return Ok(Isolation::Privileged);
    }
    try_identity(driver, false).await?;
    let _ = driver.shared.own_ids.set(false);
    Ok(Isolation::Unprivileged)
}

async fn try_identity(driver: &ProcessDriver, own_ids: bool) -> Result<(), DriverError> {
    // Unique, since another driver may be probing; and no worker's id, so that nobody adopts it.
    let worker = WorkerId::generate(&Entropy::System);
    let name = format!("probe-{worker}");
    let folder = RunFolder::new(driver.shared.options.run_folder.join(&name));
    let unusable = |source| DriverError::RunFolder { path: folder.path().to_owned(), source };
    folder.create().map_err(unusable)?;
    // The last slot, so that it is never a worker's.
    let slot = resolve::SLOTS_MAX - 1;
    let enclosure = Enclosure::Sandbox(resolve::identity(own_ids, slot));
    let start = ResolvedStart {
        worker,
        command: CommandLine::try_from(vec![PROBE_PROGRAM.to_owned()]).expect("the command is well-formed"),
        env: Vec::new(),
        relay_env: Vec::new(),
        folder: None,
        python: None,
        mounts: Vec::new(),
        devices: Vec::new(),
        limits: WorkerLimits::default(),
        egress: Egress::None,
    };
    let spec = resolve::spec(start, folder.path().to_owned(), enclosure, slot, &[])?;
    let result = match launch(driver, spec, &name).await {
        Ok(launched) => await_end(launched).await,
        // A system without that program can run workers all the same.
        Err(DriverError::ProgramNotFound { .. } | DriverError::ProgramRefused { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    folder.delete().map_err(unusable)?;
    result
}

/// Waits until a probe's shim has put everything away.
async fn await_end(launched: Launched) -> Result<(), DriverError> {
    let mut shim = launched.shim;
    let mut parts = shim.keep();
    let waited = tokio::time::timeout(PROBE_TIMEOUT, parts.child.wait()).await;
    let ended = waited.map_err(std::io::Error::from).and_then(|status| status);
    ended.map(drop).map_err(|source| DriverError::ShimSilent { source })
}

/// Whether this process may give workers users of their own.
fn can_give_ids() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    resolve::can_give_ids(rustix::process::geteuid().is_root(), &map)
}

/// A worker whose command runs.
struct Launched {
    running: Running,
    relay: TcpListener,
    shim: ShimGuard,
}

/// Starts a shim and waits until it has started the worker.
async fn launch(driver: &ProcessDriver, spec: Spec, name: &str) -> Result<Launched, DriverError> {
    let silent = |source| DriverError::ShimSilent { source };
    let shared =
        resolve::shares_relay(spec.enclosure, spec.egress).then(|| driver.shared_relay()).transpose();
    let shared = shared.map_err(silent)?;
    let folder = RunFolder::new(spec.run_folder.clone());
    let NewShim { child, pidfd, socket } =
        connection::spawn(&driver.shared.options.shim, &folder, name).map_err(silent)?;
    let line = socket.try_clone().map_err(silent)?;
    let mut shim = ShimGuard(Some(ShimParts { child, pidfd, socket }));
    let (answer, spec) = blocking(move || Ok((connection::order(&line, &spec, shared.as_ref()), spec)))
        .await
        .map_err(silent)?;
    match answer.map_err(silent)? {
        (Reply::Running(running), Some(relay)) => Ok(Launched { running, relay, shim }),
        (Reply::Refused(refusal), _) => {
            // It ends by itself; what it had mounted is gone then, and its folder can be deleted.
            let _ = shim.keep().child.wait().await;
            Err(resolve::error(refusal, &spec, |errno| Facts::read(errno).hint()))
        }
        (Reply::Running(_) | Reply::Ended(_), _) => {
            Err(silent(std::io::Error::other("the answer makes no sense")))
        }
    }
}

/// What belongs to a shim that this driver started.
struct ShimParts {
    child: Child,
    pidfd: OwnedFd,
    socket: std::os::unix::net::UnixStream,
}

/// Lets a shim end its worker and itself, unless somebody keeps it.
struct ShimGuard(Option<ShimParts>);

impl ShimGuard {
    fn keep(&mut self) -> ShimParts {
        self.0.take().expect("a guard is kept once, by the code that made it")
    }
}

impl Drop for ShimGuard {
    /// A shim that has told already that its worker runs reads the request; one that has not finds nobody to tell.
    /// Either way it takes away what it made, which it could not if it were ended by force.
    fn drop(&mut self) {
        if let Some(parts) = &self.0 {
            let asked = write_frame(&parts.socket, &Request::Kill, &[]);
            if let Err(error) = asked.and_then(|()| parts.socket.shutdown(Shutdown::Both)) {
                tracing::debug!(%error, "a shim that is not needed has ended already");
            }
        }
    }
}

/// A worker's place among the others, given back unless the worker runs.
struct Place<'a> {
    shared: &'a Shared,
    worker: &'a WorkerId,
    folder: RunFolder,
    slot: u32,
    kept: bool,
}

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, worker: &'a WorkerId) -> Result<Self, DriverError> {
        let mut workers = lock(&shared.workers);
        if workers.contains_key(worker) {
            return Err(DriverError::AlreadyStarted { worker: worker.clone() });
        }
        let slot = free_slot(&workers)?;
        let folder = shared.folder(worker);
        folder.create().map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => DriverError::AlreadyStarted { worker: worker.clone() },
            _ => shared.unusable(worker, source),
        })?;
        workers.insert(worker.clone(), Entry::Starting { slot });
        Ok(Self { shared, worker, folder, slot, kept: false })
    }

    fn keep(mut self, entry: Entry) {
        lock(&self.shared.workers).insert(self.worker.clone(), entry);
        self.kept = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        lock(&self.shared.workers).remove(self.worker);
        if let Err(error) = self.folder.delete() {
            tracing::warn!(%error, worker = %self.worker, "the folder of a worker that did not start is left behind");
        }
    }
}

/// Returns the lowest slot that no worker has. The last one is for probing.
fn free_slot(workers: &HashMap<WorkerId, Entry>) -> Result<u32, DriverError> {
    let taken: std::collections::HashSet<u32> = workers
        .values()
        .filter_map(|entry| match entry {
            Entry::Starting { slot } | Entry::Running { slot, .. } => Some(*slot),
            Entry::Ended => None,
        })
        .collect();
    let limit = resolve::SLOTS_MAX - 1;
    (0..limit).find(|slot| !taken.contains(slot)).ok_or(DriverError::TooManyWorkers { limit: limit as usize })
}
