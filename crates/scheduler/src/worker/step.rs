//! The transitions of a worker, one function for each event that needs more than a line.

use base::Timestamp;
use types::{ErrorCode, Fault, StartMark};

use super::{Ending, Exit, StopReason, Worker, WorkerEffect, WorkerEvent, WorkerState, fault::never_ready};
use crate::{ledger::LedgerInterval, step::Step};

type WorkerStep = Step<Worker, WorkerEffect>;

const OVER: WorkerStep = Step::Ignored("the worker has ended");

impl Worker {
    /// Returns the state after an event, with what must be done because of it.
    pub fn step(&self, event: &WorkerEvent, now: Timestamp) -> WorkerStep {
        match event {
            WorkerEvent::FetchStarted => self.fetch_started(now),
            WorkerEvent::FetchProgress => self.fetch_progress(),
            WorkerEvent::FetchFailed(fault) => self.fetch_failed(fault),
            WorkerEvent::ModelReady => self.model_ready(now),
            WorkerEvent::Moved => self.moved(now),
            WorkerEvent::Released => self.released(now),
            WorkerEvent::ViewMounted => self.view_mounted(now),
            WorkerEvent::ProcessStarted => self.process_started(now),
            WorkerEvent::StartFailed(fault) => self.start_failed(fault, now),
            WorkerEvent::Ping => self.pinged(now),
            WorkerEvent::Complained(text) => self.complained(text),
            WorkerEvent::Take => self.takes(now),
            WorkerEvent::JobGiven => self.job_given(now),
            WorkerEvent::JobEnded => self.job_ended(JobEnd::Result, now),
            WorkerEvent::JobDropped => self.job_ended(JobEnd::Dropped, now),
            WorkerEvent::StopRequested(reason) => self.stop_requested(*reason, now),
            WorkerEvent::Exited { exit, last_lines } => self.exited(*exit, last_lines, now),
            WorkerEvent::InitTimeout => self.init_timeout(now),
            WorkerEvent::HostLost(last_seen) => self.host_lost(*last_seen),
            WorkerEvent::HostReturned => self.host_returned(),
        }
    }

