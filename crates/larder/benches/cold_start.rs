//! What a start on a host that holds the model costs, step by step, with the unmodified SDK as the worker.
//!
//! Each round sends one request to an endpoint whose worker was scaled to zero and reads the start's own timeline. Beside
//! it, in the same run: a bare `unshare` with an exec, and the SDK's own import, which no server can shorten.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on stops")]

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const ROUNDS: usize = 20;
const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
const DEADLINE: Duration = Duration::from_secs(120);

/// The steps that are reported: from one mark of the timeline to another.
const STEPS: [(&str, &str, &str); 5] = [
    ("queued → process started", "queued", "process_started"),
    ("process started → first ping", "process_started", "first_ping"),
    ("first ping → first take", "first_ping", "first_take"),
    ("first take → done", "first_take", "first_done"),
    ("request in → answer out", "queued", "first_done"),
];

#[tokio::main]
async fn main() {
    let (Some(venv), Some(models)) =
        (std::env::var_os("LARDER_TEST_VENV"), std::env::var_os("LARDER_TEST_MODELS"))
    else {
        println!("not measured: LARDER_TEST_VENV and LARDER_TEST_MODELS are not set");
        return;
    };
    let venv = PathBuf::from(venv);
    let folder = tempfile::tempdir().unwrap();
    let larder = Larder::start(folder.path(), Path::new(&models)).await;
    larder.command(&[
        "endpoint",
        "create",
        "bench",
        "--model",
        MODEL,
        "--command",
        "python handler.py",
        "--dir",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/text-embed"),
        "--python",
        &venv.to_string_lossy(),
        "--idle-timeout",
        "1",
    ]);

    let mut steps: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut bare = Vec::new();
    let mut import = Vec::new();
    // The first start fetches the model; it is not counted.
    larder.one_start().await;
    for _ in 0..ROUNDS {
        let timeline = larder.one_start().await;
        for (name, from, to) in STEPS {
            let step = timeline.get(to).zip(timeline.get(from)).map(|(to, from)| (to - from) as f64);
            steps.entry(name).or_default().push(step.unwrap_or_else(|| panic!("{name}: {timeline:?}")));
        }
        bare.push(timed(
            Command::new("unshare").args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "true"]),
        ));
        import.push(timed(Command::new(venv.join("bin/python")).args(["-c", "import runpod"])));
    }
    println!("{ROUNDS} cached cold starts, milliseconds: median (95th percentile)");
    for (name, _, _) in STEPS {
        print_row(name, steps.get_mut(name).expect("every step was measured"));
    }
    print_row("bare unshare and exec", &mut bare);
    print_row("import runpod", &mut import);
}

fn print_row(name: &str, times: &mut [f64]) {
    times.sort_unstable_by(f64::total_cmp);
    println!("{name:<30} {:>7.0} ({:.0})", times[times.len() / 2], times[times.len() * 95 / 100]);
}

fn timed(command: &mut Command) -> f64 {
    command.env("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true").env("RUNPOD_SKIP_GPU_CHECK", "true");
    let begun = Instant::now();
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    begun.elapsed().as_secs_f64() * 1000.0
}

struct Larder {
    folder: PathBuf,
    address: String,
    hub: Child,
    up: Child,
    client: reqwest::Client,
}

impl Larder {
    async fn start(folder: &Path, models: &Path) -> Self {
        let (hub_address, address) = (free_address(), free_address());
        let spawn = |arguments: &[&str]| {
            Command::new(env!("CARGO_BIN_EXE_larder"))
                .args(arguments)
                .env("LARDER_DATA_DIR", folder.join("data"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let hub = spawn(&["hub", "serve", &models.to_string_lossy(), "--listen", &hub_address]);
        let endpoint = format!("http://{hub_address}");
        let up = spawn(&["up", "--no-egress", "--hub-endpoint", &endpoint, "--listen", &address]);
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        let larder = Self { folder: folder.to_owned(), address, hub, up, client };
        let ready = format!("http://{}/readyz", larder.address);
        let begun = Instant::now();
        while !larder.client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(begun.elapsed() < DEADLINE, "larder up does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        larder
    }

    fn command(&self, arguments: &[&str]) {
        let status = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(arguments)
            .env("LARDER_DATA_DIR", self.folder.join("data"))
            .env("LARDER_SERVER", format!("http://{}", self.address))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "larder {arguments:?} failed");
    }

    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let key = fs::read_to_string(self.folder.join("data/admin.key")).unwrap();
        let request = self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.address));
        let request = request.bearer_auth(key.trim());
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Sends a request, waits until its worker is gone, and returns the timeline of its start in milliseconds.
    async fn one_start(&self) -> BTreeMap<String, i64> {
        let body = json!({"input": {"text": "hello"}});
        let job = self.request("POST", "/v2/bench/runsync", Some(body)).await;
        assert_eq!(job["status"], "COMPLETED", "{job}");
        let worker = job["workerId"].as_str().unwrap().to_owned();
        let begun = Instant::now();
        loop {
            let view = self.request("GET", &format!("/api/v2/workers/{worker}"), None).await;
            if view["phase"] == "stopped" {
                let marks = view["timeline"].as_array().unwrap();
                let mark = |entry: &Value| {
                    (entry["mark"].as_str().unwrap().to_owned(), entry["after"].as_i64().unwrap())
                };
                return marks.iter().map(mark).collect();
            }
            assert!(begun.elapsed() < DEADLINE, "the worker does not end: {view}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        for child in [&mut self.up, &mut self.hub] {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
