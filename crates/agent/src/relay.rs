//! The relay: what workers speak to. It hands them jobs, takes their results, and watches what they hold.
//!
//! ```text
//! worker ── take ──▶ open poll ── Take ──▶ server ── Assign ──▶ the poll is answered; a lease begins
//! worker ── done ──▶ event ─────────────▶ server ── Acknowledged ──▶ answered
//!                      └─ spool, after 20 ms or while the server is away ──▶ answered
//! ```
//!
//! A worker's library drops a result at the first refusal and asks again at once after any error, so nothing here
//! refuses a result, and nothing answers "no job" quickly. It decides nothing about jobs: it reports, the server
//! decides. Its one task ([`Relay::sweep`]) notices jobs that were never accepted; requests are tasks of `web`.

mod lease;
mod polls;
mod result;
mod routes;
mod serving;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use api::{AgentMessage, Assignment, JobEvent, JobEventKind, JobStop, TakeOffer};
use base::{ByteSize, Clock, Entropy, Redacted, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use types::{EndpointId, JobId, StartMark, WorkerId};

use crate::outbox::Outbox;

use lease::Lease;
pub(crate) use routes::{make_secret, serve};
use worker::{Origin, Standing, Worker};

/// The relay's limits. The defaults are those of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct RelayLimits {
    /// A request for jobs or stops is held at least this long. Well below the 90 s after which the SDK gives one up.
    pub hold: Duration,
    /// And up to this much longer, so that workers that started together do not ask together.
    pub hold_spread: Duration,
    /// A request of a draining worker is held this long: short, because an ending worker waits for it; not zero,
    /// because the SDK asks again at once.
    pub drain_hold: Duration,
    /// A job must show within this after it was given: two pings of four seconds, and slack for a loaded host.
    pub acceptance_timeout: Duration,
    /// The largest body of a result: Runpod's limit for `/runsync` is 20 MB, and JSON around it needs slack.
    pub body_bytes_max: ByteSize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(20),
            hold_spread: Duration::from_secs(5),
            drain_hold: Duration::from_secs(1),
            acceptance_timeout: Duration::from_secs(2 * 4 + 4),
            body_bytes_max: ByteSize(21_000_000),
        }
    }
}

/// What came in that belongs to nobody: counted, answered, ignored.
#[derive(Debug, Default)]
struct Counters {
    foreign: AtomicU64,
    repeats: AtomicU64,
    returned: AtomicU64,
    wrong_keys: AtomicU64,
}

/// What the relay counted since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Requests about workers that are not here, and jobs that were not given to the worker.
    pub foreign: u64,
    /// Results and progress of jobs whose result was there already.
    pub repeats: u64,
    /// Jobs that came when their worker's request was gone.
    pub returned: u64,
    /// Requests with a wrong key.
    pub wrong_keys: u64,
}

/// Reaches the relay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Relay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: RelayLimits,
    clock: Clock,
    entropy: Entropy,
    outbox: Arc<Outbox>,
    workers: Mutex<BTreeMap<WorkerId, Worker>>,
    counters: Counters,
    /// Grows when something that the agent reports has changed.
    changes: watch::Sender<u64>,
}

/// What the relay tells of a worker, for reports and records.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerFacts {
    pub(crate) marks: BTreeMap<StartMark, Timestamp>,
    pub(crate) last_ping_at: Option<Timestamp>,
    pub(crate) pinged_jobs: Vec<JobId>,
    pub(crate) unhealthy: Option<String>,
    pub(crate) live_jobs: usize,
}

/// What must survive the agent for a worker that goes on: written by [`crate::records`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct RelayRecord {
    pub(crate) endpoint: EndpointId,
    pub(crate) secret: Redacted<String>,
    marks: BTreeMap<StartMark, Timestamp>,
    leases: BTreeMap<JobId, Lease>,
}

