//! The driver whose workers are processes of this host, each beside a shim of its own.
//!
//! It owns one task per running worker, which hears the worker's shim. Dropping the driver ends those tasks and
//! nothing else: the workers run on, and the next driver on the same run folder adopts them.

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use base::{Clock, TaskScope};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{Isolation, WorkerId};

use crate::{
    Adopted, BoxFuture, Driver, DriverError, DriverEvent, LogLine, ResolvedStart, Started,
    driver::EVENTS_MAX,
    protocol::Request,
    records::{RunFolder, read_lines},
};

mod adopt;
mod connection;
mod hint;
mod resolve;
mod start;
mod watch;

use connection::Connection;

/// How workers are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// In namespaces and a root of their own. Where the system forbids that, workers do not start.
    Sandbox,
    /// Not at all, by the operator's explicit word: for one tenant.
    None,
}

/// How this program is started as a shim: its words must lead to [`crate::shim::main`].
#[derive(Clone, Debug)]
pub struct ShimProgram {
    /// The program. `/proc/self/exe` is the running one, also when its file has been replaced since.
    pub program: PathBuf,
    /// The words before the worker's id, which is added for whoever lists processes.
    pub arguments: Vec<String>,
}

/// What a [`ProcessDriver`] is told once.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Where running workers are recorded; made for this user alone when it is missing.
    pub run_folder: PathBuf,
    /// How shims are started.
    pub shim: ShimProgram,
    /// How workers are kept apart.
    pub confinement: Confinement,
    /// Folders that no Python environment may bring into a worker: the data folder above all.
    pub protected: Vec<PathBuf>,
}

/// What the driver knows of one worker.
#[derive(Debug)]
enum Entry {
    /// Its shim has not answered yet.
    Starting {
        slot: u32,
    },
    Running {
        slot: u32,
        connection: Connection,
    },
    Ended,
}

/// What the driver and its tasks share.
#[derive(Debug)]
struct Shared {
    options: ProcessOptions,
    clock: Clock,
    workers: Mutex<HashMap<WorkerId, Entry>>,
    /// The listener of every worker with egress, once there is one.
    relay: Mutex<Option<TcpListener>>,
    events: mpsc::Sender<DriverEvent>,
    /// Whether workers have users of their own, once that was tried.
    own_ids: OnceLock<bool>,
}

/// A driver whose workers are processes of this host.
#[derive(Debug)]
pub struct ProcessDriver {
    shared: Arc<Shared>,
    receiver: Mutex<Option<mpsc::Receiver<DriverEvent>>>,
    tasks: Mutex<TaskScope>,
}

impl ProcessDriver {
    /// Makes a driver. Call [`Driver::adopt`] before the first start: it finds the workers of an earlier one.
    ///
    /// # Errors
    /// [`DriverError::RunFolder`] when the run folder can't be made.
    pub fn new(options: ProcessOptions, clock: Clock) -> Result<Self, DriverError> {
        let folder = &options.run_folder;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| DriverError::RunFolder { path: folder.clone(), source })?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Shared {
            options,
            clock,
            workers: Mutex::default(),
            relay: Mutex::default(),
            events,
            own_ids: OnceLock::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            receiver: Mutex::new(Some(receiver)),
            tasks: Mutex::new(TaskScope::new(&CancellationToken::new())),
        })
    }

    /// Returns the listener that workers with egress share, made when it is first needed.
    fn shared_relay(&self) -> io::Result<TcpListener> {
        let mut relay = lock(&self.shared.relay);
        if let Some(listener) = &*relay {
            return listener.try_clone();
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        *relay = Some(listener.try_clone()?);
        Ok(listener)
    }

    /// Sends a request to a worker's shim. A worker that has ended needs none.
    fn request(&self, worker: &WorkerId, request: Request) -> Result<(), DriverError> {
        match lock(&self.shared.workers).get(worker) {
            None => Err(DriverError::UnknownWorker { worker: worker.clone() }),
            Some(Entry::Running { connection, .. }) => {
                connection.request(request).map_err(|source| DriverError::ShimSilent { source })
            }
            // Whoever starts it has not been told that it runs, and ends the start by dropping it.
            Some(Entry::Starting { .. } | Entry::Ended) => Ok(()),
        }
    }

    /// Runs a task of this driver. Those that have ended are joined on the way.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        if let Err(error) = tasks.reap() {
            tracing::error!(%error, "a worker's watcher failed");
        }
        tasks.spawn(name, task);
    }
}

impl Shared {
    fn folder(&self, worker: &WorkerId) -> RunFolder {
        RunFolder::new(self.options.run_folder.join(worker.as_str()))
    }

    fn unusable(&self, worker: &WorkerId, source: io::Error) -> DriverError {
        DriverError::RunFolder { path: self.folder(worker).path().to_owned(), source }
    }

    /// Refuses a worker that may still run.
    fn check_ended(&self, worker: &WorkerId) -> Result<(), DriverError> {
        match lock(&self.workers).get(worker) {
            Some(Entry::Starting { .. } | Entry::Running { .. }) => {
                Err(DriverError::StillRunning { worker: worker.clone() })
            }
            Some(Entry::Ended) | None => Ok(()),
        }
    }
}

impl Driver for ProcessDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Isolation, DriverError>> {
        Box::pin(start::probe(self))
    }

    fn start(&self, start: ResolvedStart) -> BoxFuture<'_, Result<Started, DriverError>> {
        Box::pin(start::start(self, start))
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, grace: Duration) -> BoxFuture<'a, Result<(), DriverError>> {
        let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Box::pin(async move { self.request(worker, Request::Stop { grace_millis }) })
    }

    fn kill<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move { self.request(worker, Request::Kill) })
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Adopted>, DriverError>> {
        Box::pin(adopt::adopt(self))
    }

    fn take_events(&self) -> Option<mpsc::Receiver<DriverEvent>> {
        lock(&self.receiver).take()
    }

    fn logs<'a>(
        &'a self,
        worker: &'a WorkerId,
        lines_max: usize,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, DriverError>> {
        Box::pin(async move {
            if !lock(&self.shared.workers).contains_key(worker) {
                return Err(DriverError::UnknownWorker { worker: worker.clone() });
            }
            let folder = self.shared.folder(worker);
            blocking(move || read_lines(&folder, lines_max))
                .await
                .map_err(|source| self.shared.unusable(worker, source))
        })
    }

    fn strip<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.shared.check_ended(worker)?;
            let folder = self.shared.folder(worker);
            blocking(move || folder.strip()).await.map_err(|source| self.shared.unusable(worker, source))
        })
    }

    fn remove<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.shared.check_ended(worker)?;
            let folder = self.shared.folder(worker);
            blocking(move || folder.delete()).await.map_err(|source| self.shared.unusable(worker, source))?;
            lock(&self.shared.workers).remove(worker);
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what may wait for a disk or a shim away from the tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}
