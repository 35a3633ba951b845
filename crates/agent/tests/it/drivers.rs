//! The simulated driver, with a memory of what it was given.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base::Clock;
use runtime::{
    Adopted, BoxFuture, Driver, DriverError, DriverEvent, LogLine, ResolvedStart, SimDriver, Started,
};
use tokio::sync::mpsc;
use types::{Isolation, WorkerId};

/// What a worker was started with.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) start: ResolvedStart,
}

#[derive(Debug)]
pub(crate) struct WatchedDriver {
    pub(crate) sim: SimDriver,
    seen: Arc<Mutex<BTreeMap<WorkerId, Seen>>>,
}

impl WatchedDriver {
    pub(crate) fn new() -> Self {
        Self { sim: SimDriver::new(Clock::System), seen: Arc::default() }
    }

    /// The driver of the next agent on the same host.
    pub(crate) fn restarted(&self) -> Self {
        Self { sim: self.sim.restarted(), seen: self.seen.clone() }
    }

    pub(crate) fn seen(&self, worker: &WorkerId) -> Seen {
        self.seen.lock().unwrap()[worker].clone()
    }
}

/// Returns the environment of a worker as its process would see it.
pub(crate) fn environment(start: &ResolvedStart, url: &str) -> BTreeMap<String, String> {
    let values = start.env.iter().map(|(name, value)| (name.clone(), value.expose().clone()));
    let relay = start.relay_env.iter().map(|(name, path)| (name.clone(), format!("{url}{}", path.expose())));
    values.chain(relay).collect()
}

impl Driver for WatchedDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Isolation, DriverError>> {
        self.sim.probe()
    }

    fn start(&self, start: ResolvedStart) -> BoxFuture<'_, Result<Started, DriverError>> {
        Box::pin(async move {
            let started = self.sim.start(start.clone()).await?;
            let env = environment(&start, &started.relay.url);
            self.seen.lock().unwrap().insert(start.worker.clone(), Seen { env, start });
            Ok(started)
        })
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, grace: Duration) -> BoxFuture<'a, Result<(), DriverError>> {
        self.sim.stop(worker, grace)
    }

    fn kill<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        self.sim.kill(worker)
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Adopted>, DriverError>> {
        self.sim.adopt()
    }

    fn take_events(&self) -> Option<mpsc::Receiver<DriverEvent>> {
        self.sim.take_events()
    }

    fn logs<'a>(
        &'a self,
        worker: &'a WorkerId,
        lines_max: usize,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, DriverError>> {
        self.sim.logs(worker, lines_max)
    }

    fn strip<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        self.sim.strip(worker)
    }

    fn remove<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        self.sim.remove(worker)
    }
}
