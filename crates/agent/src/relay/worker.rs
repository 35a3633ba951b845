//! What the relay knows of one worker. Synchronous; the relay's lock is around it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use api::{Assignment, JobEvent, JobEventKind};
use base::{ByteSize, Redacted, Timestamp};
use tokio::sync::Semaphore;
use types::{Attempt, EndpointId, JobId, StartMark, WorkerId};

use super::{
    lease::{Lease, Verdict},
    polls::Polls,
};

/// Results that are remembered, so that the same result sent again is a repeat. An SDK repeats one within seconds.
const SETTLED_MAX: usize = 256;
/// Bodies of the largest size that are held for one worker until they are safe; of smaller ones more. Further ones
/// are read when there is room again, so that no worker fills the agent's memory.
const BODIES_HELD_MAX: usize = 4;
/// Stops that wait for a worker to ask; the oldest are forgotten beyond that. More than a worker has jobs.
const STOPS_MAX: usize = 1000;
/// Jobs that are reported of a ping. A list in a ping is cut at 64 KiB by the SDK, about this many ids.
const PINGED_MAX: usize = 2000;

/// Whether a worker gets jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Open,
    /// It finishes what it has.
    Draining,
    /// Its processes are gone. What it sent before that still counts; pings do not.
    Ended,
}

/// Who gave the worker its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This agent, all of them.
    Admitted,
    /// An agent before this one, some of them; which is not known for all.
    Adopted,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) endpoint: EndpointId,
    pub(super) secret: Redacted<String>,
    pub(super) origin: Origin,
    /// KiB of bodies that may still be held for it.
    pub(super) body_room: Arc<Semaphore>,
    pub(super) standing: Standing,
    pub(super) takes: Polls<Assignment>,
    pub(super) stops: Polls<JobId>,
    pub(super) jobs_to_stop: Vec<JobId>,
    pub(super) leases: BTreeMap<JobId, Lease>,
    pub(super) settled: VecDeque<(JobId, u64)>,
    pub(super) marks: BTreeMap<StartMark, Timestamp>,
    pub(super) last_ping_at: Option<Timestamp>,
    pub(super) pinged_jobs: Vec<JobId>,
    pub(super) unhealthy: Option<String>,
}

impl Worker {
    pub(super) fn new(
        id: WorkerId,
        endpoint: EndpointId,
        secret: Redacted<String>,
        origin: Origin,
        body_bytes_max: ByteSize,
    ) -> Self {
        Self {
            id,
            endpoint,
            secret,
            origin,
            body_room: Arc::new(Semaphore::new(BODIES_HELD_MAX * body_kib(body_bytes_max) as usize)),
            standing: Standing::Open,
            takes: Polls::default(),
            stops: Polls::default(),
            jobs_to_stop: Vec::new(),
            leases: BTreeMap::new(),
            settled: VecDeque::new(),
            marks: BTreeMap::new(),
            last_ping_at: None,
            pinged_jobs: Vec::new(),
            unhealthy: None,
        }
    }

    /// Notes the first time that something happened. Returns whether it was the first.
    pub(super) fn mark(&mut self, mark: StartMark, now: Timestamp) -> bool {
        let first = !self.marks.contains_key(&mark);
        self.marks.entry(mark).or_insert(now);
        first
    }

    /// Takes up a ping: what it lists is there, what it lacks may be lost.
    pub(super) fn ping(&mut self, jobs: Vec<JobId>, now: Timestamp) -> Vec<JobEvent> {
        let mut events = Vec::new();
        for (job, lease) in &mut self.leases {
            let verdict = if jobs.contains(job) { lease.shown() } else { lease.missed() };
            let attempt = Some(lease.attempt);
            events.extend(verdict_event(&self.id, job, attempt, verdict, now));
        }
        self.last_ping_at = Some(now);
        self.pinged_jobs = jobs;
        self.pinged_jobs.truncate(PINGED_MAX);
        events
    }

    /// Takes up that the worker showed a job by a chunk or by progress.
    pub(super) fn show(&mut self, job: &JobId, now: Timestamp) -> Option<JobEvent> {
        let lease = self.leases.get_mut(job)?;
        let verdict = lease.shown();
        verdict_event(&self.id, job, Some(lease.attempt), verdict, now)
    }

    /// Takes up that time passed.
    pub(super) fn sweep(&mut self, now: Timestamp, acceptance_timeout: std::time::Duration) -> Vec<JobEvent> {
        let mut events = Vec::new();
        if self.standing == Standing::Ended {
            return events;
        }
        for (job, lease) in &mut self.leases {
            let verdict = lease.elapsed(now, acceptance_timeout);
            events.extend(verdict_event(&self.id, job, Some(lease.attempt), verdict, now));
        }
        events
    }

    /// Ends a job's lease by its result. Returns its attempt, when one is known.
    pub(super) fn settle(&mut self, job: &JobId) -> Option<Attempt> {
        self.jobs_to_stop.retain(|stopped| stopped != job);
        self.leases.remove(job).map(|lease| lease.attempt)
    }

    /// Remembers the number of a job's result.
    pub(super) fn remember(&mut self, job: JobId, number: u64) {
        if self.settled.len() == SETTLED_MAX {
            self.settled.pop_front();
        }
        self.settled.push_back((job, number));
    }

    /// Returns the number of a job's result, when it has one already.
    pub(super) fn settled(&self, job: &JobId) -> Option<u64> {
        self.settled.iter().find(|(settled, _)| settled == job).map(|(_, number)| *number)
    }

    /// Queues stops; they are handed to a request that waits for them.
    pub(super) fn stop(&mut self, jobs: Vec<JobId>) {
        for job in jobs {
            if !self.jobs_to_stop.contains(&job) {
                self.jobs_to_stop.push(job);
            }
        }
        let surplus = self.jobs_to_stop.len().saturating_sub(STOPS_MAX);
        self.jobs_to_stop.drain(..surplus);
        self.jobs_to_stop = self.stops.hand(std::mem::take(&mut self.jobs_to_stop));
    }

    /// Returns how many jobs it may still be working on.
    pub(super) fn live_jobs(&self) -> usize {
        self.leases.values().filter(|lease| lease.is_live()).count()
    }
}

/// Returns how much room a body takes, in KiB: the unit in which it is counted, since counts are 32 bits wide.
pub(super) fn body_kib(size: ByteSize) -> u32 {
    u32::try_from(size.bytes().div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

fn verdict_event(
    worker: &WorkerId,
    job: &JobId,
    attempt: Option<Attempt>,
    verdict: Verdict,
    at: Timestamp,
) -> Option<JobEvent> {
    let kind = match verdict {
        Verdict::Nothing => return None,
        Verdict::Accepted => JobEventKind::Accepted,
        Verdict::NotAccepted => JobEventKind::NotAccepted,
        Verdict::Vanished => JobEventKind::Vanished,
    };
    Some(JobEvent { number: 0, worker: worker.clone(), job: job.clone(), attempt, at, kind })
}
