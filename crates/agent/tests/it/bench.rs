//! An agent with a fake server, on a temporary folder.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use agent::{Agent, AgentHandle, AgentLimits, AgentOptions, PassThrough, RelayLimits, Surroundings};
use api::{Desired, DesiredModel, DesiredWorker, ViewOrder, WorkerIntent, WorkerState};
use base::{ByteSize, Clock, Entropy, RealDisk};
use runtime::{Driver, Egress};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use types::{CommandLine, Digest, HostCapacity, HubAccess, Isolation, Launch, ModelKey, Stamp, WorkerId};

use crate::{
    drivers::WatchedDriver,
    server::{Commits, Server},
};

pub(crate) const ENDPOINT: &str = "ep_1";
/// What models may take: few fit, so that room has to be made.
pub(crate) const CACHE_BYTES_MAX: ByteSize = ByteSize(8_000_000);
/// Workers reach nothing but their agent, and the agent asks nothing for them.
const CUT_OFF: (Egress, PassThrough) = (Egress::None, PassThrough::Refused);

/// Limits under which a test need not wait.
pub(crate) fn quick() -> AgentLimits {
    AgentLimits {
        relay: RelayLimits {
            hold: Duration::from_millis(400),
            hold_spread: Duration::from_millis(10),
            drain_hold: Duration::from_millis(50),
            acceptance_timeout: Duration::from_millis(400),
            body_bytes_max: ByteSize(10_000),
        },
        stop_grace: Duration::from_millis(200),
        ..AgentLimits::default()
    }
}

/// Limits under which nothing runs out while a test looks.
pub(crate) fn patient() -> AgentLimits {
    let relay = RelayLimits {
        hold: Duration::from_secs(20),
        acceptance_timeout: Duration::from_secs(60),
        ..quick().relay
    };
    AgentLimits { relay, ..quick() }
}

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
    pub(crate) handle: AgentHandle,
    token: CancellationToken,
    run: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn new(driver: Arc<dyn Driver>, limits: AgentLimits, commits: Commits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::new();
        let (handle, token, run) = open(folder.path(), driver, CUT_OFF, limits, &server).await;
        server.come_back(commits).await;
        Self { folder, server, handle, token, run }
    }

    /// A bench without a worker, whose workers may reach what `egress` says.
    pub(crate) async fn with_egress(driver: Arc<dyn Driver>, egress: Egress, limits: AgentLimits) -> Self {
        Self::with_edge(driver, egress, PassThrough::Refused, limits).await
    }

    /// A bench without a worker, whose agent passes requests for the hub on or not.
    pub(crate) async fn with_edge(
        driver: Arc<dyn Driver>,
        egress: Egress,
        pass_through: PassThrough,
        limits: AgentLimits,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::new();
        let (handle, token, run) = open(folder.path(), driver, (egress, pass_through), limits, &server).await;
        server.come_back(Commits::AtOnce).await;
        Self { folder, server, handle, token, run }
    }

    /// A bench with one simulated worker that runs.
    pub(crate) async fn with_worker(
        limits: AgentLimits,
        commits: Commits,
    ) -> (Self, Arc<WatchedDriver>, Client) {
        let driver = Arc::new(WatchedDriver::new());
        let bench = Self::new(driver.clone(), limits, commits).await;
        let order = worker("wk_1", WorkerIntent::Run, &["run"]);
        bench.server.desire(desired(1, vec![order]));
        bench.alive("wk_1").await;
        let client = Client::of(&driver, "wk_1");
        (bench, driver, client)
    }

    /// Waits until a worker's process runs.
    pub(crate) async fn alive(&self, worker: &str) {
        self.state(worker, |state| *state == WorkerState::Alive).await;
    }

    /// Waits until a worker is as `is` says.
    pub(crate) async fn state(&self, worker: &str, is: impl Fn(&WorkerState) -> bool) -> WorkerState {
        let worker: WorkerId = worker.parse().unwrap();
        let observed = self
            .server
            .observe(&format!("the state of {worker}"), |observed| {
                observed.workers.iter().any(|report| report.worker == worker && is(&report.state))
            })
            .await;
        let report = observed.workers.into_iter().find(|report| report.worker == worker);
        report.unwrap().state
    }

    /// Ends the agent without a word to anybody, as a kill does.
    pub(crate) async fn kill(&mut self) {
        self.run.abort();
        let _ = (&mut self.run).await;
    }

    /// Opens an agent on the same folder.
    pub(crate) async fn reopen(&mut self, driver: Arc<dyn Driver>, limits: AgentLimits, commits: Commits) {
        self.server.go_away();
        let (handle, token, run) = open(self.folder.path(), driver, CUT_OFF, limits, &self.server).await;
        (self.handle, self.token, self.run) = (handle, token, run);
        self.server.come_back(commits).await;
    }

    /// Ends the agent in order.
    pub(crate) async fn end(mut self) {
        self.stop().await;
    }

    /// Ends the agent in order, to open another.
    pub(crate) async fn stop(&mut self) {
        self.token.cancel();
        tokio::time::timeout(crate::server::DEADLINE, &mut self.run).await.unwrap().unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.run.abort();
    }
}

