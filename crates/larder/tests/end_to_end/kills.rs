//! kill -9 of an agent that fetches, at random moments, again and again: nothing wrong is ever shown, and each time at
//! most one extent for each open stream is fetched twice. A proxy before the hub's bytes counts what comes.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{ByteSize, Clock, Entropy};
use hub_server::{HubServer, HubServerOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::system::{DEADLINE, end, free_address, program, spawn};

const MODEL: &str = "acme/shards";
/// Each shard is several extents of the store's default, and an end.
const SHARD_BYTES: usize = 27_000_000;
const SHARDS: usize = 3;
/// The store's default extent: what one open stream may lose.
const EXTENT_BYTES: u64 = 8 << 20;
/// A stream has this much under way in sockets and buffers at most, beside its extent.
const UNDER_WAY_BYTES: u64 = 4 << 20;
/// Slow enough that a fetch lasts some kills, fast enough that a hundred kills are a matter of minutes.
const RATE: ByteSize = ByteSize(12_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_killed_again_and_again_stays_right_and_loses_little() {
    let kills = testkit::cases(3);
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("seed {seed}, {kills} kills");
    let entropy = Entropy::seeded(seed);
    let models = tempfile::tempdir().unwrap();
    write_model(&models.path().join(MODEL), &entropy);
    let meter = Meter::start().await;
    let hub = serve(models.path(), meter.address).await;
    meter.before(hub.cdn);
    let mut site = Site::start(&hub.endpoint).await;

    let size = (SHARD_BYTES * SHARDS) as u64;
    let (mut killed, mut allowed) = (0, size);
    let mut done = false;
    while killed < kills || !done {
        site.pull().await;
        let pause = Duration::from_millis(200 + entropy.number() % 1500);
        let ended = tokio::time::timeout(pause, site.ready()).await.is_ok();
        if killed < kills && !ended {
            allowed += meter.open.load(Ordering::Relaxed) * (EXTENT_BYTES + UNDER_WAY_BYTES);
            site.kill_agent().await;
            killed += 1;
            site.start_agent().await;
        } else {
            site.ready().await;
            let found = site.request("POST", "/api/v2/models/verify").await;
            assert_eq!(found["damaged"], json!([]), "seed {seed}: {found}");
            assert_eq!(found["bytes"].as_u64().unwrap() / size, 1, "seed {seed}: {found}");
            done = true;
            if killed < kills {
                site.request("DELETE", "/api/v2/models").await;
                allowed += size;
            }
        }
    }
    let fetched = meter.bytes.load(Ordering::Relaxed);
    println!("{killed} kills, {fetched} bytes fetched, at most {allowed} allowed");
    assert!(fetched <= allowed + allowed / 100, "seed {seed}: {fetched} bytes fetched, {allowed} allowed");
    drop(site);
    hub.stop.cancel();
}

fn write_model(folder: &Path, entropy: &Entropy) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    for shard in 1..=SHARDS {
        let mut bytes = Vec::with_capacity(SHARD_BYTES + 4096);
        while bytes.len() < SHARD_BYTES {
            bytes.extend_from_slice(&entropy.bytes::<4096>());
        }
        bytes.truncate(SHARD_BYTES);
        fs::write(folder.join(format!("model-{shard:05}-of-{SHARDS:05}.safetensors")), bytes).unwrap();
    }
}

struct Serving {
    endpoint: String,
    cdn: SocketAddr,
    stop: CancellationToken,
}

async fn serve(folder: &Path, meter: SocketAddr) -> Serving {
    let mut options = HubServerOptions::new(folder);
    options.cdn_url = Some(format!("http://{meter}"));
    options.rate_max = Some(RATE);
    let server = HubServer::new(options, Clock::System, Entropy::System).await.unwrap();
    let (endpoint, cdn) = (server.handle().endpoint(), server.handle().cdn_address());
    let stop = CancellationToken::new();
    tokio::spawn(server.run(stop.clone()));
    Serving { endpoint, cdn, stop }
}

/// Passes connections on and counts what comes back.
#[derive(Clone)]
struct Meter {
    address: SocketAddr,
    target: Arc<std::sync::OnceLock<SocketAddr>>,
    bytes: Arc<AtomicU64>,
    /// Connections that are open now.
    open: Arc<AtomicU64>,
}

impl Meter {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let meter = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::default(),
            bytes: Arc::default(),
            open: Arc::default(),
        };
        let passing = meter.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(passing.clone().pass(client));
            }
        });
        meter
    }

    fn before(&self, target: SocketAddr) {
        self.target.set(target).unwrap();
    }

    async fn pass(self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(*self.target.get().unwrap()).await else { return };
        self.open.fetch_add(1, Ordering::Relaxed);
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let asking = async {
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        };
        let answering = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read) = from_server.read(&mut buffer).await
                && read > 0
                && to_client.write_all(&buffer[..read]).await.is_ok()
            {
                self.bytes.fetch_add(read as u64, Ordering::Relaxed);
            }
        };
        // Whichever side ends first ends the other.
        tokio::select! {
            () = asking => {}
            () = answering => {}
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server and an agent, each a process of its own, so that one can be started again at once.
struct Site {
    folder: tempfile::TempDir,
    address: String,
    client: reqwest::Client,
    server: Option<Child>,
    agent: Option<Child>,
}

impl Site {
    async fn start(hub: &str) -> Self {
        let folder = tempfile::TempDir::with_prefix("larder-test-").unwrap();
        let address = free_address();
        let mut command = program(&["server", "--listen", &address, "--hub-endpoint", hub]);
        let server = Some(spawn(command.env("LARDER_DATA_DIR", data(&folder)), &folder.path().join("log")));
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        let mut site = Self { folder, address, client, server, agent: None };
        testkit::wait_for("the server", DEADLINE, async || {
            let ready = format!("http://{}/readyz", site.address);
            let answer = site.client.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        site.start_agent().await;
        site
    }

    async fn start_agent(&mut self) {
        let mut command = program(&["agent", "--no-egress"]);
        let log = self.folder.path().join("log");
        self.agent = Some(spawn(command.env("LARDER_DATA_DIR", data(&self.folder)), &log));
        self.connected(true).await;
    }

    async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
        self.connected(false).await;
    }

    /// Waits until the server has seen the agent come or go.
    async fn connected(&self, expected: bool) {
        testkit::wait_for("the link", DEADLINE, async || {
            let list = self.request("GET", "/api/v2/hosts").await;
            let connected = list["hosts"].as_array()?.iter().any(|host| host["connected"] == true);
            (connected == expected).then_some(())
        })
        .await;
    }

    /// Asks for the model, unless it is on its way already.
    async fn pull(&self) {
        let address = format!("http://{}/api/v2/models/pull", self.address);
        let request = self.client.post(address).bearer_auth(self.key());
        let answer = request.json(&json!({"reference": MODEL})).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until the model is whole.
    async fn ready(&self) {
        testkit::wait_for("the model", DEADLINE, async || {
            let list = self.request("GET", "/api/v2/models").await;
            let model = list["models"].as_array()?.iter().find(|model| model["repo"] == MODEL)?;
            (model["status"]["state"] == "ready").then_some(())
        })
        .await;
    }

    async fn request(&self, method: &str, path: &str) -> Value {
        let query =
            if path.starts_with("/api/v2/models") { format!("?reference={MODEL}") } else { String::new() };
        let address = format!("http://{}{path}{query}", self.address);
        let request = self.client.request(method.parse().unwrap(), address).bearer_auth(self.key());
        request.send().await.unwrap().json().await.unwrap_or(Value::Null)
    }

    fn key(&self) -> String {
        fs::read_to_string(data(&self.folder).join("admin.key")).unwrap().trim().to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end(self.agent.take());
        end(self.server.take());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

fn data(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("data")
}
