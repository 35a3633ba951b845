//! The owner: the one task that holds the whole picture in memory and decides.
//!
//! ```text
//!  calls ─┐                       ┌─ commit N in flight ─► State
//!  agents ┼─► events ─► picture ──┤
//!  timers ┘      ▲                └─ N+1 gathers: rows to write, answers and frames to send after it
//!                └────── settle: timers, hand-overs, plan ──────┘
//! ```
//! Nothing leaves the process (an answer, a frame to an agent) before what it tells of is durable. Memory runs ahead of
//! the database by at most one gathered batch. When a commit fails, memory is wrong: the owner ends, and its service
//! loads everything again under a new epoch.
//!
//! **Invariant:** nothing here waits while it changes the picture; all waiting is in [`Owner::run`].

mod access;
mod boot;
mod choices;
mod demand;
mod desired;
mod endpoint_views;
mod endpoints;
mod fleet_views;
mod hosts;
mod jobs;
mod model_views;
mod models;
mod observed;
mod planning;
mod stepping;
mod submission;
mod waits;
mod whys;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::Problem;
use base::{Clock, Entropy, Timestamp};
use futures::future::BoxFuture;
use scheduler::{Alarms, EndpointReport, Fleet, Policy, ReadyIndex};
use state::{CommitError, FolderRow, GrantRow, Mutation, PullRow, State};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use types::{
    EndpointId, EndpointName, Epoch, ErrorCode, Fault, HostId, JobId, Manifest, ModelKey, RepoId, SecretRef,
    TenantId, WorkerId,
};

use crate::{
    ControlOptions,
    event::Event,
    link::{LinkSender, Outgoing},
    picture::{EndpointEntry, HostEntry, JobEntry, WorkerEntry},
    timers::Timers,
};

pub(crate) use access::Keys;
pub(crate) use endpoints::{ChosenModel, ResolvedSpec};
pub(crate) use hosts::Asked;
pub(crate) use models::PullDraft;

/// Events taken at once: bounds how long a gathered batch grows before it is looked at.
const EVENTS_MAX: usize = 256;

/// What the owner waits for besides the planner's own alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A job's limit of time.
    Job(JobId),
    /// The end of a job's retention.
    ForgetJob(JobId),
    /// The end of showing an ended worker.
    ForgetWorker(WorkerId),
}

/// What is done once the gathered batch is durable.
enum After {
    /// A caller is answered, or told that nothing was done.
    Answer(Box<dyn FnOnce(Result<(), Problem>) + Send>),
    /// A frame goes to an agent.
    Send(LinkSender, Outgoing),
    /// Whoever waits for a change looks again.
    Wake(watch::Sender<u64>),
}

/// Why the owner ended.
pub(crate) enum Ended {
    /// It was told to.
    Cancelled,
    /// A batch was not written: memory is ahead of the database.
    CommitFailed(CommitError),
}

/// A secret in memory.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) tenant: TenantId,
    pub(crate) value: base::Redacted<String>,
}

/// The whole picture, and what is gathered for the next commit.
pub(crate) struct Owner {
    pub(crate) options: Arc<ControlOptions>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) epoch: Epoch,
    pub(crate) incarnation: u64,
    pub(crate) policy: Policy,
    state: State,
    /// When this owner began: claimed jobs wait a while from then for their hosts.
    began_at: Timestamp,

    pub(crate) fleet: Fleet,
    pub(crate) ready: ReadyIndex,
    pub(crate) endpoints: BTreeMap<EndpointId, EndpointEntry>,
    pub(crate) names: BTreeMap<(TenantId, EndpointName), EndpointId>,
    pub(crate) jobs: BTreeMap<JobId, JobEntry>,
    pub(crate) workers: BTreeMap<WorkerId, WorkerEntry>,
    pub(crate) hosts: BTreeMap<HostId, HostEntry>,
    pub(crate) manifests: BTreeMap<ModelKey, Arc<Manifest>>,
    pub(crate) secrets: BTreeMap<SecretRef, Secret>,
    pub(crate) pulls: BTreeMap<(TenantId, ModelKey), PullRow>,
    pub(crate) grants: BTreeMap<(TenantId, RepoId), GrantRow>,
    pub(crate) folders: BTreeMap<(TenantId, String), FolderRow>,
    pub(crate) reports: BTreeMap<EndpointId, EndpointReport>,

    timers: Timers<Timer>,
    alarms: Alarms,
    next_place: u64,
    next_generation: u64,
    next_question: u64,
    payload_bytes: usize,
    /// Results that came after the job was over, or twice.
    late_results: u64,
    /// Counts changes of models, for those who watch one.
    models_watch: watch::Sender<u64>,

    mutations: Vec<Mutation>,
    after: Vec<After>,
    written_jobs: BTreeSet<JobId>,
    written_workers: BTreeSet<WorkerId>,
    written_endpoints: BTreeSet<EndpointId>,
    written_hosts: BTreeSet<HostId>,
    acknowledging: BTreeSet<HostId>,
    demand_changed: BTreeSet<EndpointId>,
    desired_changed: BTreeSet<HostId>,
}

/// A gathered batch on its way to the database.
struct InFlight {
    commit: BoxFuture<'static, Result<(), CommitError>>,
    after: Vec<After>,
}

