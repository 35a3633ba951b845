//! What the relay does for one request of a worker: the part of [`Relay`] that its routes call.

use std::{sync::Arc, time::Duration};

use api::{Assignment, JobEvent, JobEventKind};
use base::{ByteSize, Redacted, Timestamp};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use types::{JobId, Outcome, StartMark, WorkerId};

use super::{
    Relay,
    worker::{Origin, Standing, body_kib},
};

/// After the first job of a batch the request is held this much longer: the server sends each job by itself, within
/// a fraction of it.
const GATHER: Duration = Duration::from_millis(2);

/// Whether a request comes from the worker that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// It does.
    Own,
    /// The worker is here, and the key is not its key.
    WrongKey,
    /// There is no such worker here, or no more.
    Unknown,
}

/// A final result on its way in.
#[derive(Debug)]
pub(super) struct FinalResult {
    pub(super) outcome: Outcome,
    pub(super) stop_worker: bool,
    pub(super) streamed: bool,
}

/// A request for jobs or stops that is held open. Dropping it takes it away, and gives back what was not answered.
#[derive(Debug)]
pub(super) struct OpenPoll<T> {
    relay: Relay,
    worker: WorkerId,
    id: u64,
    slots: u32,
    things: mpsc::UnboundedReceiver<T>,
    taken: Vec<T>,
    close: fn(&Relay, &WorkerId, u64),
    give_back: fn(&Relay, &WorkerId, Vec<T>),
}

impl<T> OpenPoll<T> {
    /// Waits for something, and then a moment for more of it, since jobs of one batch come one by one.
    pub(super) async fn answer(mut self, until: Timestamp) -> Vec<T> {
        let clock = self.relay.0.clock.clone();
        tokio::select! {
            // Cancel-safe: what was not received stays in the channel, and is given back from there.
            first = self.things.recv() => self.taken.extend(first),
            () = clock.sleep_until(until) => {}
        }
        let gathered = clock.now() + GATHER;
        while !self.taken.is_empty() && self.taken.len() < self.slots as usize {
            tokio::select! {
                // Cancel-safe: as above.
                more = self.things.recv() => match more {
                    Some(more) => self.taken.push(more),
                    None => break,
                },
                () = clock.sleep_until(gathered) => break,
            }
        }
        self.finish();
        std::mem::take(&mut self.taken)
    }

    /// Takes the request away; what came before that is among what was taken.
    fn finish(&mut self) {
        (self.close)(&self.relay, &self.worker, self.id);
        while let Ok(thing) = self.things.try_recv() {
            self.taken.push(thing);
        }
    }
}

impl<T> Drop for OpenPoll<T> {
    fn drop(&mut self) {
        self.finish();
        // The client went away before these were written to it.
        let unwritten = std::mem::take(&mut self.taken);
        if !unwritten.is_empty() {
            (self.give_back)(&self.relay, &self.worker, unwritten);
        }
    }
}

impl Relay {
    pub(super) fn caller(&self, worker: &WorkerId, key: Option<&Redacted<String>>) -> Caller {
        let workers = self.lock();
        let Some(known) = workers.get(worker) else {
            drop(workers);
            self.count(&self.0.counters.foreign);
            return Caller::Unknown;
        };
        let given = key.map_or("", |key| key.expose().as_str());
        // Lengths differ only when somebody guesses; what takes the same time is the comparison of the bytes.
        if bool::from(given.as_bytes().ct_eq(known.secret.expose().as_bytes())) {
            Caller::Own
        } else {
            drop(workers);
            self.count(&self.0.counters.wrong_keys);
            Caller::WrongKey
        }
    }

