//! A control plane on a temporary folder, and an agent that does what a test says.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{
    AgentMessage, Assignment, CreateEndpoint, Desired, DesiredWorker, EndReason, Hello, JobEvent,
    JobEventKind, JobStop, JobView, LinkReader, LinkWriter, ModelReport, ModelState, Observed, PROTOCOL,
    Question, ServerMessage, TakeOffer, Welcome, WorkerIntent, WorkerReport, WorkerState,
};
use base::{ByteSize, Clock, Entropy, ManualTime, RealDisk, Redacted, Timestamp};
use futures::future::BoxFuture;
use hub::{Offer, OfferedModel, RepoKind, Selected, Visibility};
use serde_json::value::RawValue;
use state::{State, StateOptions};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use types::{
    Attempt, Choice, Commit, Digest, Fault, HostCapacity, HostId, HubName, Isolation, JobId, JobRoute,
    LeftOut, Manifest, ManifestFile, ModelKey, Outcome, RepoId, SecretRef, SelectionKey, StartMark, WorkerId,
};

use crate::{Caller, Control, ControlOptions, FoundModel, Handle, HubConfig, ModelQuestion, ModelResolver};

/// Real time that a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// The bytes of every model here.
pub(super) const MODEL_BYTES: u64 = 1000;

/// Answers like a hub that has every model, unless it is told what to refuse.
#[derive(Debug, Default)]
pub(super) struct FakeHub {
    pub(super) refuses: Mutex<Option<Fault>>,
    pub(super) asked: Mutex<Vec<ModelQuestion>>,
}

impl ModelResolver for FakeHub {
    fn resolve<'a>(&'a self, question: &'a ModelQuestion) -> BoxFuture<'a, Result<FoundModel, Fault>> {
        self.asked.lock().unwrap().push(question.clone());
        let refusal = self.refuses.lock().unwrap().clone();
        Box::pin(async move {
            match refusal {
                Some(fault) => Err(fault),
                None => Ok(FoundModel { manifest: manifest(question), choice: choice(question) }),
            }
        })
    }

    fn offer<'a>(&'a self, question: &'a ModelQuestion) -> BoxFuture<'a, Result<OfferedModel, Fault>> {
        self.asked.lock().unwrap().push(question.clone());
        let refusal = self.refuses.lock().unwrap().clone();
        Box::pin(async move { refusal.map_or_else(|| Ok(offered(question)), Err) })
    }
}

fn choice(question: &ModelQuestion) -> Choice {
    let ask = Some(":onnx".to_owned());
    let group = LeftOut { what: "ONNX".to_owned(), files: 1, bytes: ByteSize(5), ask };
    Choice { name: "fake".to_owned(), wish: question.wish.clone(), pickled: false, left_out: vec![group] }
}

fn offered(question: &ModelQuestion) -> OfferedModel {
    let manifest = manifest(question);
    let key = manifest.key().clone();
    let offer = Offer {
        name: "safetensors".to_owned(),
        format: "safetensors",
        files: manifest.files().len() as u64,
        bytes: manifest.bytes(),
        is_default: true,
        is_pickled: false,
        selection: key.selection,
    };
    let weight_file = manifest.files()[0].path.clone();
    OfferedModel {
        repo: key.repo,
        commit: key.commit,
        visibility: Visibility::Public,
        kind: RepoKind::Transformers,
        offers: vec![offer],
        selected: Ok(Selected { manifest, weight_file, choice: choice(question) }),
        base_model: None,
        has_code: true,
    }
}

fn manifest(question: &ModelQuestion) -> Manifest {
    manifest_of(RepoId { hub: question.hub.clone(), name: question.reference.repo.clone() })
}

/// A model of the configured hub.
pub(super) fn some_manifest() -> Manifest {
    manifest_of(RepoId { hub: HubName::hugging_face(), name: "org/model".parse().unwrap() })
}

fn manifest_of(repo: RepoId) -> Manifest {
    let commit = Commit::from_bytes([7; 20]);
    let key = ModelKey { repo, commit, selection: SelectionKey::from_bytes([1; 32]) };
    let path = "model.safetensors".parse().unwrap();
    let file = ManifestFile { path, size: MODEL_BYTES, digest: Digest::Sha256([2; 32]) };
    Manifest::new(key, vec![file], BTreeSet::new()).unwrap()
}

