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

/// How a system differs from the usual one: a hub on the prepared models, workers kept apart and without egress.
#[derive(Default)]
pub(crate) struct Setting<'a> {
    /// The models on the hub.
    pub(crate) models: Option<&'a Path>,
    /// Further arguments of the hub.
    pub(crate) hub_arguments: &'a [&'a str],
    /// The address of a hub that the test runs itself: no other is started.
    pub(crate) hub_address: Option<String>,
    /// Arguments of `larder up` in place of the usual `--no-egress`.
    pub(crate) up_arguments: Option<&'a [&'a str]>,
    /// The data folder is a file system of this size, which only `larder up` sees. Takes root.
    pub(crate) disk_size: Option<&'a str>,
}

pub(crate) struct System {
    pub(crate) folder: TempDir,
    pub(crate) prepared: Prepared,
    pub(crate) address: String,
    pub(crate) hub_address: String,
    up_arguments: Vec<String>,
    disk_size: Option<String>,
    up: Option<Child>,
    hub: Option<Child>,
    client: reqwest::Client,
}

impl System {
    /// Starts a hub on the prepared models and a Larder that asks it.
    pub(crate) async fn start(prepared: Prepared) -> Self {
        Self::start_with(prepared, Setting::default()).await
    }

    /// Starts a hub on a folder, with further arguments, and a Larder that asks it.
    pub(crate) async fn start_with_hub(prepared: Prepared, models: &Path, hub_arguments: &[&str]) -> Self {
        Self::start_with(prepared, Setting { models: Some(models), hub_arguments, ..Setting::default() })
            .await
    }

    /// Starts a Larder, and a hub beside it unless the test has one.
    pub(crate) async fn start_with(prepared: Prepared, setting: Setting<'_>) -> Self {
        let Setting { models, hub_arguments, hub_address, up_arguments, disk_size } = setting;
        let models = models.unwrap_or(&prepared.models).to_owned();
        let own_hub = hub_address.is_none();
        let up_arguments = up_arguments.unwrap_or(&["--no-egress"]);
        let mut system = Self {
            folder: TempDir::with_prefix("larder-test-").unwrap(),
            prepared,
            address: free_address(),
            hub_address: hub_address.unwrap_or_else(free_address),
            up_arguments: up_arguments.iter().map(|&argument| argument.to_owned()).collect(),
            disk_size: disk_size.map(ToOwned::to_owned),
            up: None,
            hub: None,
            client: reqwest::Client::builder().timeout(DEADLINE).build().unwrap(),
        };
        if own_hub {
            system.start_hub(&models, hub_arguments);
        }
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

    /// Starts `larder up` and waits until the server answers and the agent has joined it.
    pub(crate) async fn start_up(&mut self) {
        let mut command = self.up_command();
        self.up = Some(spawn(&mut command, &self.folder.path().join("up.log")));
        let address = format!("http://{}/readyz", self.address);
        testkit::wait_for("the server", DEADLINE, async || {
            let answer = self.client.get(&address).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        testkit::wait_for("the agent", DEADLINE, async || {
            let (_, list) = self.request("GET", "/api/v2/hosts", None).await;
            list["hosts"].as_array()?.iter().any(|host| host["connected"] == true).then_some(())
        })
        .await;
    }

    /// Returns the command that starts `larder up`.
    pub(crate) fn up_command(&self) -> Command {
        let hub = format!("http://{}", self.hub_address);
        let mut arguments = vec!["up", "--hub-endpoint", &hub, "--listen", &self.address];
        arguments.extend(self.up_arguments.iter().map(String::as_str));
        let Some(size) = &self.disk_size else { return self.command(&arguments) };
        std::fs::create_dir_all(self.own_data_folder()).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=$0 none \"$LARDER_DATA_DIR\" && exec \"$@\"").arg(size);
        command.arg(env!("CARGO_BIN_EXE_larder")).args(&arguments);
        clear_environment(&mut command);
        self.surround(&mut command);
        command.env("LARDER_DATA_DIR", self.own_data_folder());
        command
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

    /// Returns the data folder, by a path that leads to it from here.
    pub(crate) fn data_folder(&self) -> PathBuf {
        let own = self.own_data_folder();
        match (&self.disk_size, &self.up) {
            (Some(_), Some(up)) => {
                let inside = own.strip_prefix("/").unwrap();
                PathBuf::from(format!("/proc/{}/root", up.id())).join(inside)
            }
            (Some(_), None) | (None, _) => own,
        }
    }

    /// Returns the data folder's path as `larder up` knows it.
    fn own_data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns a command of this program, in surroundings of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        command
            .env("HOME", self.folder.path())
            .env("LARDER_DATA_DIR", self.data_folder())
            .env("LARDER_SERVER", format!("http://{}", self.address));
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

/// Returns a command of this program that inherits nothing but where programs are found.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    clear_environment(command.args(arguments));
    command
}

fn clear_environment(command: &mut Command) {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
}

pub(crate) fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Ends a child as Ctrl-C does, and for good when that does not help.
pub(crate) fn end(child: Option<Child>) {
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
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
