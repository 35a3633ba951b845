//! What the cases stand on: hosts with a driver each, starts, and waiting with a deadline.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base::Clock;
use runtime::{
    Confinement, Driver, DriverEvent, Egress, ExitReason, ProcessDriver, ProcessOptions, ResolvedStart,
    ShimProgram, SimDriver,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use types::{CommandLine, WorkerId, WorkerLimits};

/// Every wait of a test ends after this, on the busiest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Names a copy of the tests' program, for a user who may not see where it was built.
pub(crate) const PROGRAM_VARIABLE: &str = "LARDER_TEST_PROGRAM";

/// Returns the program of the tests, which is a shim and many kinds of workers.
pub(crate) fn program() -> PathBuf {
    std::env::var_os(PROGRAM_VARIABLE)
        .map_or_else(|| env!("CARGO_BIN_EXE_shim-for-tests").into(), PathBuf::from)
}

/// What a worker of a case does.
pub(crate) enum Behaviour {
    Exit(i32),
    Signal(i32),
    Run,
    Stubborn,
    Say(&'static [&'static str]),
    Missing,
}

/// Which driver a case runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sim,
    Sandbox,
    Plain,
}

/// A host with one driver, and the events that came from it.
pub(crate) struct Host {
    kind: Kind,
    pub(crate) folder: TempDir,
    pub(crate) driver: Arc<dyn Driver>,
    sim: Option<Arc<SimDriver>>,
    events: mpsc::Receiver<DriverEvent>,
}

impl Host {
    pub(crate) fn new(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("larder-runtime-").tempdir().unwrap();
        let sim = (kind == Kind::Sim).then(|| Arc::new(SimDriver::new(Clock::System)));
        let driver = driver(kind, &folder, sim.as_ref());
        let events = driver.take_events().unwrap();
        Self { kind, folder, driver, sim, events }
    }

    /// Puts a new driver in the place of the old one, as when an agent is started again.
    pub(crate) fn restart(&mut self) {
        self.sim = self.sim.take().map(|sim| Arc::new(sim.restarted()));
        self.driver = driver(self.kind, &self.folder, self.sim.as_ref());
        self.events = self.driver.take_events().unwrap();
    }

    pub(crate) fn command(&self, behaviour: &Behaviour) -> CommandLine {
        let shell = |script: &str| Vec::from(shell(script));
        let with = |first: &str, words: &[&str]| {
            [&[first], words].concat().iter().map(ToString::to_string).collect()
        };
        let words: Vec<String> = match (self.kind, behaviour) {
            (Kind::Sim, Behaviour::Exit(code)) => with("sim-exit", &[&code.to_string()]),
            (Kind::Sim, Behaviour::Signal(signal)) => with("sim-signal", &[&signal.to_string()]),
            (Kind::Sim, Behaviour::Run) => with("sim-run", &[]),
            (Kind::Sim, Behaviour::Stubborn) => with("sim-stubborn", &[]),
            (Kind::Sim, Behaviour::Say(words)) => with("sim-say", words),
            (Kind::Sim, Behaviour::Missing) => with("sim-missing", &[]),
            (_, Behaviour::Exit(code)) => shell(&format!("exit {code}")),
            (_, Behaviour::Signal(signal)) => shell(&format!("kill -{signal} $$")),
            (_, Behaviour::Run) => with("sleep", &["1000"]),
            (_, Behaviour::Stubborn) => shell("trap '' TERM; echo ready; while :; do sleep 1; done"),
            (_, Behaviour::Say(words)) => {
                [shell("for word; do echo \"$word\"; done; exec sleep 1000"), with("sh", words)].concat()
            }
            (_, Behaviour::Missing) => with("no-such-program", &[]),
        };
        CommandLine::try_from(words).unwrap()
    }

    /// Returns the next event.
    pub(crate) async fn event(&mut self) -> DriverEvent {
        tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("a driver")
    }

    /// Returns how a worker ended, skipping other events.
    pub(crate) async fn end_of(&mut self, wanted: &WorkerId) -> ExitReason {
        loop {
            match self.event().await {
                DriverEvent::Exited { worker, status, .. } if worker == *wanted => return status,
                DriverEvent::Exited { .. } | DriverEvent::ProcessStarted { .. } => {}
            }
        }
    }

    /// Returns what a worker wrote, once it has written at least so many lines.
    pub(crate) async fn lines(&self, worker: &WorkerId, at_least: usize) -> Vec<String> {
        wait_for("lines in the log", async || {
            let lines = self.driver.logs(worker, 100_000).await.unwrap();
            (lines.len() >= at_least).then(|| lines.into_iter().map(|line| line.text).collect())
        })
        .await
    }
}

impl Drop for Host {
    /// Ends what a case that failed has left running.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.folder.path().join("run")).into_iter().flatten().flatten() {
            let record = std::fs::read(entry.path().join("worker.json")).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
            let shim = record["processes"]["shim"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            if let (Some(shim), false) =
                (shim.and_then(rustix::process::Pid::from_raw), entry.path().join("exit.json").exists())
            {
                let _ = rustix::process::kill_process(shim, rustix::process::Signal::KILL);
            }
        }
    }
}

fn driver(kind: Kind, folder: &TempDir, sim: Option<&Arc<SimDriver>>) -> Arc<dyn Driver> {
    let confinement = match kind {
        Kind::Sim => return Arc::<SimDriver>::clone(sim.expect("a simulated host has one")),
        Kind::Sandbox => Confinement::Sandbox,
        Kind::Plain => Confinement::None,
    };
    let options = ProcessOptions {
        run_folder: folder.path().join("run"),
        shim: ShimProgram { program: program(), arguments: vec!["shim".to_owned()] },
        confinement,
        protected: vec![folder.path().join("data")],
    };
    Arc::new(ProcessDriver::new(options, Clock::System).unwrap())
}

/// Returns a command of these words.
pub(crate) fn command(words: &[&str]) -> CommandLine {
    CommandLine::try_from(words.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

/// Returns a command that runs a script.
pub(crate) fn shell(script: &str) -> CommandLine {
    command(&["sh", "-c", script])
}

/// Whether the agent of these tests is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns an id for the worker of a case.
pub(crate) fn worker(name: &str) -> WorkerId {
    format!("wk_{name}").parse().unwrap()
}

/// Returns a start with nothing but a command, without egress.
pub(crate) fn start(name: &str, command: CommandLine) -> ResolvedStart {
    ResolvedStart {
        worker: worker(name),
        command,
        env: Vec::new(),
        relay_env: Vec::new(),
        folder: None,
        python: None,
        mounts: Vec::new(),
        devices: Vec::new(),
        limits: WorkerLimits::default(),
        egress: Egress::None,
    }
}

/// Asks until there is an answer.
pub(crate) async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("no {what} in time"))
}