/// A control plane that can be stopped and started on the same folder.
pub(super) struct World {
    pub(super) time: Arc<ManualTime>,
    pub(super) hub: Arc<FakeHub>,
    pub(super) folder: tempfile::TempDir,
    pages_max: Option<u32>,
    pub(super) hub_name: HubName,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    links: Mutex<Vec<JoinHandle<()>>>,
    handle: Option<Handle>,
}

impl World {
    /// Starts one.
    pub(super) async fn begin() -> Self {
        Self::begin_with(None).await
    }

    /// Starts one whose database has a largest size.
    pub(super) async fn begin_with(pages_max: Option<u32>) -> Self {
        let mut world = Self {
            time: ManualTime::starting_at(Timestamp::from_millis(1_700_000_000_000)),
            hub: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
            pages_max,
            hub_name: HubName::hugging_face(),
            running: None,
            links: Mutex::default(),
            handle: None,
        };
        world.start().await;
        world
    }

    /// Starts it again.
    pub(super) async fn start(&mut self) {
        let clock = Clock::Manual(Arc::clone(&self.time));
        let disk = Arc::new(RealDisk);
        let folder = self.folder.path();
        let state =
            StateOptions { folder: folder.join("state"), disk: disk.clone(), pages_max: self.pages_max };
        let state = State::open(&state, &clock, Entropy::System).unwrap();
        let hub = HubConfig {
            name: self.hub_name.clone(),
            endpoint: "https://hub.invalid".parse().unwrap(),
            trusted: true,
        };
        let mut options = ControlOptions::new(folder.to_owned(), disk, vec![hub]);
        options.public_url = "http://server".to_owned();
        // Time jumps here, and a link that is served by a test is not silent for that.
        options.link_silence_max = Duration::from_secs(365 * 24 * 3600);
        let opened = Control::open(options, clock, Entropy::System, state, self.hub.clone()).await;
        let (control, handle) = opened.unwrap();
        let token = CancellationToken::new();
        self.running = Some((token.clone(), tokio::spawn(control.run(token))));
        self.handle = Some(handle);
    }

    /// Returns everything that a stopped one has left behind.
    pub(super) async fn loaded(&self) -> state::Loaded {
        let (folder, disk) = (self.folder.path().join("state"), Arc::new(RealDisk));
        let options = StateOptions { folder, disk, pages_max: self.pages_max };
        let clock = Clock::Manual(Arc::clone(&self.time));
        State::open(&options, &clock, Entropy::System).unwrap().load().await.unwrap()
    }

    /// Stops it in order.
    pub(super) async fn stop(&mut self) {
        self.handle = None;
        let (token, task) = self.running.take().unwrap();
        token.cancel();
        task.await.unwrap();
        self.links_ended().await;
    }

    /// Waits for the links, which end with the control plane and hold its state until then.
    async fn links_ended(&self) {
        let links = std::mem::take(&mut *self.links.lock().unwrap());
        for link in links {
            tokio::time::timeout(PATIENCE, link).await.expect("a link outlived the control plane").unwrap();
        }
    }

    /// Stops it without letting it finish anything.
    pub(super) async fn crash(&mut self) {
        self.handle = None;
        let (_, task) = self.running.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        self.links_ended().await;
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone().unwrap()
    }

    /// Returns the caller with the key that the first start wrote.
    pub(super) fn admin(&self) -> Caller {
        let key = std::fs::read_to_string(self.folder.path().join("admin.key")).unwrap();
        self.handle().authenticate(&Redacted::new(key.trim().to_owned())).unwrap()
    }

    pub(super) fn advance(&self, millis: u64) {
        self.time.advance(Duration::from_millis(millis));
    }

    pub(super) fn now(&self) -> Timestamp {
        Clock::Manual(Arc::clone(&self.time)).now()
    }

    /// Makes an endpoint from a body.
    pub(super) async fn endpoint(&self, body: &str) -> api::EndpointView {
        let body: CreateEndpoint = serde_json::from_str(body).unwrap();
        self.handle().create_endpoint(&self.admin(), body).await.unwrap()
    }