impl Owner {
    /// Works until it is cancelled or a batch can't be written.
    pub(crate) async fn run(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        token: &CancellationToken,
    ) -> Ended {
        let mut in_flight: Option<InFlight> = None;
        let mut taken = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.settle(self.clock.now());
            if in_flight.is_none() {
                in_flight = self.begin_commit();
            }
            let wake = self.next_wake();
            tokio::select! {
                // The commit is polled where it stands; dropping this arm's future loses nothing.
                committed = committed(&mut in_flight) => {
                    let after = in_flight.take().map(|batch| batch.after).unwrap_or_default();
                    if let Err(error) = committed {
                        self.refuse(after, &error);
                        return Ended::CommitFailed(error);
                    }
                    deliver(after);
                }
                // `recv_many` loses no event when it is dropped.
                count = events.recv_many(&mut taken, EVENTS_MAX) => {
                    if count == 0 {
                        return self.finish(in_flight).await;
                    }
                    for event in taken.drain(..) {
                        self.take(event);
                    }
                }
                // A timer only says that it is time to look.
                () = sleep_until(&self.clock, wake) => {}
                // A token stays cancelled.
                () = token.cancelled() => return self.finish(in_flight).await,
            }
        }
    }

    /// Calls back once everything gathered so far is durable.
    pub(crate) fn answer_after(&mut self, answer: impl FnOnce(Result<(), Problem>) + Send + 'static) {
        self.after.push(After::Answer(Box::new(answer)));
    }

    /// Adds a change to the gathered batch.
    pub(crate) fn write(&mut self, mutation: Mutation) {
        self.mutations.push(mutation);
    }

    /// Writes an endpoint's row with the gathered batch.
    pub(crate) fn write_endpoint(&mut self, endpoint: &EndpointId) {
        self.written_endpoints.insert(endpoint.clone());
    }

    /// Sends a frame to a host once everything gathered so far is durable; returns whether it is connected.
    pub(crate) fn send(&mut self, host: &HostId, outgoing: Outgoing) -> bool {
        let Some(link) = self.hosts.get(host).and_then(|entry| entry.link.as_ref()) else {
            return false;
        };
        self.after.push(After::Send(link.sender.clone(), outgoing));
        true
    }

    /// Wakes those who wait for a change of a job, once it is durable.
    fn wake_job(&mut self, job: &JobId) {
        if let Some(entry) = self.jobs.get(job) {
            self.after.push(After::Wake(entry.changed.clone()));
        }
    }

    fn begin_commit(&mut self) -> Option<InFlight> {
        self.gather_rows();
        let after = std::mem::take(&mut self.after);
        let mutations = std::mem::take(&mut self.mutations);
        if mutations.is_empty() {
            deliver(after);
            return None;
        }
        let (state, epoch) = (self.state.clone(), self.epoch);
        let commit = Box::pin(async move { state.commit(epoch, mutations).await });
        Some(InFlight { commit, after })
    }

    /// Turns noted changes into rows, each once.
    fn gather_rows(&mut self) {
        for endpoint in std::mem::take(&mut self.written_endpoints) {
            if let Some(entry) = self.endpoints.get(&endpoint) {
                self.mutations.push(Mutation::PutEndpoint(entry.row()));
            }
        }
        for worker in std::mem::take(&mut self.written_workers) {
            if let Some(entry) = self.workers.get(&worker) {
                self.mutations.push(Mutation::PutWorker(entry.row(&worker)));
            }
        }
        for job in std::mem::take(&mut self.written_jobs) {
            if let Some(entry) = self.jobs.get(&job) {
                self.mutations.push(Mutation::PutJob(entry.row(&job)));
            }
        }
        for host in std::mem::take(&mut self.written_hosts) {
            if let Some(entry) = self.hosts.get(&host) {
                self.mutations.push(Mutation::PutHost(entry.row(&host)));
            }
        }
        for host in std::mem::take(&mut self.acknowledging) {
            if let Some(number) = self.hosts.get(&host).map(|entry| entry.acknowledged) {
                self.send(&host, Outgoing::Message(api::ServerMessage::Acknowledged(number)));
            }
        }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        [self.timers.next(), self.alarms.next()].into_iter().flatten().min()
    }

    /// Writes what is gathered before the end.
    async fn finish(&mut self, in_flight: Option<InFlight>) -> Ended {
        for batch in [in_flight, None] {
            let Some(batch) = batch.or_else(|| self.begin_commit()) else { continue };
            if let Err(error) = batch.commit.await {
                self.refuse(batch.after, &error);
                return Ended::CommitFailed(error);
            }
            deliver(batch.after);
        }
        Ended::Cancelled
    }

    /// Tells everybody whose batch was not written, and those who gathered behind it.
    fn refuse(&mut self, failed: Vec<After>, error: &CommitError) {
        let fault = error.fault();
        for after in failed.into_iter().chain(std::mem::take(&mut self.after)) {
            match after {
                After::Answer(answer) => answer(Err(fault.clone().into())),
                // What it tells of did not happen.
                After::Send(..) | After::Wake(_) => {}
            }
        }
    }
}

fn deliver(after: Vec<After>) {
    for after in after {
        match after {
            After::Answer(answer) => answer(Ok(())),
            After::Send(link, outgoing) => link.offer(outgoing),
            After::Wake(changed) => changed.send_modify(|count| *count = count.wrapping_add(1)),
        }
    }
}

async fn committed(in_flight: &mut Option<InFlight>) -> Result<(), CommitError> {
    match in_flight {
        Some(batch) => batch.commit.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(clock: &Clock, wake: Option<Timestamp>) {
    match wake {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Makes a refusal.
pub(crate) fn problem(code: ErrorCode, message: impl Into<String>) -> Problem {
    Fault::new(code, message).into()
}