    fn fetch_started(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Initializing { .. } => {
                Step::Next(self.clone(), vec![WorkerEffect::Mark(StartMark::FetchStarted, now)])
            }
            WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker waits for no fetch"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn fetch_progress(&self) -> WorkerStep {
        match &self.state {
            WorkerState::Initializing { fault: Some(_) } => {
                Step::Next(self.with(WorkerState::Initializing { fault: None }), Vec::new())
            }
            WorkerState::Initializing { fault: None } => Step::Ignored("nothing changed"),
            WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker waits for no fetch"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn fetch_failed(&self, fault: &Fault) -> WorkerStep {
        match &self.state {
            WorkerState::Initializing { fault: Some(known) } if known == fault => {
                Step::Ignored("nothing changed")
            }
            WorkerState::Initializing { .. } => {
                Step::Next(self.with(WorkerState::Initializing { fault: Some(fault.clone()) }), Vec::new())
            }
            WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker waits for no fetch"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn model_ready(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Initializing { .. } => {
                let mut effects = vec![WorkerEffect::Mark(StartMark::Fetched, now)];
                let next = self.enter(WorkerState::Throttled { since: now }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker waits for no fetch"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn moved(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => {
                let mut effects = vec![WorkerEffect::Mark(StartMark::Placed, now)];
                let next = self.enter(WorkerState::Initializing { fault: None }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Denied("the worker's host was told to start it"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn released(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Throttled { .. } => {
                let mut effects = Vec::new();
                let next = self.enter(WorkerState::Launching { since: now }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Initializing { .. } => Step::Denied("the worker's models are not all there"),
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker is not held"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn view_mounted(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Launching { .. } => {
                Step::Next(self.clone(), vec![WorkerEffect::Mark(StartMark::ViewMounted, now)])
            }
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => {
                Step::Denied("the worker was not told to start")
            }
            WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker's process runs already"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn process_started(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Launching { .. } => {
                let mut effects = vec![WorkerEffect::Mark(StartMark::ProcessStarted, now)];
                let starting = WorkerState::Starting { started_at: now, first_ping: None, complaint: None };
                let next = self.enter(starting, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => {
                Step::Denied("the worker was not told to start")
            }
            WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker's process runs already"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn start_failed(&self, fault: &Fault, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Launching { .. } => self.crashed(fault.clone(), now),
            WorkerState::Draining { .. } => self.exited(Exit::Unknown, &[], now),
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => {
                Step::Denied("the worker was not told to start")
            }
            WorkerState::Starting { .. } | WorkerState::Idle { .. } | WorkerState::Running { .. } => {
                Step::Ignored("the worker's process runs already")
            }
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn pinged(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Starting { started_at, first_ping: None, complaint } => {
                let starting = WorkerState::Starting {
                    started_at: *started_at,
                    first_ping: Some(now),
                    complaint: complaint.clone(),
                };
                let next = Self { pinged: true, ..self.with(starting) };
                Step::Next(next, vec![WorkerEffect::Mark(StartMark::FirstPing, now)])
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. } => Step::Denied("the worker's process has not started"),
            WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("nothing changed"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn complained(&self, text: &str) -> WorkerStep {
        match &self.state {
            // A complaint is no sign of readiness, so it does not count as the first ping.
            WorkerState::Starting { started_at, first_ping, .. } => {
                let complaint = Some(text.chars().take(COMPLAINT_CHARS_MAX).collect());
                let starting =
                    WorkerState::Starting { started_at: *started_at, first_ping: *first_ping, complaint };
                Step::Next(self.with(starting), Vec::new())
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. } => Step::Denied("the worker's process has not started"),
            WorkerState::Idle { .. } | WorkerState::Running { .. } | WorkerState::Draining { .. } => {
                Step::Ignored("the worker was ready before")
            }
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn takes(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Starting { .. } => {
                let mut effects = Vec::new();
                // The SDK pings from another process; a take that overtakes the ping proves as much.
                if !self.pinged {
                    effects.push(WorkerEffect::Mark(StartMark::FirstPing, now));
                }
                effects.push(WorkerEffect::Mark(StartMark::FirstTake, now));
                let alive = Self { pinged: true, ..self.clone() };
                let next = alive.enter(WorkerState::Idle { since: now }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. } => Step::Denied("the worker's process has not started"),
            WorkerState::Idle { .. } | WorkerState::Running { .. } => Step::Ignored("nothing changed"),
            WorkerState::Draining { .. } => Step::Ignored("the worker gets no more jobs"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn job_given(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Idle { .. } => {
                let mut effects = Vec::new();
                let next = self.enter(WorkerState::Running { jobs: 1 }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Running { jobs } => {
                Step::Next(self.with(WorkerState::Running { jobs: jobs.saturating_add(1) }), Vec::new())
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. } => Step::Denied("the worker has not asked for work"),
            WorkerState::Draining { .. } => Step::Denied("the worker gets no more jobs"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => {
                Step::Denied("the worker has ended")
            }
        }
    }

    fn job_ended(&self, end: JobEnd, now: Timestamp) -> WorkerStep {
        let mut effects = Vec::new();
        let mut worker = self.clone();
        if matches!(end, JobEnd::Result) && !self.done_once {
            worker.done_once = true;
            effects.extend([WorkerEffect::Mark(StartMark::FirstDone, now), WorkerEffect::CrashesForgotten]);
        }
        match &self.state {
            WorkerState::Running { jobs: 0 | 1 } => {
                let next = worker.enter(WorkerState::Idle { since: now }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Running { jobs } => {
                Step::Next(worker.with(WorkerState::Running { jobs: jobs - 1 }), effects)
            }
            WorkerState::Draining { jobs: 0, .. } => Step::Ignored("the worker has no job"),
            WorkerState::Draining { jobs, ending } => {
                if *jobs == 1 {
                    effects.push(WorkerEffect::EndProcess);
                }
                let draining = WorkerState::Draining { jobs: jobs - 1, ending: ending.clone() };
                Step::Next(worker.with(draining), effects)
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. } => Step::Ignored("the worker has no job"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn stop_requested(&self, reason: StopReason, now: Timestamp) -> WorkerStep {
        let mut effects = Vec::new();
        let ending = Ending::Stopped { reason };
        match &self.state {
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => {
                let next = self.enter(WorkerState::Stopped { reason }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Launching { .. } | WorkerState::Starting { .. } | WorkerState::Idle { .. } => {
                effects.push(WorkerEffect::ReleasePolls);
                let next = self.enter(WorkerState::Draining { jobs: 0, ending }, now, &mut effects);
                effects.push(WorkerEffect::EndProcess);
                Step::Next(next, effects)
            }
            WorkerState::Running { jobs } => {
                effects.push(WorkerEffect::ReleasePolls);
                let next = self.enter(WorkerState::Draining { jobs: *jobs, ending }, now, &mut effects);
                Step::Next(next, effects)
            }
            WorkerState::Draining { .. } => Step::Ignored("the worker ends already"),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    fn exited(&self, exit: Exit, last_lines: &[String], now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Initializing { .. } | WorkerState::Throttled { .. } => {
                Step::Denied("the worker's process has not started")
            }
            WorkerState::Launching { .. } => self.crashed(exit.fault(None, last_lines), now),
            WorkerState::Starting { complaint, .. } => {
                self.crashed(exit.fault(complaint.as_deref(), last_lines), now)
            }
            WorkerState::Idle { .. } => self.crashed(exit.fault(None, last_lines), now),
            WorkerState::Running { .. } => {
                let fault = exit.fault(None, last_lines);
                let (next, mut effects) = self.crash(fault.clone(), now);
                effects.push(WorkerEffect::JobsLost(fault));
                Step::Next(next, effects)
            }
            WorkerState::Draining { jobs, ending } => self.ended(*jobs, ending, exit, now),
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    /// The process of a draining worker is gone: it becomes what it was meant to become.
    fn ended(&self, jobs: u32, ending: &Ending, exit: Exit, now: Timestamp) -> WorkerStep {
        let mut effects = Vec::new();
        let next = match ending {
            Ending::Stopped { reason } => {
                self.enter(WorkerState::Stopped { reason: *reason }, now, &mut effects)
            }
            Ending::Unhealthy { fault } => {
                let next = self.enter(WorkerState::Unhealthy { fault: fault.clone() }, now, &mut effects);
                effects.push(WorkerEffect::CrashCounted(fault.clone()));
                next
            }
        };
        if jobs > 0 {
            effects.push(WorkerEffect::JobsLost(exit.fault(None, &[])));
        }
        Step::Next(next, effects)
    }

    fn init_timeout(&self, now: Timestamp) -> WorkerStep {
        match &self.state {
            WorkerState::Starting { started_at, first_ping, complaint } => {
                let fault = never_ready(*started_at, *first_ping, complaint.as_deref(), now);
                let mut effects = vec![WorkerEffect::ReleasePolls];
                let draining = WorkerState::Draining { jobs: 0, ending: Ending::Unhealthy { fault } };
                let next = self.enter(draining, now, &mut effects);
                effects.push(WorkerEffect::EndProcess);
                Step::Next(next, effects)
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. } => {
                Step::Denied("the init timeout runs from the start of the process")
            }
            WorkerState::Idle { .. } | WorkerState::Running { .. } | WorkerState::Draining { .. } => {
                Step::Ignored("the worker is past its start")
            }
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => OVER,
        }
    }

    /// Time of which nobody knows what the worker did in it is not billed: the last interval ends when the host was
    /// last known to be well.
    fn host_lost(&self, last_seen: Timestamp) -> WorkerStep {
        let jobs = match &self.state {
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => return OVER,
            WorkerState::Running { jobs } | WorkerState::Draining { jobs, .. } => *jobs,
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. } => 0,
        };
        let mut effects = Vec::new();
        let stopped = WorkerState::Stopped { reason: StopReason::HostLost };
        let next = self.enter(stopped, last_seen, &mut effects);
        if jobs > 0 {
            effects.push(WorkerEffect::JobsLost(Fault::new(
                ErrorCode::WorkerLost,
                "the worker's host was away for too long",
            )));
        }
        Step::Next(next, effects)
    }

    fn host_returned(&self) -> WorkerStep {
        match &self.state {
            // It was given up; whatever still runs there must go.
            WorkerState::Stopped { .. } | WorkerState::Unhealthy { .. } => {
                Step::Next(self.clone(), vec![WorkerEffect::EndProcess])
            }
            WorkerState::Initializing { .. }
            | WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. } => Step::Ignored("the worker goes on"),
        }
    }

    fn crashed(&self, fault: Fault, now: Timestamp) -> WorkerStep {
        let (next, effects) = self.crash(fault, now);
        Step::Next(next, effects)
    }

    fn crash(&self, fault: Fault, now: Timestamp) -> (Self, Vec<WorkerEffect>) {
        let mut effects = Vec::new();
        let next = self.enter(WorkerState::Unhealthy { fault: fault.clone() }, now, &mut effects);
        effects.push(WorkerEffect::CrashCounted(fault));
        (next, effects)
    }

    /// Goes to a state whose time is another interval: closes the present one.
    ///
    /// An interval is as long as the clock says, or empty when the clock went back; empty ones are left out.
    fn enter(&self, state: WorkerState, now: Timestamp, effects: &mut Vec<WorkerEffect>) -> Self {
        let to = now.max(self.interval_from);
        if let Some(phase) = self.ledger_phase()
            && to > self.interval_from
        {
            let interval = LedgerInterval { phase, from: self.interval_from, to };
            effects.push(WorkerEffect::Interval(interval));
        }
        Self { state, interval_from: to, ..self.clone() }
    }

    /// Goes to a state whose time continues the present interval.
    fn with(&self, state: WorkerState) -> Self {
        Self { state, ..self.clone() }
    }
}

/// How a worker got rid of a job.
#[derive(Clone, Copy)]
enum JobEnd {
    Result,
    Dropped,
}

/// Characters kept of what a worker says is wrong with it. The SDK sends at most 256.
const COMPLAINT_CHARS_MAX: usize = 512;
