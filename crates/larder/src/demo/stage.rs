//! The processes and folders of a run: a hub, `larder up`, and a temporary folder for both. All gone in the end.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base::Clock;
use cli::{Client, GlobalArgs, Progress, Screen, Surroundings};
use runtime::children::{Child, ChildGroup, ChildOutput, ChildSignal, ChildSpec};
use tempfile::TempDir;
use types::{ErrorCode, Fault};

use super::prepare::Prepared;
use crate::{grammar::IsolationWish, logging, roles::hub::ADDRESS_LINE, surroundings, up::UP_LINE};

/// Hashing of the weights, or a state to be made, on a machine under load.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// `up` ends its children within their own graces, 45 s in all.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// As many lines of a log as help and still fit a screen.
const LOG_LINES_SHOWN: usize = 12;

/// What a run is made from.
#[derive(Debug)]
pub(super) struct StageOptions {
    /// Packages and weights.
    pub(super) prepared: Prepared,
    /// How workers are kept apart.
    pub(super) isolation: IsolationWish,
}

/// A run's processes and folders.
#[derive(Debug)]
pub(super) struct Stage {
    options: StageOptions,
    program: PathBuf,
    folder: TempDir,
    hub: Option<Child>,
    up: Option<Child>,
}

impl Stage {
    /// Makes the temporary folder. Nothing is started yet.
    pub(super) fn new(options: StageOptions) -> Result<Self, Fault> {
        let trouble = |error: std::io::Error| {
            Fault::new(ErrorCode::DiskError, format!("can't make a folder for the run: {error}"))
        };
        let program = surroundings::own_program().map_err(trouble)?;
        let folder = tempfile::Builder::new().prefix("larder-demo-").tempdir().map_err(trouble)?;
        Ok(Self { options, program, folder, hub: None, up: None })
    }

    /// Returns what was prepared.
    pub(super) const fn prepared(&self) -> &Prepared {
        &self.options.prepared
    }

    /// Returns this program, under the path at which a person can start it again.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the data folder of the run's `up`.
    pub(super) fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns a folder for the example's own files.
    pub(super) fn example_folder(&self) -> PathBuf {
        self.folder.path().join("text-embed")
    }

    /// Starts the hub and `up`, and returns a client once both are ready.
    pub(super) async fn open(&mut self, screen: &mut Screen) -> Result<Client, Fault> {
        let mut progress = Progress::new();
        progress.step(screen, "starting a hub with the model");
        let models = self.options.prepared.models.clone();
        let words: [OsString; 5] =
            ["hub".into(), "serve".into(), models.into(), "--listen".into(), "127.0.0.1:0".into()];
        self.hub = Some(self.start("hub", words)?);
        let log = self.log("hub");
        let address = self.wait_for("hub", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix(ADDRESS_LINE).map(str::to_owned))
        });
        let hub_address = address.await?;
        progress.step(screen, "starting larder up");
        self.up = Some(self.start("up", self.up_words(&hub_address))?);
        let globals = GlobalArgs { data_dir: Some(self.data_folder()), ..GlobalArgs::default() };
        // Only the data folder counts here, whatever the environment names.
        let surroundings = Surroundings::default();
        let log = self.log("up");
        let is_up = || fs::read_to_string(&log).is_ok_and(|text| text.contains(UP_LINE)).then_some(());
        self.wait_for("up", is_up).await?;
        Client::new(surroundings.connection(&globals)?)
    }

    fn up_words(&self, hub: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["up".into(), "--data-dir".into(), self.data_folder().into()];
        words.extend(["--listen", "127.0.0.1:0", "--no-egress", "--hub-endpoint", hub].map(Into::into));
        if self.options.isolation == IsolationWish::None {
            words.extend(["--isolation", "none"].map(Into::into));
        }
        words
    }

    fn start(&self, name: &str, words: impl IntoIterator<Item = OsString>) -> Result<Child, Fault> {
        let log = logging::open(&self.log(name)).map_err(|error| {
            Fault::new(ErrorCode::DiskError, format!("can't write the log of {name}: {error}"))
        })?;
        let mut spec = ChildSpec {
            output: ChildOutput::File(log),
            group: ChildGroup::Own,
            ..ChildSpec::new(&self.program, words)
        };
        // What the user's own environment says of servers, keys and hubs is not meant for the demo.
        for name in ["LARDER_SERVER", "LARDER_KEY", "LARDER_DATA_DIR", "HF_ENDPOINT"] {
            spec.environment.insert(name.into(), None);
        }
        Child::start(spec).map_err(|error| error.fault())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Waits until `look` finds what it looks for; a process that ends first is a fault.
    async fn wait_for<T>(&mut self, name: &'static str, look: impl Fn() -> Option<T>) -> Result<T, Fault> {
        let clock = Clock::System;
        let deadline = clock.now() + READY_TIMEOUT;
        let log = self.log(name);
        let child = if name == "hub" { &mut self.hub } else { &mut self.up };
        let child = child.as_mut().expect("it was just started");
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let ended = tokio::time::timeout(LOOK_AGAIN, child.wait()).await;
            let fault = match ended {
                Ok(Ok(status)) => Fault::new(ErrorCode::Unavailable, format!("{name} ended with {status}")),
                Ok(Err(error)) => error.fault(),
                Err(_) if clock.now() < deadline => continue,
                Err(_) => Fault::new(ErrorCode::Unavailable, format!("{name} is not ready")),
            };
            return Err(with_log(fault, &log));
        }
    }

    /// Adds the ends of the logs to what went wrong.
    pub(super) fn with_logs(&self, fault: Fault) -> Fault {
        let logs = self.data_folder().join("logs");
        let mut hint = fault.hint.clone().unwrap_or_default();
        for (name, path) in [("server", logs.join("server.log")), ("agent", logs.join("agent.log"))] {
            let lines = logging::tail(&path, LOG_LINES_SHOWN);
            if !lines.is_empty() {
                hint.push_str(&format!("\nthe log of the {name} ends so:\n  {}", lines.join("\n  ")));
            }
        }
        Fault { hint: Some(hint.trim_start().to_owned()).filter(|hint| !hint.is_empty()), ..fault }
    }

    /// Ends what was started, in order, and removes the folder.
    pub(super) async fn close(mut self, screen: &mut Screen) {
        let mut progress = Progress::new();
        progress.step(screen, "ending what was started");
        for child in [self.up.take(), self.hub.take()].into_iter().flatten() {
            end(child).await;
        }
        progress.clear();
        let path = self.folder.path().to_owned();
        if let Err(error) = self.folder.close() {
            screen.warn(format!("{} could not be removed: {error}", path.display()));
        }
    }
}

async fn end(mut child: Child) {
    let told = child.signal(ChildSignal::Terminate);
    let ended = tokio::time::timeout(END_TIMEOUT, child.wait()).await;
    if told.is_err() || ended.is_err() {
        tracing::warn!("a process of the demo does not end; it is killed");
        let _ = child.signal(ChildSignal::Kill);
        let _ = child.wait().await;
    }
}

fn with_log(fault: Fault, log: &Path) -> Fault {
    let lines = logging::tail(log, LOG_LINES_SHOWN);
    fault.with_hint(format!("it said:\n  {}", lines.join("\n  ")))
}