    /// Waits until a body of this size may be held for a worker. The room is free again when what is returned is
    /// dropped; there is none to wait for when the worker is gone.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the line.
    pub(super) async fn body_room(&self, id: &WorkerId, size: ByteSize) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.lock().get(id)?.body_room);
        room.acquire_many_owned(body_kib(size)).await.ok()
    }

    /// Opens a request for jobs, or returns `None` when the worker gets none any more.
    pub(super) fn open_take(&self, id: &WorkerId, slots: u32) -> Option<OpenPoll<Assignment>> {
        let mut workers = self.lock();
        let worker = workers.get_mut(id)?;
        if worker.mark(StartMark::FirstTake, self.0.clock.now()) {
            self.changed();
        }
        if worker.standing != Standing::Open {
            return None;
        }
        let (poll, things) = worker.takes.open(slots);
        self.offer(worker);
        drop(workers);
        Some(OpenPoll {
            relay: self.clone(),
            worker: id.clone(),
            id: poll,
            slots,
            things,
            taken: Vec::new(),
            close: Self::take_closed,
            give_back: Self::untake,
        })
    }

    fn take_closed(&self, id: &WorkerId, poll: u64) {
        if let Some(worker) = self.lock().get_mut(id) {
            let before = worker.takes.slots();
            worker.takes.close(poll);
            if worker.takes.slots() != before {
                self.offer(worker);
            }
        }
    }

    fn untake(&self, id: &WorkerId, unwritten: Vec<Assignment>) {
        if let Some(worker) = self.lock().get_mut(id) {
            for assignment in &unwritten {
                worker.leases.remove(&assignment.job);
            }
        }
        self.give_back(unwritten);
    }

    /// Opens a request for stops, or returns those that wait already.
    pub(super) fn open_stop(&self, id: &WorkerId) -> Result<Option<OpenPoll<JobId>>, Vec<JobId>> {
        let mut workers = self.lock();
        let Some(worker) = workers.get_mut(id) else { return Ok(None) };
        if !worker.jobs_to_stop.is_empty() {
            return Err(std::mem::take(&mut worker.jobs_to_stop));
        }
        if worker.standing != Standing::Open {
            return Ok(None);
        }
        let (poll, things) = worker.stops.open(u32::MAX);
        drop(workers);
        Ok(Some(OpenPoll {
            relay: self.clone(),
            worker: id.clone(),
            id: poll,
            // One is enough to answer; the others are asked for at once.
            slots: 1,
            things,
            taken: Vec::new(),
            close: Self::stop_closed,
            give_back: Self::unstop,
        }))
    }

    fn stop_closed(&self, id: &WorkerId, poll: u64) {
        if let Some(worker) = self.lock().get_mut(id) {
            worker.stops.close(poll);
        }
    }

    fn unstop(&self, id: &WorkerId, unwritten: Vec<JobId>) {
        if let Some(worker) = self.lock().get_mut(id) {
            worker.stop(unwritten);
        }
    }

    pub(super) fn ping(&self, id: &WorkerId, jobs: Vec<JobId>, unhealthy: Option<String>) {
        let now = self.0.clock.now();
        let mut workers = self.lock();
        let Some(worker) = workers.get_mut(id) else { return };
        if worker.standing == Standing::Ended {
            drop(workers);
            return self.count(&self.0.counters.foreign);
        }
        let unhealthy_now = unhealthy.is_some();
        worker.unhealthy = unhealthy.or(worker.unhealthy.take());
        let first = !unhealthy_now && worker.mark(StartMark::FirstPing, now);
        let changed = first || unhealthy_now || worker.pinged_jobs != jobs;
        let events = worker.ping(jobs, now);
        drop(workers);
        events.into_iter().for_each(|event| self.tell(event));
        if changed {
            self.changed();
        }
    }

    pub(super) fn progress(&self, id: &WorkerId, job: &JobId, update: Box<RawValue>) {
        let now = self.0.clock.now();
        let mut workers = self.lock();
        let Some(worker) = workers.get_mut(id) else { return };
        let accepted = worker.show(job, now);
        let attempt = worker.leases.get(job).map(|lease| lease.attempt);
        let settled = worker.settled(job).is_some();
        drop(workers);
        accepted.into_iter().for_each(|event| self.tell(event));
        match attempt {
            Some(attempt) => self.tell(JobEvent {
                number: 0,
                worker: id.clone(),
                job: job.clone(),
                attempt: Some(attempt),
                at: now,
                kind: JobEventKind::Progress(update),
            }),
            None if settled => self.count(&self.0.counters.repeats),
            None => self.count(&self.0.counters.foreign),
        }
    }

    /// Takes a chunk. Returns its event's number, or `None` when the job is not this worker's.
    pub(super) fn chunk(&self, id: &WorkerId, job: &JobId, output: Box<RawValue>) -> Option<u64> {
        let now = self.0.clock.now();
        let mut workers = self.lock();
        let worker = workers.get_mut(id)?;
        let accepted = worker.show(job, now);
        let Some(lease) = worker.leases.get_mut(job) else {
            drop(workers);
            self.count(&self.0.counters.foreign);
            return None;
        };
        let index = lease.next_chunk;
        lease.next_chunk = index.saturating_add(1);
        let bytes = output.get().len();
        let kind = JobEventKind::Chunk { index, output };
        let attempt = Some(lease.attempt);
        accepted.into_iter().for_each(|event| self.tell(event));
        // Under the lock, so that numbers of events grow as numbers of chunks do.
        let event = JobEvent { number: 0, worker: id.clone(), job: job.clone(), attempt, at: now, kind };
        Some(self.0.outbox.submit(event, bytes))
    }

    /// Takes a final result. Returns the number of its event: of the first one, when it is a repeat.
    pub(super) fn settle(&self, id: &WorkerId, job: &JobId, result: FinalResult) -> Option<u64> {
        let now = self.0.clock.now();
        let mut workers = self.lock();
        let worker = workers.get_mut(id)?;
        if result.stop_worker && worker.standing == Standing::Open {
            self.drain_worker(worker, Standing::Draining);
        }
        let attempt = worker.settle(job);
        if attempt.is_none() {
            if let Some(number) = worker.settled(job) {
                drop(workers);
                self.count(&self.0.counters.repeats);
                return Some(number);
            }
            self.count(&self.0.counters.foreign);
            match worker.origin {
                Origin::Admitted => return None,
                // An agent before this one may have given it out: the server knows.
                Origin::Adopted => {}
            }
        }
        worker.mark(StartMark::FirstDone, now);
        let FinalResult { outcome, stop_worker, streamed } = result;
        let bytes = outcome.output.as_ref().map_or(0, |output| output.get().len())
            + outcome.error.as_ref().map_or(0, String::len);
        let kind = JobEventKind::Done { outcome, stop_worker, streamed };
        let event = JobEvent { number: 0, worker: id.clone(), job: job.clone(), attempt, at: now, kind };
        let number = self.0.outbox.submit(event, bytes);
        worker.remember(job.clone(), number);
        drop(workers);
        self.changed();
        Some(number)
    }
}