async fn open(
    folder: &Path,
    driver: Arc<dyn Driver>,
    (egress, pass_through): (Egress, PassThrough),
    limits: AgentLimits,
    server: &Server,
) -> (AgentHandle, CancellationToken, JoinHandle<()>) {
    let options = AgentOptions {
        data_dir: folder.to_owned(),
        sources: agent::SideSources::default(),
        capacity: HostCapacity {
            cpu_count: 2,
            memory: ByteSize::mib(1024),
            gpus: Vec::new(),
            workers_max: 4,
            cache_bytes_max: CACHE_BYTES_MAX,
            isolation: Isolation::Unprivileged,
        },
        egress,
        pass_through,
        connect: server.dial.clone(),
        limits,
    };
    let surroundings =
        Surroundings { clock: Clock::System, entropy: Entropy::System, disk: Arc::new(RealDisk), driver };
    // An aborted agent lets go of its store when its last task is dropped, which is soon.
    let mut tries = 0;
    let (agent, handle) = loop {
        match Agent::open(options.clone(), surroundings.clone()).await {
            Ok(opened) => break opened,
            Err(error) if tries < 100 => {
                tries += 1;
                assert_eq!(error.fault().code, types::ErrorCode::StoreLocked, "{error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("the agent does not open: {error:?}"),
        }
    };
    let token = CancellationToken::new();
    let run = tokio::spawn(agent.run(token.clone()));
    (handle, token, run)
}

pub(crate) fn desired(generation: u64, workers: Vec<DesiredWorker>) -> Desired {
    Desired { stamp: Stamp { incarnation: 1, generation }, workers, ..Desired::default() }
}

pub(crate) fn with_models(mut desired: Desired, models: Vec<DesiredModel>) -> Desired {
    desired.models = models;
    desired
}

pub(crate) fn worker(id: &str, intent: WorkerIntent, command: &[&str]) -> DesiredWorker {
    let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    DesiredWorker {
        worker: id.parse().unwrap(),
        tenant: "tn_default".parse().unwrap(),
        endpoint: ENDPOINT.parse().unwrap(),
        endpoint_name: "embed".parse().unwrap(),
        release: "rel_1".parse().unwrap(),
        intent,
        launch: Launch::Command {
            command: CommandLine::try_from(words).unwrap(),
            folder: None,
            python: None,
        },
        env: None,
        views: Vec::new(),
        hub_access: HubAccess::Offline,
        hub: None,
        gpus: Vec::new(),
        limits: types::WorkerLimits::default(),
    }
}

pub(crate) fn in_folder(mut order: DesiredWorker, digest: Digest) -> DesiredWorker {
    if let Launch::Command { folder, .. } = &mut order.launch {
        *folder = Some(digest);
    }
    order
}

pub(crate) fn with_view(mut order: DesiredWorker, key: &ModelKey, spelled: &str) -> DesiredWorker {
    let reference = spelled.parse().unwrap();
    order.views.push(ViewOrder { reference, key: key.clone(), refs: BTreeSet::new() });
    order
}

/// A worker as HTTP sees it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: WorkerId,
    base: String,
    secret: String,
    http: reqwest::Client,
}

/// Status, content type and body of an answer.
pub(crate) type Answer = (u16, String, String);

impl Client {
    pub(crate) fn of(driver: &WatchedDriver, worker: &str) -> Self {
        let id: WorkerId = worker.parse().unwrap();
        let env = driver.seen(&id).env;
        let ping = &env["RUNPOD_WEBHOOK_PING"];
        let base = ping.split("/ping/").next().unwrap().to_owned();
        Self { id, base, secret: env["RUNPOD_AI_API_KEY"].clone(), http: reqwest::Client::new() }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { secret: key.to_owned(), ..self.clone() }
    }

    pub(crate) fn key(&self) -> &str {
        &self.secret
    }

    pub(crate) fn as_worker(&self, worker: &str) -> Self {
        Self { id: worker.parse().unwrap(), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}/{path}", self.base))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.post(format!("{}/{path}", self.base)).body(body);
        self.send(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.header("authorization", &self.secret).send().await.unwrap();
        let status = response.status().as_u16();
        let kind =
            response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        (status, kind, response.text().await.unwrap())
    }

    pub(crate) async fn take(&self) -> Answer {
        self.get(&format!("job-take/{}?gpu=none&job_in_progress=0", self.id)).await
    }

    pub(crate) async fn take_batch(&self, size: u32) -> Answer {
        self.get(&format!("job-take-batch/{}?gpu=none&batch_size={size}&job_in_progress=0", self.id)).await
    }

    pub(crate) async fn stop(&self) -> Answer {
        self.get(&format!("job-stop/{}?gpu=none", self.id)).await
    }

    pub(crate) async fn ping(&self, jobs: &str) -> Answer {
        let jobs = if jobs.is_empty() { String::new() } else { format!("job_id={jobs}&") };
        self.get(&format!("ping/{}?{jobs}runpod_version=1.12.0", self.id)).await
    }

    pub(crate) async fn done(&self, job: &str, body: &str) -> Answer {
        self.post(&format!("job-done/{}/{job}?gpu=none&isStream=false", self.id), body.to_owned()).await
    }

    pub(crate) async fn chunk(&self, job: &str, body: &str) -> Answer {
        self.post(&format!("job-stream/{}/{job}?gpu=none&isStream=false", self.id), body.to_owned()).await
    }
}
