//! A Larder with a hub beside it, in a temporary folder; ended, by pid, when it goes out of scope.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than any step takes on a busy machine with two cores; a test that hits it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// What a test needs that `cargo xtask ci --setup-only` prepares.
pub(crate) struct Prepared {
    pub(crate) venv: PathBuf,
    pub(crate) models: PathBuf,
}

impl Prepared {
    /// Returns what was prepared, or `None` after saying what is skipped.
    pub(crate) fn find() -> Option<Self> {
        Some(Self {
            venv: testkit::prepared("LARDER_TEST_VENV")?,
            models: testkit::prepared("LARDER_TEST_MODELS")?,
        })
    }
}

/// A folder of this test suite's workers.
pub(crate) fn workers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers")
}

pub(crate) struct System {
    pub(crate) folder: TempDir,
    pub(crate) prepared: Prepared,
    pub(crate) address: String,
    pub(crate) hub_address: String,
    up: Option<Child>,
    hub: Option<Child>,
    client: reqwest::Client,
}

impl System {
    /// Starts a hub on `models` and a Larder that asks it.
    pub(crate) async fn start(prepared: Prepared) -> Self {
        let models = prepared.models.clone();
        Self::start_with_hub(prepared, &models, &[]).await
    }

    /// Starts a hub on a folder, with further arguments, and a Larder that asks it.
    pub(crate) async fn start_with_hub(prepared: Prepared, models: &Path, hub_arguments: &[&str]) -> Self {
        let mut system = Self {
            folder: TempDir::with_prefix("larder-test-").unwrap(),
            prepared,
            address: free_address(),
            hub_address: free_address(),
            up: None,
            hub: None,
            client: reqwest::Client::builder().timeout(DEADLINE).build().unwrap(),
        };
        system.start_hub(models, hub_arguments);
        system.start_up().await;
        system
    }

    pub(crate) fn start_hub(&mut self, models: &Path, arguments: &[&str]) {
        let mut command = self.command(&["hub", "serve"]);
        command.arg(models).args(["--listen", &self.hub_address]).args(arguments);
        self.hub = Some(spawn(&mut command, &self.folder.path().join("hub.log")));
    }

    pub(crate) fn end_hub(&mut self) {
        end(self.hub.take());
    }

    /// Starts `larder up` and waits until it answers.
    pub(crate) async fn start_up(&mut self) {
        let hub = format!("http://{}", self.hub_address);
        let mut command = self.command(&["up", "--no-egress", "--hub-endpoint", &hub]);
        command.args(["--listen", &self.address]);
        self.up = Some(spawn(&mut command, &self.folder.path().join("up.log")));
        let address = format!("http://{}/readyz", self.address);
        testkit::wait_for("larder up", DEADLINE, async || {
            let answer = self.client.get(&address).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Ends `larder up` as Ctrl-C does, and waits.
    pub(crate) fn end_up(&mut self) {
        end(self.up.take());
    }

    /// Returns the pid that a role wrote into the data folder.
    pub(crate) fn pid_of(&self, role: &str) -> i32 {
        let path = self.data_folder().join(format!("{role}.pid"));
        std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .trim()
            .parse()
            .unwrap()
    }

    /// Kills a role without any warning.
    pub(crate) fn kill(&self, role: &str) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid_of(role)), nix::sys::signal::SIGKILL)
            .unwrap();
    }

    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("LARDER_DATA_DIR", self.data_folder())
            .env("LARDER_SERVER", format!("http://{}", self.address));
        command
    }

    /// Runs the command line client and returns what it printed, whatever came of it.
    pub(crate) fn try_larder(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the command line client with `--output json` and returns what it printed.
    pub(crate) fn larder(&self, arguments: &[&str]) -> Value {
        let output = self.try_larder(&[arguments, &["--output", "json"]].concat());
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "larder {arguments:?} failed: {stderr}\n{}", self.logs());
        if stdout.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("larder {arguments:?}: {e}: {stdout}"))
    }

    /// Makes an endpoint that runs one of this suite's workers.
    pub(crate) fn create_endpoint(&self, name: &str, handler: &str, arguments: &[&str]) -> Value {
        let folder = workers();
        let command = format!("python {handler}");
        let venv = self.prepared.venv.to_string_lossy().into_owned();
        let fixed = ["endpoint", "create", name, "--command", &command, "--python", &venv, "--dir"];
        self.larder(&[&fixed[..], &[&folder.to_string_lossy()], arguments].concat())
    }

    pub(crate) fn key(&self) -> String {
        std::fs::read_to_string(self.data_folder().join("admin.key")).unwrap().trim().to_owned()
    }

    /// Sends a request with the first key and returns the status and the JSON of the answer.
    pub(crate) async fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        request = request.bearer_auth(self.key());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Waits until a job has ended and returns it as `/status` shows it.
    pub(crate) async fn ended_job(&self, endpoint: &str, job: &str) -> Value {
        let path = format!("/v2/{endpoint}/status/{job}");
        testkit::wait_for("the end of a job", DEADLINE, async || {
            let (status, view) = self.request("GET", &path, None).await;
            assert_eq!(status, 200, "{view}\n{}", self.logs());
            let ended = ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].contains(&view["status"].as_str()?);
            ended.then_some(view)
        })
        .await
    }

    /// The same as [`System::ended_job`] when the server may be away for a while.
    pub(crate) async fn ended_job_after_restart(&self, endpoint: &str, job: &str) -> Value {
        let ready = format!("http://{}/readyz", self.address);
        testkit::wait_for("the server", DEADLINE, async || {
            self.client.get(&ready).send().await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
        self.ended_job(endpoint, job).await
    }

    /// Waits until no worker of an endpoint is left that could take a job.
    pub(crate) async fn scaled_to_zero(&self, endpoint: &str) {
        let path = format!("/v2/{endpoint}/health");
        testkit::wait_for("no workers", DEADLINE, async || {
            let (_, health) = self.request("GET", &path, None).await;
            let workers = &health["workers"];
            (workers["ready"] == 0 && workers["initializing"] == 0 && workers["running"] == 0).then_some(())
        })
        .await;
    }

    /// Returns the ends of all logs, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        ["up.log", "hub.log"]
            .iter()
            .map(|name| {
                let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
            })
            .collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.end_up();
        self.end_hub();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Ends a child as Ctrl-C does, and for good when that does not help.
fn end(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
    let begun = std::time::Instant::now();
    while begun.elapsed() < DEADLINE {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns an address that was free a moment ago.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