    /// Sends a job.
    pub(super) async fn send(&self, endpoint: &str, input: &str) -> JobId {
        self.send_body(endpoint, &format!(r#"{{"input":{input}}}"#)).await
    }

    /// Sends a job with a whole body.
    pub(super) async fn send_body(&self, endpoint: &str, body: &str) -> JobId {
        let body = serde_json::from_str(body).unwrap();
        self.handle().submit(&self.admin(), endpoint, JobRoute::Async, body).await.unwrap().id
    }

    pub(super) async fn job(&self, endpoint: &str, job: &JobId) -> JobView {
        self.handle().job(&self.admin(), endpoint, job.as_str()).await.unwrap()
    }

    /// Waits until a job looks as wanted.
    pub(super) async fn job_until(
        &self,
        endpoint: &str,
        job: &JobId,
        wanted: impl Fn(&JobView) -> bool,
    ) -> JobView {
        let looking = async {
            loop {
                let view = self.job(endpoint, job).await;
                if wanted(&view) {
                    return view;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(view) => view,
            Err(_) => panic!("the job never looked as wanted: {:?}", self.job(endpoint, job).await),
        }
    }

    /// Returns milliseconds by phase of all time so far, and the seconds billed.
    pub(super) async fn usage(&self) -> (BTreeMap<String, i64>, u64) {
        let view = self.handle().usage(&self.admin(), Timestamp::EPOCH, self.now()).await.unwrap();
        let mut phases = BTreeMap::new();
        for phase in view.records.iter().flat_map(|record| &record.phases) {
            *phases.entry(phase.phase.to_string()).or_default() += (phase.seconds * 1000.0).round() as i64;
        }
        (phases, view.records.iter().map(|record| record.billed_seconds).sum())
    }
}

/// The other end of a link.
pub(super) struct Agent {
    reader: LinkReader<DuplexStream, ServerMessage>,
    writer: LinkWriter<DuplexStream, AgentMessage>,
    time: Arc<ManualTime>,
    pub(super) welcome: Option<Welcome>,
    pub(super) desired: Desired,
    pub(super) secrets: BTreeMap<SecretRef, Redacted<String>>,
    pub(super) assigned: VecDeque<Assignment>,
    pub(super) stops: Vec<JobStop>,
    pub(super) questions: VecDeque<(u64, Question)>,
    pub(super) folders: Vec<api::FolderPart>,
    pub(super) acknowledged: u64,
    pub(super) observed: Observed,
    pub(super) number: u64,
    pub(super) closed: bool,
}

impl Agent {
    /// Dials in as a host that has nothing.
    pub(super) async fn dial(world: &World) -> Self {
        Self::dial_with(world, Observed::default(), 0).await
    }

    /// Dials in as a host on which there is something.
    pub(super) async fn dial_with(world: &World, observed: Observed, number: u64) -> Self {
        Self::dial_as(world, observed, number, ByteSize::mib(100 << 10)).await
    }

    /// Dials in as a host that has nothing, and room for so many bytes of models.
    pub(super) async fn dial_with_room(world: &World, bytes: u64) -> Self {
        Self::dial_as(world, Observed::default(), 0, ByteSize(bytes)).await
    }

    async fn dial_as(world: &World, observed: Observed, number: u64, cache_bytes_max: ByteSize) -> Self {
        let (here, there) = tokio::io::duplex(1 << 20);
        let handle = world.handle();
        // A link that breaks is what some tests are about.
        let link = tokio::spawn(async move { drop(handle.attach_agent(there).await) });
        world.links.lock().unwrap().push(link);
        let (reader, writer) = api::split(here);
        let mut agent = Self {
            reader,
            writer,
            time: Arc::clone(&world.time),
            welcome: None,
            desired: Desired::default(),
            secrets: BTreeMap::new(),
            assigned: VecDeque::new(),
            stops: Vec::new(),
            questions: VecDeque::new(),
            folders: Vec::new(),
            acknowledged: 0,
            observed,
            number,
            closed: false,
        };
        let hello = Hello {
            protocol: PROTOCOL,
            host: host(),
            version: "test".to_owned(),
            capacity: HostCapacity {
                cpu_count: 4,
                memory: ByteSize::mib(8 << 10),
                gpus: Vec::new(),
                workers_max: 8,
                cache_bytes_max,
                isolation: Isolation::Privileged,
            },
            stamp: agent.observed.stamp,
        };
        agent.say(AgentMessage::Hello(hello)).await;
        agent.until("a welcome", |agent| agent.welcome).await;
        agent.observed.host.disk = api::DiskRoom { total: 1 << 40, available: 1 << 39 };
        agent.report().await;
        agent
    }

    pub(super) async fn say(&mut self, message: AgentMessage) {
        self.writer.send(&message).await.unwrap();
    }

    /// Reads frames until something is so.
    pub(super) async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&mut Self) -> Option<T>) -> T {
        let reading = async {
            loop {
                if let Some(found) = wanted(self) {
                    return found;
                }
                self.read_one().await;
            }
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(found) => found,
            Err(_) => panic!("never came: {what}; desired is {:#?}", self.desired),
        }
    }

    /// Reads one frame.
    pub(super) async fn read_one(&mut self) {
        match self.reader.receive().await {
            Ok(Some(message)) => self.hear(message),
            Ok(None) | Err(_) => {
                assert!(!self.closed, "the link is closed and more was expected of it");
                self.closed = true;
            }
        }
    }

    fn hear(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Welcome(welcome) => {
                self.acknowledged = welcome.acknowledged;
                self.number = self.number.max(welcome.acknowledged);
                self.welcome = Some(welcome);
            }
            ServerMessage::Refused(fault) => panic!("refused: {fault}"),
            ServerMessage::Desired(desired) => {
                assert!(desired.stamp > self.desired.stamp, "a stamp did not grow");
                self.observed.stamp = desired.stamp;
                self.desired = *desired;
            }
            ServerMessage::Secrets(values) => self.secrets.extend(values),
            ServerMessage::Assign(assignments) => self.assigned.extend(assignments),
            ServerMessage::Stop(stop) => self.stops.push(stop),
            ServerMessage::Acknowledged(number) => self.acknowledged = number,
            ServerMessage::Question { id, question } => self.questions.push_back((id, question)),
            ServerMessage::Folder(part) => self.folders.push(part),
        }
    }

    /// Waits for a worker that should be in this way.
    pub(super) async fn worker(&mut self, intent: WorkerIntent) -> DesiredWorker {
        let found =
            |agent: &mut Self| agent.desired.workers.iter().find(|worker| worker.intent == intent).cloned();
        self.until(&format!("a worker to {intent:?}"), found).await
    }

    /// Reports everything.
    pub(super) async fn report(&mut self) {
        let observed = self.observed.clone();
        self.say(AgentMessage::Observed(observed)).await;
    }

    /// Reports the one model that is desired in this state.
    pub(super) async fn report_model(&mut self, state: ModelState, bytes_here: u64) {
        let key = self.until("a desired model", |agent| {
            agent.desired.models.first().map(|model| model.manifest.key().clone())
        });
        let key = key.await;
        self.observed.models = vec![ModelReport { key, state, bytes_here }];
        self.report().await;
    }

    /// Reports the model as fetched just now.
    pub(super) async fn report_ready(&mut self, fetch_started_at: Option<Timestamp>) {
        let bytes_fetched = if fetch_started_at.is_some() { MODEL_BYTES } else { 0 };
        let state = ModelState::Ready { since: self.now(), fetch_started_at, bytes_fetched, fetch_millis: 1 };
        self.report_model(state, MODEL_BYTES).await;
    }

    fn now(&self) -> Timestamp {
        Clock::Manual(Arc::clone(&self.time)).now()
    }

    /// Reports a worker as running since now.
    pub(super) async fn report_alive(&mut self, worker: &WorkerId) {
        let now = self.now();
        let marks = BTreeMap::from([(StartMark::ViewMounted, now), (StartMark::ProcessStarted, now)]);
        self.put_worker(worker, WorkerState::Alive, marks);
        self.report().await;
    }

    /// Reports a worker's first ping.
    pub(super) async fn report_ping(&mut self, worker: &WorkerId, jobs: &[JobId]) {
        let now = self.now();
        let report = self.observed.workers.iter_mut().find(|report| report.worker == *worker).unwrap();
        report.marks.entry(StartMark::FirstPing).or_insert(now);
        report.last_ping_at = Some(now);
        report.pinged_jobs = jobs.to_vec();
        self.report().await;
    }

    /// Reports a worker as ended.
    pub(super) async fn report_ended(&mut self, worker: &WorkerId, reason: EndReason) {
        let at = self.now();
        let marks = self.marks_of(worker);
        self.put_worker(worker, WorkerState::Ended { reason, at, last_lines: Vec::new() }, marks);
        self.report().await;
    }

    fn marks_of(&self, worker: &WorkerId) -> BTreeMap<StartMark, Timestamp> {
        let report = self.observed.workers.iter().find(|report| report.worker == *worker);
        report.map(|report| report.marks.clone()).unwrap_or_default()
    }

    pub(super) fn put_worker(
        &mut self,
        worker: &WorkerId,
        state: WorkerState,
        marks: BTreeMap<StartMark, Timestamp>,
    ) {
        self.observed.workers.retain(|report| report.worker != *worker);
        let (worker, last_ping_at, pinged_jobs) = (worker.clone(), None, Vec::new());
        self.observed.workers.push(WorkerReport { worker, state, marks, last_ping_at, pinged_jobs });
    }

    pub(super) async fn take(&mut self, worker: &WorkerId) {
        self.say(AgentMessage::Take(TakeOffer { worker: worker.clone(), slots: 1 })).await;
    }

    pub(super) async fn assignment(&mut self) -> Assignment {
        self.until("an assignment", |agent| agent.assigned.pop_front()).await
    }

    /// Says something of a job that needs no acknowledgement.
    pub(super) async fn tell(&mut self, assignment: &Assignment, kind: JobEventKind) {
        self.tell_numbered(0, assignment, kind).await;
    }

    /// Says something durable of a job; returns its number.
    pub(super) async fn tell_durably(&mut self, assignment: &Assignment, kind: JobEventKind) -> u64 {
        self.number += 1;
        self.tell_numbered(self.number, assignment, kind).await;
        self.number
    }

    pub(super) async fn tell_numbered(&mut self, number: u64, assignment: &Assignment, kind: JobEventKind) {
        let event = JobEvent {
            number,
            worker: assignment.worker.clone(),
            job: assignment.job.clone(),
            attempt: Some(assignment.attempt),
            at: self.now(),
            kind,
        };
        self.say(AgentMessage::Job(event)).await;
    }

    /// Waits until a durable event is acknowledged.
    pub(super) async fn acknowledged(&mut self, number: u64) {
        self.until("an acknowledgement", |agent| (agent.acknowledged >= number).then_some(())).await;
    }

    /// Brings a worker of a cached model, or of none, from nothing to its first take.
    pub(super) async fn bring_up(&mut self) -> DesiredWorker {
        let worker = self.until("a worker", |agent| agent.desired.workers.first().cloned()).await;
        if worker.intent == WorkerIntent::Hold {
            self.report_ready(None).await;
        }
        let worker = self.worker(WorkerIntent::Run).await;
        self.report_alive(&worker.worker).await;
        self.report_ping(&worker.worker, &[]).await;
        self.take(&worker.worker).await;
        worker
    }
}

/// The one host.
pub(super) fn host() -> HostId {
    "host_one".parse().unwrap()
}

/// A result.
pub(super) fn done(output: &str) -> JobEventKind {
    let output = Some(RawValue::from_string(output.to_owned()).unwrap());
    JobEventKind::Done { outcome: Outcome { output, error: None }, stop_worker: false, streamed: false }
}

/// A failure that the handler reports.
pub(super) fn failed(error: &str) -> JobEventKind {
    let outcome = Outcome { output: None, error: Some(error.to_owned()) };
    JobEventKind::Done { outcome, stop_worker: false, streamed: false }
}

/// The second hand-over.
pub(super) const SECOND: Attempt = Attempt(2);