impl Relay {
    pub(crate) fn new(limits: RelayLimits, clock: Clock, entropy: Entropy, outbox: Arc<Outbox>) -> Self {
        Self(Arc::new(Shared {
            limits,
            clock,
            entropy,
            outbox,
            workers: Mutex::default(),
            counters: Counters::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// Takes a worker up before its process starts.
    pub(crate) fn admit(&self, worker: WorkerId, endpoint: EndpointId, secret: Redacted<String>) {
        let entry =
            Worker::new(worker.clone(), endpoint, secret, Origin::Admitted, self.0.limits.body_bytes_max);
        self.lock().insert(worker, entry);
    }

    /// Takes up a worker that an earlier agent left running. `chunks` are the numbers of the next chunks as the
    /// spool knows them.
    pub(crate) fn adopt(&self, worker: WorkerId, record: RelayRecord, chunks: &BTreeMap<JobId, u32>) {
        let RelayRecord { endpoint, secret, marks, leases } = record;
        let mut entry =
            Worker::new(worker.clone(), endpoint, secret, Origin::Adopted, self.0.limits.body_bytes_max);
        entry.marks = marks;
        entry.leases = leases;
        let now = self.0.clock.now();
        for (job, lease) in &mut entry.leases {
            // Its worker could not be heard while no agent was there.
            lease.given_at = now;
            lease.next_chunk = lease.next_chunk.max(chunks.get(job).copied().unwrap_or(0));
        }
        self.lock().insert(worker, entry);
    }

    /// Returns what must survive the agent for a worker.
    pub(crate) fn record(&self, worker: &WorkerId) -> Option<RelayRecord> {
        self.lock().get(worker).map(|worker| RelayRecord {
            endpoint: worker.endpoint.clone(),
            secret: worker.secret.clone(),
            marks: worker.marks.clone(),
            leases: worker.leases.clone(),
        })
    }

    /// Forgets a worker that has ended; what it still sends is counted and ignored.
    pub(crate) fn dismiss(&self, worker: &WorkerId) {
        let gone = self.lock().remove(worker);
        if gone.is_some_and(|worker| worker.takes.slots() > 0) {
            self.0.outbox.say(AgentMessage::TakeEnded(worker.clone()));
        }
    }

    /// Gives a worker no more jobs and answers the requests that it holds open: it is about to be ended.
    pub(crate) fn drain(&self, worker: &WorkerId) {
        let mut workers = self.lock();
        if let Some(worker) = workers.get_mut(worker) {
            self.drain_worker(worker, Standing::Draining);
        }
    }

    /// Takes up that a worker's processes are gone. Results that it sent before are still taken.
    pub(crate) fn ended(&self, worker: &WorkerId) {
        let mut workers = self.lock();
        if let Some(worker) = workers.get_mut(worker) {
            self.drain_worker(worker, Standing::Ended);
        }
    }

    /// Returns what is known of a worker.
    pub(crate) fn facts(&self, worker: &WorkerId) -> WorkerFacts {
        self.lock().get(worker).map_or_else(WorkerFacts::default, |worker| WorkerFacts {
            marks: worker.marks.clone(),
            last_ping_at: worker.last_ping_at,
            pinged_jobs: worker.pinged_jobs.clone(),
            unhealthy: worker.unhealthy.clone(),
            live_jobs: worker.live_jobs(),
        })
    }

    /// Follows changes of what [`Relay::facts`] returns.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Returns what was counted.
    pub(crate) fn counts(&self) -> RelayCounts {
        let counters = &self.0.counters;
        RelayCounts {
            foreign: counters.foreign.load(Ordering::Relaxed),
            repeats: counters.repeats.load(Ordering::Relaxed),
            returned: counters.returned.load(Ordering::Relaxed),
            wrong_keys: counters.wrong_keys.load(Ordering::Relaxed),
        }
    }

    /// Gives jobs to the workers that asked; what no open request takes goes back.
    pub(crate) fn assign(&self, assignments: Vec<Assignment>) {
        let now = self.0.clock.now();
        let mut by_worker: BTreeMap<WorkerId, Vec<Assignment>> = BTreeMap::new();
        for assignment in assignments {
            by_worker.entry(assignment.worker.clone()).or_default().push(assignment);
        }
        let mut workers = self.lock();
        for (id, assignments) in by_worker {
            let Some(worker) = workers.get_mut(&id) else {
                self.give_back(assignments);
                continue;
            };
            for assignment in &assignments {
                let lease = Lease::new(assignment.attempt, assignment.epoch, now);
                worker.leases.insert(assignment.job.clone(), lease);
            }
            let refused = match worker.standing {
                Standing::Open => worker.takes.hand(assignments),
                Standing::Draining | Standing::Ended => assignments,
            };
            for assignment in &refused {
                worker.leases.remove(&assignment.job);
            }
            self.give_back(refused);
        }
        drop(workers);
        self.changed();
    }

    /// Lets workers know which jobs to stop.
    pub(crate) fn stop_jobs(&self, stop: JobStop) {
        if let Some(worker) = self.lock().get_mut(&stop.worker) {
            worker.stop(stop.jobs);
        }
    }

    /// Tells a server that was just reached which workers ask and which jobs they hold.
    pub(crate) fn introduce(&self) {
        let now = self.0.clock.now();
        for worker in self.lock().values() {
            for (job, lease) in &worker.leases {
                if matches!(lease.standing, lease::Standing::Accepted { .. }) {
                    self.tell(JobEvent {
                        number: 0,
                        worker: worker.id.clone(),
                        job: job.clone(),
                        attempt: Some(lease.attempt),
                        at: now,
                        kind: JobEventKind::Accepted,
                    });
                }
            }
            let slots = worker.takes.slots();
            if slots > 0 && worker.standing == Standing::Open {
                self.0.outbox.say(AgentMessage::Take(TakeOffer { worker: worker.id.clone(), slots }));
            }
        }
    }

    /// Notices, until cancelled, jobs that their workers never showed.
    pub(crate) async fn sweep(self, token: CancellationToken) {
        // A quarter of the time that it watches: late by at most that.
        let period = self.0.limits.acceptance_timeout / 4;
        loop {
            tokio::select! {
                // Cancel-safe: a token stays cancelled; waiting on a clock loses nothing.
                () = token.cancelled() => return,
                () = self.0.clock.sleep(period) => {}
            }
            let now = self.0.clock.now();
            let mut events = Vec::new();
            for worker in self.lock().values_mut() {
                events.extend(worker.sweep(now, self.0.limits.acceptance_timeout));
            }
            events.into_iter().for_each(|event| self.tell(event));
        }
    }

    fn drain_worker(&self, worker: &mut Worker, standing: Standing) {
        worker.standing = standing;
        if worker.takes.slots() > 0 {
            self.0.outbox.say(AgentMessage::TakeEnded(worker.id.clone()));
        }
        worker.takes.release();
        worker.stops.release();
    }

    /// Tells the server how many jobs a worker takes now.
    fn offer(&self, worker: &Worker) {
        let slots = worker.takes.slots();
        self.0.outbox.say(if slots > 0 {
            AgentMessage::Take(TakeOffer { worker: worker.id.clone(), slots })
        } else {
            AgentMessage::TakeEnded(worker.id.clone())
        });
    }

    fn give_back(&self, assignments: Vec<Assignment>) {
        for assignment in assignments {
            self.count(&self.0.counters.returned);
            self.tell(JobEvent {
                number: 0,
                worker: assignment.worker,
                job: assignment.job,
                attempt: Some(assignment.attempt),
                at: self.0.clock.now(),
                kind: JobEventKind::Returned,
            });
        }
    }

    /// Sends an event. One that changes where a job stands is repeated until the server has it.
    fn tell(&self, event: JobEvent) {
        match event.kind {
            JobEventKind::Accepted | JobEventKind::Progress(_) => {
                self.0.outbox.say(AgentMessage::Job(event));
            }
            JobEventKind::Returned
            | JobEventKind::NotAccepted
            | JobEventKind::Vanished
            | JobEventKind::Chunk { .. }
            | JobEventKind::Done { .. } => {
                self.0.outbox.submit(event, 0);
            }
        }
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Worker>> {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
